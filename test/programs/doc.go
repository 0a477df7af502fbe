// Package programs runs the programs that people use every day through a gateway, as docs/clients.md says to configure them: through failover, one of Keyturn's
// tools, a turn that has a call of Keyturn's and one of the program's own, and exhaustion. make test-clients; the build tag is clients.
package programs
