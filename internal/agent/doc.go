// Package agent is the tool loop: it runs the calls that a model made of Keyturn's tools, sends the next turn's request through
// Envoy's loopback listener, and goes on until the model calls no more of them or a limit is reached. What the bytes mean is
// package dialect's; agent moves them, in time.
package agent
