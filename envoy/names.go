package envoy

// Names of what Render makes. A pool's cluster may not have one of them.
const (
	FilterName    = "keyturn"
	ProcessorName = "keyturn-processor" // the cluster that leads to Keyturn
	InnerName     = "keyturn-inner"     // the inner listener, and the cluster that leads to it
	loopbackName  = "keyturn-loopback"  // the loopback listener among somebody else's
	jwksCluster   = "keyturn-jwks"
	tunnelPrefix  = "keyturn-tunnel-" // begins the names of what leads through a pool's proxy
)

// Minor versions of Envoy 1 from which something changes for Keyturn.
const (
	MinMinor   = 37 // below it a retry after a paused upstream response corrupts memory
	UsageMinor = 40 // from here on it reads the usage of answers by itself
)

// Envoy's names of what every listener for HTTP has.
const (
	ManagerFilter = "envoy.filters.network.http_connection_manager"
	RouterFilter  = "envoy.filters.http.router"
)

// metadataFilter is header_to_metadata, by a name of its own: routes turn filters on by name.
const metadataFilter = "keyturn-metadata"
