package wire

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestIsOrigin(t *testing.T) {
	for _, name := range []string{
		"access-control-allow-origin", "access-control-allow-credentials", "access-control-max-age", "access-control-allow-private-network", "alt-svc", "clear-site-data", "strict-transport-security", "set-cookie", "set-cookie2",
		"public-key-pins", "nel", "report-to", "reporting-endpoints", "service-worker-allowed", "accept-ch", "expect-ct", "timing-allow-origin", "proxy-authenticate",
	} {
		require.True(t, IsOrigin([]byte(name)), name)
	}
	for _, name := range []string{"", "access-control-", "content-type", "content-security-policy", "retry-after", "x-request-id", "www-authenticate", "location", "link", "vary", "server", "x-content-type-options", "cache-control"} {
		require.False(t, IsOrigin([]byte(name)), name)
	}
}
