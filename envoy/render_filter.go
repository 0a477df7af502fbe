package envoy

import (
	"slices"
	"strings"
	"time"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	bufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	tometadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_to_metadata/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	codecv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Names that Keyturn and Envoy agree on.
const (
	metadataNamespace = "keyturn"
	retryHeader       = "x-keyturn-retry"   // on a response: retry it
	errorHeader       = "x-keyturn-error"   // on a response: made by the gateway, not by the provider
	clusterHeader     = "x-keyturn-cluster" // on a request to the loopback listener: where it goes
	turnHeader        = "x-keyturn-turn"    // on a request to the loopback listener: it belongs to a client's request
	clientKeyHeader   = "x-keyturn-key"     // on a request: the client's key for the gateway, beside a credential of its own
	clientHeader      = "x-keyturn-client"  // set by the client's authentication: its name, for the log
	bufferFilter      = "envoy.filters.http.buffer"
	routerFilter      = "envoy.filters.http.router"
	codecFilter       = "envoy.filters.http.upstream_codec"
	toMetadataFilter  = "envoy.filters.http.header_to_metadata"
)

// The two values of the gRPC metadata keyturn-request, which a route says to Keyturn.
const (
	requestWord     = "keyturn-request"
	requestBuffered = "buffered" // the request is whole before it leaves: the attempt may read the response
	requestStreamed = "streamed" // it may still be arriving when the provider answers: the response passes unread
)

const (
	messageTimeout    = 5 * time.Second // Envoy's 200 ms would turn a pause of the processor into errors
	maxMessageTimeout = time.Hour       // what Keyturn may ask for while it works on a response
)

// wholeNames are the headers an attempt reads; with the prefixes, all that is sent to Keyturn. Fewer headers are
// faster on both sides, and what is not sent cannot be logged.
var (
	wholeNames = []string{
		":method", ":path", ":authority", ":status",
		"content-type", "content-length", "content-encoding", "transfer-encoding", "upgrade", "connection",
		"retry-after", "retry-after-ms", "x-should-retry",
	}
	namePrefixes = []string{"x-keyturn-", "x-envoy-", "x-forwarded-", "x-ratelimit-", "anthropic-ratelimit-"}
)

// secretNames are headers with secrets between the client, the proxies and the provider: no attempt reads them and no
// turn repeats them.
var secretNames = []string{"cookie", "set-cookie", "proxy-authorization"}

// attributes are what Keyturn is told about each attempt: the cluster's name picks the pool.
var attributes = []string{"xds.cluster_name", "upstream.request_attempt_count"}

// upstreamFilters is the chain of one attempt for the keys of these pools. Where every route shares it, it is disabled
// and routes enable it.
func (r *renderer) upstreamFilters(pools []Pool, disabled bool) []*hcmv3.HttpFilter {
	namespaces := &extprocv3.MetadataOptions_MetadataNamespaces{Untyped: []string{metadataNamespace}}
	return []*hcmv3.HttpFilter{
		{
			Name: filterName, Disabled: disabled,
			ConfigType: typed(r.pack(&extprocv3.ExternalProcessor{
				GrpcService: &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
					EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: processorCluster},
				}},
				ProcessingMode: &extprocv3.ProcessingMode{
					RequestHeaderMode:  extprocv3.ProcessingMode_SEND,
					RequestBodyMode:    extprocv3.ProcessingMode_NONE,
					ResponseHeaderMode: extprocv3.ProcessingMode_SEND,
					ResponseBodyMode:   extprocv3.ProcessingMode_NONE,
				},
				AllowModeOverride: true,
				MessageTimeout:    durationpb.New(messageTimeout),
				MaxMessageTimeout: durationpb.New(maxMessageTimeout),
				StatusOnError:     &typev3.HttpStatus{Code: typev3.StatusCode_ServiceUnavailable},
				RequestAttributes: attributes,
				ForwardRules:      r.forwardRules(pools),
				MutationRules: &mutationv3.HeaderMutationRules{
					AllowAllRouting: wrapperspb.Bool(true), AllowEnvoy: wrapperspb.Bool(true),
				},
				MetadataOptions: &extprocv3.MetadataOptions{ForwardingNamespaces: namespaces, ReceivingNamespaces: namespaces},
			})),
		},
		{Name: codecFilter, ConfigType: typed(r.pack(&codecv3.UpstreamCodec{}))},
	}
}

