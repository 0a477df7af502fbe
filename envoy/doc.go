// Package envoy renders the configuration that an Envoy needs for Keyturn: the whole of it, or the parts that somebody
// else's lacks. The packages below check a configuration, render what control planes take, and run an Envoy.
//
// Clients reach a front, a listener whose routes retry. Every attempt of a request is a request of its own to the inner
// listener, where Keyturn's external-processing filter stands and names the provider's cluster: one stream to Keyturn is
// one attempt with one key. Several settings beside the filter itself decide whether that works: [Render] writes them
// all, with the reason beside those that surprise; package check says which of them a given configuration lacks and what
// would happen.
//
// Field names and meanings are those of Envoy's v3 API: https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/api
package envoy
