// Package extproc is Envoy's external processor for requests to model providers: for each attempt of a request it puts a key
// of a pool in the client's credential's place, and when the provider says that the key is at fault, before the response has
// begun, it marks the key and has Envoy try again with the next one.
//
// The filter belongs into Envoy's upstream filter chain, which Envoy builds anew for each attempt: one stream of
// [Server] is one attempt with one key. What an attempt must know of those before it travels in Envoy's dynamic metadata,
// namespace "keyturn".
package extproc
