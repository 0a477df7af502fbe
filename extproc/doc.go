// Package extproc is Envoy's external processor for requests to model providers: for each attempt of a request it puts a key
// of a pool in the client's credential's place, and when the provider says that the key is at fault, before the response has
// begun, it marks the key and has Envoy try again with the next one.
//
// The filter stands in the chain of Envoy's inner listener. Whatever clients reach, the front, leads its requests there, and retries:
// so each attempt is a request of its own to the inner listener, and one stream of [Server] is one attempt with one key. In headers
// that no client can send the front says the pool, its id of the request, when that began, the number of the attempt and how many
// there may be; Keyturn says where the attempt goes (x-keyturn-cluster, :authority), and on the answer whether the front is to try
// again (x-keyturn-retry) and what was used (x-keyturn-used-*).
//
// What an attempt leaves to the next one, such as the keys that failed, a Server keeps by the request's id: from the moment in which
// it asks for a retry until the next attempt takes it, for a minute at most. Where it is lost (a restart, another replica, too many of
// them) keys that were marked are left out all the same.
//
// An answer that Envoy made itself, since the provider could not be reached or broke off, is known by the attributes
// response.code_details and response.flags. It blames no key.
package extproc
