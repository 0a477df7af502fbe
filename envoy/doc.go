// Package envoy is Envoy's side of Keyturn: it renders the configuration that an Envoy needs, checks a configuration
// somebody else wrote, finds an Envoy binary and runs it.
//
// Clients reach a front, a listener whose routes retry. Every attempt of a request is a request of its own to the inner
// listener, where Keyturn's external-processing filter stands and names the provider's cluster: one stream to Keyturn is
// one attempt with one key. Several settings beside the filter itself decide whether that works: [Render] writes them
// all, with the reason beside those that surprise, and [Check] says which of them a given configuration lacks and what
// would happen.
//
// Field names and meanings are those of Envoy's v3 API: https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/api
package envoy
