package envoy

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	apikeyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/api_key_auth/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/keyturn/keyturn/internal/wire"
)

const (
	apiKeyFilter = "envoy.filters.http.api_key_auth" //nolint:gosec // a filter's name, no credential
	jwtFilter    = "envoy.filters.http.jwt_authn"

	jwksTimeout = 5 * time.Second
	jwksCache   = 10 * time.Minute
)

// clientCredentialHeaders are where a client's key for the gateway is looked for, in this order: the header of its own
// first, so that the others may hold the client's own credential for a BYOK pool.
var clientCredentialHeaders = []string{wire.ClientKeyHeader, wire.AuthorizationHeader, "x-api-key", "api-key"}

// authenticates reports whether clients are asked who they are.
func (r *renderer) authenticates() bool { return len(r.Clients.APIKeys) > 0 || r.Clients.JWT != nil }

// authentication is the filter that lets clients in, nil when nobody is asked.
func (r *renderer) authentication() *hcmv3.HttpFilter {
	switch {
	case len(r.Clients.APIKeys) > 0:
		return &hcmv3.HttpFilter{Name: apiKeyFilter, ConfigType: typed(r.pack(r.apiKeys()))}
	case r.Clients.JWT != nil:
		return &hcmv3.HttpFilter{Name: jwtFilter, ConfigType: typed(r.pack(r.tokens()))}
	}
	return nil
}

// apiKeys checks keys that the gateway gave out. The client's name goes on; the key is cut out of the request, and with
// it whatever is in the other headers (hide_credentials empties them all): hence byokSources.
func (r *renderer) apiKeys() *apikeyv3.ApiKeyAuth {
	a := &apikeyv3.ApiKeyAuth{KeySources: keySources(clientCredentialHeaders), Forwarding: keyForwarding()}
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
	for _, h := range clientCredentialHeaders {
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
