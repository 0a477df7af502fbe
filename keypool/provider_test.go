package keypool_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/provider"
	"github.com/keyturn/keyturn/keypool"
)

// TestProviders: every provider's plain refusal of a key retires it, and its plain rate limit lets it rest.
func TestProviders(t *testing.T) {
	judge := func(f provider.Failure) keypool.Verdict {
		return keypool.Classify(keypool.Policy{}, keypool.Answer{
			Status: f.Status, Header: header(f.Header).get, Body: []byte(f.Body), Now: time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC),
		})
	}
	judged := 0
	for _, p := range provider.All {
		t.Run(p.Name, func(t *testing.T) {
			if f := p.WrongKey; f.Status != 0 {
				v := judge(f)
				require.Equal(t, keypool.Credential, v.Class)
				require.Equal(t, keypool.Retire, v.Action)
				judged++
			}
			if f := p.Limited; f.Status != 0 {
				v := judge(f)
				require.Equal(t, keypool.RateLimit, v.Class)
				require.Equal(t, keypool.CoolDown, v.Action)
				require.NotEqual(t, keypool.ScopeRequest, v.Scope)
				judged++
			}
		})
	}
	require.Greater(t, judged, 2*len(provider.All)-5)
}
