// Package agent owns a response of a pool with tools, from the first byte of its first turn to its end. The caller brings the first
// turn's answer; then the agent runs the calls that the model made of Keyturn's tools, sends the next turn's request through
// Envoy's loopback listener, and goes on until the model calls no more of them or a limit is reached. What the bytes mean is
// package dialect's; agent moves them, in time.
//
// In this package a turn is one request to the provider and its answer, and a response is what the client gets of all turns. A
// whole answer is one that is no stream.
package agent
