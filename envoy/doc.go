// Package envoy is Envoy's side of Keyturn: it renders the configuration that an Envoy needs, checks a configuration
// somebody else wrote, finds an Envoy binary and runs it.
//
// Keyturn is an external-processing filter in the upstream HTTP filter chain: Envoy opens one stream to it for every
// attempt, and a retry of Envoy's is the next key. Several settings beside the filter itself decide whether that works,
// and some whether Envoy survives it: [Render] writes them all, with the reason beside those that surprise, and [Check]
// says which of them a given configuration lacks and what would happen.
//
// Field names and meanings are those of Envoy's v3 API: https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/api
package envoy