// forwardRules say which headers Keyturn gets: those that attempts read or, where one of the pools has tools, all that a
// turn may have to repeat. Credentials are among the former, since a BYOK pool decides by their values and elsewhere
// the route has removed them before; they are among the latter only where a turn repeats a client's own.
func (r *renderer) forwardRules(pools []Pool) *extprocv3.HeaderForwardingRules {
	l := &matcherv3.ListStringMatcher{}
	if slices.ContainsFunc(pools, func(p Pool) bool { return p.Tools }) {
		for _, n := range hiddenNames(pools) {
			l.Patterns = append(l.Patterns, exact(n))
		}
		return &extprocv3.HeaderForwardingRules{DisallowedHeaders: l}
	}
	for _, n := range slices.Concat(wholeNames, credentials(pools)) {
		l.Patterns = append(l.Patterns, exact(n))
	}
	for _, p := range namePrefixes {
		l.Patterns = append(l.Patterns, prefix(p))
	}
	return &extprocv3.HeaderForwardingRules{AllowedHeaders: l}
}

// hiddenNames are the headers that Keyturn must not get where it gets all others.
func hiddenNames(pools []Pool) []string {
	if slices.ContainsFunc(pools, func(p Pool) bool { return p.BYOK }) {
		return secretNames
	}
	// An attempt after the first would see the key of the one before.
	return slices.Concat(secretNames, credentials(pools))
}

// credentials are the headers that may hold a credential: the SDKs' and those that the pools' keys are sent in.
func credentials(pools []Pool) []string {
	names := slices.Clone(credentialHeaders)
	for _, pool := range pools {
		if n := strings.ToLower(pool.CredentialHeader); n != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

// whole enables Keyturn on a route whose requests, of so many bytes at most, are complete before they leave.
func (r *renderer) whole(maxBytes int64) map[string]*anypb.Any {
	return map[string]*anypb.Any{
		filterName: r.word(&extprocv3.ExtProcOverrides{}, requestBuffered),
		bufferFilter: r.pack(&bufferv3.BufferPerRoute{Override: &bufferv3.BufferPerRoute_Buffer{
			Buffer: &bufferv3.Buffer{MaxRequestBytes: u32(uint32(maxBytes))},
		}}),
	}
}

// streamed enables Keyturn on a route whose requests leave as they arrive: uploads and upgrades. A provider that
// answers before the request has ended crashes Envoy if a filter of the attempt looks at the response, so none does:
// the key is set, and there is no failover.
func (r *renderer) streamed() map[string]*anypb.Any {
	return map[string]*anypb.Any{filterName: r.word(&extprocv3.ExtProcOverrides{
		ProcessingMode: &extprocv3.ProcessingMode{
			RequestHeaderMode:  extprocv3.ProcessingMode_SEND,
			ResponseHeaderMode: extprocv3.ProcessingMode_SKIP,
		},
	}, requestStreamed)}
}

func (r *renderer) word(o *extprocv3.ExtProcOverrides, value string) *anypb.Any {
	o.GrpcInitialMetadata = []*corev3.HeaderValue{{Key: requestWord, Value: value}}
	return r.pack(&extprocv3.ExtProcPerRoute{Override: &extprocv3.ExtProcPerRoute_Overrides{Overrides: o}})
}

// tail ends the chain of both listeners: the buffer, which routes enable, and the router.
func (r *renderer) tail() []*hcmv3.HttpFilter { return []*hcmv3.HttpFilter{r.buffer(), r.router()} }

// buffer holds requests until they are whole, on the routes that enable it.
func (r *renderer) buffer() *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{
		Name: bufferFilter, Disabled: true,
		ConfigType: typed(r.pack(&bufferv3.Buffer{MaxRequestBytes: u32(uint32(r.MaxRequestBytes))})),
	}
}

func (r *renderer) router() *hcmv3.HttpFilter {
	router := &routerv3.Router{}
	if r.Attach == Listener {
		router.UpstreamHttpFilters = r.upstreamFilters(r.Pools, true)
	}
	return &hcmv3.HttpFilter{Name: routerFilter, ConfigType: typed(r.pack(router))}
}

// toMetadata copies headers into Keyturn's metadata, where the access log finds them after the attempt has removed
// them from the request, and where Keyturn reads them.
func (r *renderer) toMetadata(rules ...*tometadatav3.Config_Rule) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: toMetadataFilter, ConfigType: typed(r.pack(&tometadatav3.Config{RequestRules: rules}))}
}

func headerRule(header, key string, remove bool) *tometadatav3.Config_Rule {
	return &tometadatav3.Config_Rule{
		Header: header, Remove: remove,
		OnHeaderPresent: &tometadatav3.Config_KeyValuePair{
			MetadataNamespace: metadataNamespace, Key: key, Type: tometadatav3.Config_STRING,
		},
	}
}

func typed(a *anypb.Any) *hcmv3.HttpFilter_TypedConfig {
	return &hcmv3.HttpFilter_TypedConfig{TypedConfig: a}
}
