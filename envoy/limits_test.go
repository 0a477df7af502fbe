package envoy_test

import (
	"slices"
	"strings"
	"testing"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/internal/wire"
	"github.com/stretchr/testify/require"
)

// TestLimitsAreSent: what tells how long a key must rest reaches Keyturn, with tools or without.
func TestLimitsAreSent(t *testing.T) {
	for name, tools := range map[string]bool{"plain": false, "tools": true} {
		t.Run(name, func(t *testing.T) {
			cfg := goldens(t)["one"]
			cfg.Pools[0].Tools = tools
			rules := forwardRules(t, cfg)
			takes := func(l *matcherv3.ListStringMatcher, name string) bool {
				return slices.ContainsFunc(l.GetPatterns(), func(m *matcherv3.StringMatcher) bool {
					return m.GetExact() == name || m.GetPrefix() != "" && strings.HasPrefix(name, m.GetPrefix())
				})
			}
			for _, l := range wire.Limits {
				for _, header := range []string{l.Remaining, l.Reset, l.Status} {
					if header != "" {
						require.True(t, rules.AllowedHeaders == nil || takes(rules.AllowedHeaders, header), header)
						require.False(t, takes(rules.DisallowedHeaders, header), header)
					}
				}
			}
		})
	}
}

// forwardRules are those of Keyturn's filter in the rendered configuration.
func forwardRules(t *testing.T, cfg envoy.Config) *extprocv3.HeaderForwardingRules {
	b, err := envoy.Render(cfg)
	require.NoError(t, err)
	for _, l := range b.GetStaticResources().GetListeners() {
		for _, chain := range l.FilterChains {
			for _, f := range chain.Filters {
				var manager hcmv3.HttpConnectionManager
				require.NoError(t, f.GetTypedConfig().UnmarshalTo(&manager))
				for _, h := range manager.HttpFilters {
					var filter extprocv3.ExternalProcessor
					if h.GetTypedConfig().UnmarshalTo(&filter) == nil {
						require.NotNil(t, filter.ForwardRules)
						return filter.ForwardRules
					}
				}
			}
		}
	}
	require.FailNow(t, "no filter")
	return nil
}
