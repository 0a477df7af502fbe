package envoy

import (
	"cmp"
	"net/url"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"github.com/keyturn/keyturn/envoy/internal/address"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

const httpProtocolOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// Limits of connections.
const (
	// windowBytes is the HTTP/2 window of a stream towards the processor, and connectionWindowBytes that of all streams of a
	// connection. Envoy takes the former as the limit of a stream's buffer too, and so holds that much and some more for a
	// client that does not read; its default is 16 MiB.
	windowBytes           = 256 << 10
	MostWindowBytes       = 1 << 20 // that check finds nothing wrong with
	connectionWindowBytes = 16 << 20
	// bufferBytes is how much of an answer is read before it goes on, and so the size of a piece of a stream that
	// Keyturn is sent; Envoy's default is 1 MiB. A hundred clients that do not read cost Keyturn 90 MiB, not 220, and Envoy
	// half of its 700.
	bufferBytes = 256 << 10
	// Unlimited is far above any load: streams are long, and what a circuit breaker refuses is a client's error.
	Unlimited = 1_000_000

	processorConnectTimeout = time.Second
	providerConnectTimeout  = 5 * time.Second
	// innerIdleTimeout closes an unused connection to the inner listener long before that does, after an hour.
	innerIdleTimeout = time.Minute
)

// How many headers responses may have, and of how many KiB. Envoy's defaults of 100 and 60 are near what providers send;
// what comes from the inner listener has some of Keyturn's too. The number bounds Keyturn's changes as well, of which there may be one for
// each header.
const (
	providerHeaders   = 960
	providerHeadersKB = 128
	hopHeaders        = 992
	hopHeadersKB      = 144
)

// processorCluster leads to Keyturn itself.
func (r *renderer) processorCluster() *clusterv3.Cluster {
	c := cluster(ProcessorName, r.processor, processorConnectTimeout)
	c.TypedExtensionProtocolOptions = r.protocol(&httpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
					Http2ProtocolOptions: &corev3.Http2ProtocolOptions{
						InitialStreamWindowSize: u32(windowBytes), InitialConnectionWindowSize: u32(connectionWindowBytes),
					},
				},
			},
		},
	})
	return c
}

// innerCluster leads to the inner listener. It speaks HTTP/1.1: over HTTP/2 each retry resets a stream, and after a
// thousand of them the inner listener closes the connection with others' requests on it.
func (r *renderer) innerCluster() *clusterv3.Cluster {
	c := cluster(InnerName, r.inner, processorConnectTimeout)
	c.TypedExtensionProtocolOptions = r.http1(innerIdleTimeout, hopHeaders, hopHeadersKB)
	return c
}

// poolCluster leads to a pool's provider. Keyturn names it in x-keyturn-cluster.
func (r *renderer) poolCluster(pool *Pool) *clusterv3.Cluster {
	c := r.remote(pool.Clusters[0], pool.Upstream, pool.KeepAlive, cmp.Or(pool.CAFile, r.CAFile))
	if pool.Proxy == nil {
		return c
	}
	through := cluster(c.Name, address.Address{Internal: tunnel(pool)}, providerConnectTimeout)
	c.ClusterDiscoveryType, c.LoadAssignment, c.DnsLookupFamily = through.ClusterDiscoveryType, through.LoadAssignment, through.DnsLookupFamily
	c.UpstreamConnectionOptions = nil // its connections end inside Envoy
	return c
}

// remote leads to the server of a URL. A connection is closed when it was unused for keepAlive: a request on one that the server closes fails.
//
// It speaks HTTP/1.1 on purpose. A WebSocket upgrade passes as it is (over HTTP/2 it needs RFC 8441, which providers
// rarely offer); a provider that answers before it has read the request resets one connection and no other; and no
// limit of streams per connection, as HTTP/2 servers have, stands between the clients and the provider.
func (r *renderer) remote(name string, u *url.URL, keepAlive time.Duration, caFile string) *clusterv3.Cluster {
	a := address.OfUpstream(u)
	c := cluster(name, a, providerConnectTimeout)
	c.TypedExtensionProtocolOptions = r.http1(keepAlive, providerHeaders, providerHeadersKB)
	// A model may think for minutes without a byte.
	c.UpstreamConnectionOptions = &clusterv3.UpstreamConnectionOptions{TcpKeepalive: probes()}
	if u.Scheme == "https" {
		c.TransportSocket = r.tls(a, caFile)
	}
	return c
}

// probes find a peer that is gone within two minutes, and keep the NATs between from forgetting the connection.
func probes() *corev3.TcpKeepalive {
	return &corev3.TcpKeepalive{KeepaliveTime: u32(60), KeepaliveInterval: u32(15), KeepaliveProbes: u32(4)}
}

func cluster(name string, a address.Address, timeout time.Duration) *clusterv3.Cluster {
	c := &clusterv3.Cluster{
		Name:                          name,
		ConnectTimeout:                durationpb.New(timeout),
		PerConnectionBufferLimitBytes: u32(bufferBytes),
		ClusterDiscoveryType:          &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxConnections: u32(Unlimited), MaxPendingRequests: u32(Unlimited), MaxRequests: u32(Unlimited), MaxRetries: u32(Unlimited),
		}}},
		LoadAssignment: &endpointv3.ClusterLoadAssignment{
			ClusterName: name,
			Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: a.Endpoint()}},
			}}}},
		},
	}
	if a.Internal != "" || a.Path != "" || a.IP.IsValid() {
		return c
	}
	// LOGICAL_DNS keeps its connections when the name's addresses rotate, as those of large services do, and takes a
	// new address for new ones; ALL tries IPv4 and IPv6 side by side.
	kind := clusterv3.Cluster_LOGICAL_DNS
	if name == ProcessorName {
		kind = clusterv3.Cluster_STRICT_DNS // each address is a replica
	}
	c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: kind}
	c.DnsLookupFamily = clusterv3.Cluster_ALL
	return c
}

// tls verifies that the provider is who the URL says: the key goes to nobody else.
func (r *renderer) tls(a address.Address, caFile string) *corev3.TransportSocket {
	san := &tlsv3.SubjectAltNameMatcher{SanType: tlsv3.SubjectAltNameMatcher_DNS, Matcher: exact(a.Host)}
	ctx := &tlsv3.UpstreamTlsContext{Sni: a.Host}
	if a.IP.IsValid() {
		san.SanType = tlsv3.SubjectAltNameMatcher_IP_ADDRESS
		ctx.Sni = "" // RFC 6066 section 3: no literal addresses
	}
	ctx.CommonTlsContext = &tlsv3.CommonTlsContext{
		AlpnProtocols: []string{"http/1.1"},
		ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
			TrustedCa:                 file(caFile),
			MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{san},
		}},
	}
	return &corev3.TransportSocket{
		Name:       "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: r.pack(ctx)},
	}
}

// http1 is HTTP/1.1 with these limits.
func (r *renderer) http1(idle time.Duration, headers, headersKB uint32) map[string]*anypb.Any {
	return r.protocol(&httpv3.HttpProtocolOptions{
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{
			IdleTimeout: durationpb.New(idle), MaxHeadersCount: u32(headers), MaxResponseHeadersKb: u32(headersKB),
		},
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{
					HttpProtocolOptions: &corev3.Http1ProtocolOptions{},
				},
			},
		},
	})
}

func (r *renderer) protocol(o *httpv3.HttpProtocolOptions) map[string]*anypb.Any {
	return map[string]*anypb.Any{httpProtocolOptions: r.pack(o)}
}

func file(path string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: path}}
}
