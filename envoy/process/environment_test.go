package process

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEnvironment gives Envoy nothing that may be a key.
func TestEnvironment(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "sk-secret")
	t.Setenv("PATHS", "not this")
	t.Setenv("TZ", "Europe/Oslo")
	t.Setenv("SSL_CERT_FILE", "/ca.pem")
	got := environment()
	require.Contains(t, got, "TZ=Europe/Oslo")
	require.Contains(t, got, "SSL_CERT_FILE=/ca.pem")
	require.NotContains(t, got, "PATHS=not this")
	require.NotContains(t, got, "OPENAI_API_KEY=sk-secret")
}
