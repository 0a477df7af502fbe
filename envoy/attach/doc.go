// Package attach puts Keyturn into an Envoy's own configuration, and takes it out again. It edits the text of the file and nothing else of it:
// comments, order and spaces stay, every edit says why it is there, and Detach gives the file back byte for byte.
package attach
