// Package toolserver is an MCP server for the demo and for tests: a few tools with answers that can be foreseen, a record of the calls, and faults on
// demand.
package toolserver
