package envoy

// Names of what Render makes. A pool's cluster may not have one of them.
const (
	filterName       = "keyturn"
	processorCluster = "keyturn-processor"
	innerName        = "keyturn-inner"    // the inner listener, and the cluster that leads to it
	loopbackName     = "keyturn-loopback" // the loopback listener among somebody else's
	jwksCluster      = "keyturn-jwks"
)

// Filters of a front.
const (
	routerFilter   = "envoy.filters.http.router"
	metadataFilter = "keyturn-metadata" // header_to_metadata, by a name of its own: routes turn filters on by name
)
