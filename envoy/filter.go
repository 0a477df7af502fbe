package envoy

import (
	"slices"
	"strings"
	"time"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	tometadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_to_metadata/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/keyturn/keyturn/internal/wire"
)

// MaxMessageTimeout is what Keyturn may ask for while it works on a response.
const MaxMessageTimeout = time.Hour

// messageTimeout: Envoy's 200 ms would turn a pause of the processor into errors.
const messageTimeout = 5 * time.Second

// SentHeaders are the headers that every attempt reads, with those that begin with SentPrefixes. Keyturn gets the others too, but for HiddenHeaders.
var (
	SentHeaders = append([]string{
		":method", ":path", ":authority", ":status",
		"content-type", "content-length", "content-encoding", "transfer-encoding", "upgrade", "connection",
		wire.RequestIDHeader, wire.LocationHeader, wire.RetryAfterHeader, wire.RetryAfterMillisHeader, wire.ShouldRetryHeader,
	}, wire.OtherLimits...)
	SentPrefixes = append([]string{wire.HeaderPrefix, wire.EnvoyPrefix, wire.ForwardedPrefix}, wire.LimitPrefixes...)
)

// ResponseAttributes tell Envoy's own 502, 503 and 504, about a provider that was not reached, from a provider's, and a connection that was
// used before from a new one.
var ResponseAttributes = []string{"response.code_details", "response.flags", "upstream.local_address"}

// filter is Keyturn in the inner listener's chain, for the keys of these pools.
func (r *renderer) filter(pools []Pool) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: FilterName, ConfigType: typed(r.pack(&extprocv3.ExternalProcessor{
		GrpcService: &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
			EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: ProcessorName},
		}},
		ProcessingMode: &extprocv3.ProcessingMode{
			RequestHeaderMode:  extprocv3.ProcessingMode_SEND,
			RequestBodyMode:    extprocv3.ProcessingMode_NONE,
			ResponseHeaderMode: extprocv3.ProcessingMode_SEND,
			ResponseBodyMode:   extprocv3.ProcessingMode_NONE,
		},
		AllowModeOverride:  true,
		MessageTimeout:     durationpb.New(messageTimeout),
		MaxMessageTimeout:  durationpb.New(MaxMessageTimeout),
		StatusOnError:      &typev3.HttpStatus{Code: typev3.StatusCode_ServiceUnavailable},
		RouteCacheAction:   extprocv3.ExternalProcessor_CLEAR,
		ResponseAttributes: ResponseAttributes,
		ForwardRules:       r.forwardRules(pools),
		MutationRules: &mutationv3.HeaderMutationRules{
			AllowAllRouting: wrapperspb.Bool(true), AllowEnvoy: wrapperspb.Bool(true),
		},
		MetadataOptions: &extprocv3.MetadataOptions{
			ReceivingNamespaces: &extprocv3.MetadataOptions_MetadataNamespaces{Untyped: []string{wire.Namespace}},
		},
	}))}
}

// forwardRules say which headers Keyturn gets: all, since a turn may have to repeat those of a request, and any header of an answer may
// repeat the key, but for those that nobody may log. Credentials are among the former where a pool is BYOK, which decides by their values;
// elsewhere the route has removed them before.
func (r *renderer) forwardRules(pools []Pool) *extprocv3.HeaderForwardingRules {
	l := &matcherv3.ListStringMatcher{}
	for _, n := range HiddenHeaders(pools) {
		l.Patterns = append(l.Patterns, exact(n))
	}
	return &extprocv3.HeaderForwardingRules{DisallowedHeaders: l}
}

// unseenHeaders are those of an answer that Keyturn does not see, and that no provider has a reason to send: one that repeats the request would
// repeat the key in them.
func unseenHeaders(pools []Pool) []string {
	return slices.Concat(CredentialHeaders(pools), unread)
}

// unread are wire.Secrets but for what providers set: Keyturn takes it out where the key is the pool's, and where it repeats one.
var unread = slices.DeleteFunc(slices.Clone(wire.Secrets), func(name string) bool { return name == "set-cookie" })

// HiddenHeaders are the headers that Keyturn must not get where it gets all others.
func HiddenHeaders(pools []Pool) []string {
	if slices.ContainsFunc(pools, func(p Pool) bool { return p.BYOK }) {
		return unread
	}
	// The front has removed them; this is for a front that somebody wrote by hand.
	return slices.Concat(unread, CredentialHeaders(pools))
}

// CredentialHeaders are those that may hold a credential: the SDKs' and those that the pools' keys are sent in.
func CredentialHeaders(pools []Pool) []string {
	names := slices.Clone(wire.Credentials)
	for _, pool := range pools {
		if n := strings.ToLower(pool.CredentialHeader); n != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

// frontFilters stand before the router of a front, in this order. Where Keyturn is attached to routes they are off, and
// routes turn them on.
func (r *renderer) frontFilters() (filters []*hcmv3.HttpFilter) {
	if len(r.CORS.Origins) > 0 {
		filters = append(filters, r.preflights())
	}
	filters = append(filters, r.guard())
	filters = append(filters, r.protocols()...)
	if auth := r.authentication(); auth != nil {
		filters = append(filters, auth)
	}
	filters = append(filters, &hcmv3.HttpFilter{Name: metadataFilter, ConfigType: typed(r.pack(r.logRules()))})
	for _, f := range filters {
		f.Disabled = r.Attach == Route
	}
	return filters
}

// logRules keep what the last attempt used for the front's log, and from the client; and the client's name, which the log
// cannot take from the request: where nobody was let in, it is what the client says.
func (r *renderer) logRules() *tometadatav3.Config {
	rule := func(header, key string, remove bool) *tometadatav3.Config_Rule {
		return &tometadatav3.Config_Rule{
			Header: header, Remove: remove,
			OnHeaderPresent: &tometadatav3.Config_KeyValuePair{MetadataNamespace: wire.Namespace, Key: key},
		}
	}
	c := &tometadatav3.Config{ResponseRules: []*tometadatav3.Config_Rule{
		rule(wire.UsedPoolHeader, wire.PoolField, true), rule(wire.UsedNameHeader, wire.KeyNameField, true), rule(wire.UsedKeyHeader, wire.KeyField, true),
	}}
	if r.authenticates() {
		c.RequestRules = []*tometadatav3.Config_Rule{rule(wire.ClientHeader, wire.ClientField, false)}
	}
	return c
}

func (r *renderer) router(config *routerv3.Router) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: RouterFilter, ConfigType: typed(r.pack(config))}
}

func typed(a *anypb.Any) *hcmv3.HttpFilter_TypedConfig {
	return &hcmv3.HttpFilter_TypedConfig{TypedConfig: a}
}
