package envoy

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	apikeyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/api_key_auth/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/keyturn/keyturn/internal/wire"
)

const (
	apiKeyFilter = "envoy.filters.http.api_key_auth" //nolint:gosec // a filter's name, no credential
	authzFilter  = "envoy.filters.http.ext_authz"
	jwtFilter    = "envoy.filters.http.jwt_authn"

	jwksTimeout = 5 * time.Second
	jwksCache   = 10 * time.Minute
)

// authenticates reports whether clients are asked who they are.
func (r *renderer) authenticates() bool { return len(r.Clients.APIKeys) > 0 || r.Clients.JWT != nil }

// authentication is the filter that lets clients in, nil when nobody is asked.
func (r *renderer) authentication() *hcmv3.HttpFilter {
	switch {
	case len(r.Clients.APIKeys) > 0 && !r.Clients.ByEnvoy:
		return &hcmv3.HttpFilter{Name: authzFilter, ConfigType: typed(r.pack(r.asksKeyturn()))}
	case len(r.Clients.APIKeys) > 0:
		return &hcmv3.HttpFilter{Name: apiKeyFilter, ConfigType: typed(r.pack(r.apiKeys()))}
	case r.Clients.JWT != nil:
		return &hcmv3.HttpFilter{Name: jwtFilter, ConfigType: typed(r.pack(r.tokens()))}
	}
	return nil
}

// asksKeyturn has Keyturn say who a client is. It gets the headers that a client's key may stand in, and no others; where it does not answer
// nobody is let in.
func (r *renderer) asksKeyturn() *authzv3.ExtAuthz {
	sources := &matcherv3.ListStringMatcher{}
	for _, h := range wire.ClientKeySources {
		sources.Patterns = append(sources.Patterns, exact(h))
	}
	return &authzv3.ExtAuthz{
		Services: &authzv3.ExtAuthz_GrpcService{GrpcService: &corev3.GrpcService{
			TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: ProcessorName}},
			Timeout:         durationpb.New(messageTimeout),
		}},
		TransportApiVersion: corev3.ApiVersion_V3,
		AllowedHeaders:      sources,
		StatusOnError:       &typev3.HttpStatus{Code: typev3.StatusCode_ServiceUnavailable},
	}
}

// keysOf says for a route where a client's key may stand; nil: as the filter says.
func (r *renderer) keysOf(pool *Pool, full bool) (filter string, config *anypb.Any) {
	switch {
	case len(r.Clients.APIKeys) == 0 || !pool.BYOK && !full:
		return "", nil
	case !r.Clients.ByEnvoy:
		settings := &authzv3.CheckSettings{}
		if pool.BYOK {
			settings.ContextExtensions = map[string]string{wire.OwnExtension: "true"}
		}
		return authzFilter, r.pack(&authzv3.ExtAuthzPerRoute{Override: &authzv3.ExtAuthzPerRoute_CheckSettings{CheckSettings: settings}})
	case pool.BYOK:
		return apiKeyFilter, r.byokSources()
	}
	return apiKeyFilter, r.pack(&apikeyv3.ApiKeyAuthPerRoute{KeySources: keySources(wire.ClientKeySources), Forwarding: keyForwarding()})
}

// apiKeys checks keys that the gateway gave out. The client's name goes on; the key is cut out of the request, and with
// it whatever is in the other headers (hide_credentials empties them all): hence byokSources.
func (r *renderer) apiKeys() *apikeyv3.ApiKeyAuth {
	a := &apikeyv3.ApiKeyAuth{KeySources: keySources(wire.ClientKeySources), Forwarding: keyForwarding()}
	for _, k := range r.Clients.APIKeys {
		a.Credentials = append(a.Credentials, &apikeyv3.Credential{Key: k.Secret, Client: k.Name})
	}
	return a
}

// byokSources restricts a route of a BYOK pool to the header of the gateway's own, so that the client's credential in
// the others is neither taken for a key nor removed.
func (r *renderer) byokSources() *anypb.Any {
	return r.pack(&apikeyv3.ApiKeyAuthPerRoute{KeySources: keySources([]string{wire.ClientKeyHeader}), Forwarding: keyForwarding()})
}

func keySources(headers []string) (sources []*apikeyv3.KeySource) {
	for _, h := range headers {
		sources = append(sources, &apikeyv3.KeySource{Header: h})
	}
	return sources
}

func keyForwarding() *apikeyv3.Forwarding {
	return &apikeyv3.Forwarding{Header: wire.ClientHeader, HideCredentials: true}
}

// tokens checks signed tokens. Each header is a provider of its own, any of which suffices: with one provider for all,
// Envoy wants every token that it finds to be valid, and a BYOK credential beside the gateway's is none.
func (r *renderer) tokens() *jwtv3.JwtAuthentication {
	a := &jwtv3.JwtAuthentication{Providers: map[string]*jwtv3.JwtProvider{}}
	oneOf := &jwtv3.JwtRequirementOrList{}
	for _, h := range wire.ClientKeySources {
		p := &jwtv3.JwtProvider{
			Issuer: r.Clients.JWT.Issuer, Audiences: r.Clients.JWT.Audiences,
			FromHeaders:       []*jwtv3.JwtHeader{{Name: h}},
			ClaimToHeaders:    []*jwtv3.JwtClaimToHeader{{HeaderName: wire.ClientHeader, ClaimName: "sub"}},
			RequireExpiration: !r.Clients.JWT.WithoutExp,
		}
		if h == wire.AuthorizationHeader {
			p.FromHeaders = nil
			for _, scheme := range []string{"Bearer ", "bearer ", "BEARER "} { // it knows no case, and Envoy's prefix does
				p.FromHeaders = append(p.FromHeaders, &jwtv3.JwtHeader{Name: h, ValuePrefix: scheme})
			}
		}
		if f := r.Clients.JWT.JWKSFile; f != "" {
			p.JwksSourceSpecifier = &jwtv3.JwtProvider_LocalJwks{LocalJwks: file(f)}
		} else {
			p.JwksSourceSpecifier = &jwtv3.JwtProvider_RemoteJwks{RemoteJwks: &jwtv3.RemoteJwks{
				HttpUri: &corev3.HttpUri{
					Uri:              r.jwksURL.String(),
					HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: jwksCluster},
					Timeout:          durationpb.New(jwksTimeout),
				},
				CacheDuration: durationpb.New(jwksCache),
				AsyncFetch:    &jwtv3.JwksAsyncFetch{},
			}}
		}
		a.Providers[h] = p
		oneOf.Requirements = append(oneOf.Requirements, &jwtv3.JwtRequirement{
			RequiresType: &jwtv3.JwtRequirement_ProviderName{ProviderName: h},
		})
	}
	a.Rules = []*jwtv3.RequirementRule{{
		Match: everything(),
		RequirementType: &jwtv3.RequirementRule_Requires{Requires: &jwtv3.JwtRequirement{
			RequiresType: &jwtv3.JwtRequirement_RequiresAny{RequiresAny: oneOf},
		}},
	}}
	return a
}
