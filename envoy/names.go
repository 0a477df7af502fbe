package envoy

// Names of what Render makes. A pool's cluster may not have one of them.
const (
	filterName       = "keyturn"
	processorCluster = "keyturn-processor"
	innerName        = "keyturn-inner"    // the inner listener, and the cluster that leads to it
	loopbackName     = "keyturn-loopback" // the loopback listener among somebody else's
	jwksCluster      = "keyturn-jwks"
)

// Names that Keyturn and Envoy agree on.
const (
	metadataNamespace = "keyturn"
	retryHeader       = "x-keyturn-retry" // on a response: retry it
	errorHeader       = "x-keyturn-error" // on a response: made by the gateway, not by the provider

	// On a request to the inner listener, set by whatever leads there.
	idHeader      = "x-keyturn-id"      // the request's, the same at each of its attempts: %UNIQUE_ID%
	startHeader   = "x-keyturn-start"   // when the request began, seconds since 1970: %START_TIME(%s.%3f)%
	poolHeader    = "x-keyturn-pool"    // the pool's name
	clientHeader  = "x-keyturn-client"  // the client's name, by its authentication
	retriesHeader = "x-keyturn-retries" // num_retries of the route; without it Keyturn cannot tell the last attempt
	attemptHeader = "x-envoy-attempt-count"

	// On a request to the loopback listener, by Keyturn itself; no client's may get through.
	turnHeader  = "x-keyturn-turn"  // it is a later turn of a response: its number
	modelHeader = "x-keyturn-model" // the model that it asks for

	clusterHeader = "x-keyturn-cluster" // set by Keyturn on the inner listener: the cluster that the attempt goes to

	forwardedProtoHeader = "x-forwarded-proto" // without it Envoy finds no route, so it is the inner route that removes it

	// On a response from the inner listener: what the attempt used. The front's log has it, and clients do not.
	usedPoolHeader = "x-keyturn-used-pool"
	usedNameHeader = "x-keyturn-used-name" // the key's name
	usedKeyHeader  = "x-keyturn-used-key"  // the key's masked hint

	clientKeyHeader = "x-keyturn-key" // on a request: the client's key for the gateway, beside a credential of its own
)

// Filters of a front.
const (
	routerFilter   = "envoy.filters.http.router"
	metadataFilter = "keyturn-metadata" // header_to_metadata, by a name of its own: routes turn filters on by name
)
