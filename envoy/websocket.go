package envoy

import (
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	headersv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	tometadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_to_metadata/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/keyturn/keyturn/internal/wire"
)

// Two filters put a client's key for the gateway where the clients' authentication looks for it. A web page can set no header on a WebSocket
// but the names of its subprotocols, so it has the key there: Keyturn takes the item out before the provider sees it. And some clients write
// Bearer otherwise than Envoy wants it.
const (
	protocolsFilter    = "keyturn-credential"
	protocolsKeyFilter = "keyturn-credential-header"
)

// CredentialNamespace is the one of the dynamic metadata in which a client's key passes from the first filter to the second. No log may have it.
const CredentialNamespace = "keyturn-credential" //nolint:gosec // a name, no credential

// protocolItems are where a key may stand, with the field of metadata that it goes into. The first is the gateway's own place, and the others
// hold the client's own credential where the pool is one of BYOK.
var protocolItems = []struct{ field, header, pattern string }{
	{"own", wire.ProtocolHeader, `(?:.*[, ])?` + wire.ClientKeyHeader + `\.([^, ]+).*`},
	{"bearer", wire.AuthorizationHeader, `(?i:bearer) +([^ ]+) *`},
	{"sdk", wire.ProtocolHeader, `(?:.*[, ])?openai-insecure-api-key\.([^, ]+).*`}, // as OpenAI's SDK has it
}

// protocols are the filters; none in somebody else's Envoy, or where clients are not asked.
func (r *renderer) protocols() []*hcmv3.HttpFilter {
	if r.parts || !r.authenticates() {
		return nil
	}
	config := &headersv3.HeaderMutation{Mutations: &headersv3.Mutations{}}
	for _, item := range protocolItems {
		add := &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Append{Append: &corev3.HeaderValueOption{
			Header:       &corev3.HeaderValue{Key: wire.ClientKeyHeader, Value: "%DYNAMIC_METADATA(" + CredentialNamespace + ":" + item.field + ")%"},
			AppendAction: corev3.HeaderValueOption_ADD_IF_ABSENT,
		}}}
		config.Mutations.RequestMutations = append(config.Mutations.RequestMutations, add)
	}
	return []*hcmv3.HttpFilter{
		{Name: protocolsFilter, ConfigType: typed(r.pack(protocolRules(len(protocolItems))))},
		{Name: protocolsKeyFilter, ConfigType: typed(r.pack(config))},
	}
}

// protocolRules find the first of protocolItems.
func protocolRules(first int) *tometadatav3.Config {
	c := &tometadatav3.Config{}
	for _, item := range protocolItems[:first] {
		c.RequestRules = append(c.RequestRules, &tometadatav3.Config_Rule{
			Header: item.header,
			OnHeaderPresent: &tometadatav3.Config_KeyValuePair{
				MetadataNamespace: CredentialNamespace, Key: item.field,
				RegexValueRewrite: &matcherv3.RegexMatchAndSubstitute{
					Pattern:      &matcherv3.RegexMatcher{Regex: "^" + item.pattern + "$|^.*$"},
					Substitution: `\1`, // nothing where there is none
				},
			},
		})
	}
	return c
}
