package extproc

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// TestLocalOf holds which of Envoy's code details say what. Those of resets are its reasons, with the transport's own words behind.
func TestLocalOf(t *testing.T) {
	const began = "upstream_reset_before_response_started{"
	for _, tc := range []struct {
		details string
		flags   uint64
		code    string // "": a provider's answer
		away    bool
		unsent  bool
		said    string
	}{
		{details: ""},
		{details: "", flags: 0x20},
		{details: "via_upstream"},
		{details: "via_upstream", flags: 0x20},
		{details: began + "remote_connection_failure}", code: "provider_unreachable", away: true, unsent: true, said: began + "remote_connection_failure}"},
		{
			details: began + "remote_connection_failure|TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:TLS_error_end|remote_address:[2001:db8::7]:443}",
			code:    "provider_unreachable", away: true, unsent: true,
			said: began + "remote_connection_failure|TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:TLS_error_end}",
		},
		{details: began + "local_connection_failure}", code: "provider_unreachable", away: true, unsent: true, said: "local_connection_failure"},
		{details: began + "remote_refused_stream_reset}", code: "provider_unreachable", away: true, unsent: true, said: "remote_refused_stream_reset"},
		{details: began + "connection_timeout}", flags: 0x20, code: "provider_unreachable", away: true, unsent: true, said: "connection_timeout"},
		{details: began + "connection_timeout}", code: "provider_reset", away: true, said: "connection_timeout"}, // without the flag it is not sure
		{details: began + "overflow}", flags: 0x80, code: "provider_unreachable", away: true, said: "overflow"},
		{details: began + "connection_termination}", flags: 0x40, code: "provider_reset", away: true, said: "connection_termination"},
		{details: began + "remote_reset}", flags: 0x10, code: "provider_reset", away: true, said: "remote_reset"},
		{details: began + "protocol_error", code: "provider_reset", away: true, said: "protocol_error"},
		{details: began, code: "provider_reset", away: true, said: began},
		{details: "no_healthy_upstream", flags: 2, code: "provider_unreachable", away: true, said: "no_healthy_upstream"},
		{details: "upstream_response_timeout", code: "provider_timeout", away: true, said: "upstream_response_timeout"},
		{details: "upstream_per_try_timeout", code: "provider_timeout", away: true},
		{details: "cluster_not_found", code: "cluster_unknown"},
		{details: "request_payload_too_large", code: "request_too_large"},
		{details: "response_payload_too_large", code: "response_too_large"},
		{details: "route_not_found", code: "gateway_error", said: "(route_not_found)"},
		{details: "mismatch\xff\xfebetween", code: "gateway_error", said: "(mismatch?between)"},
		{details: strings.Repeat("x", 10<<10), code: "gateway_error", said: "(" + strings.Repeat("x", maxDetails) + ")"},
		{details: strings.Repeat("é", 10<<10), code: "gateway_error", said: "éé"},
		{details: strings.Repeat("x", maxDetails-1) + "é", code: "gateway_error", said: "x?)"}, // cut in the middle of a character
	} {
		got := localOf(&message{details: []byte(tc.details), flags: tc.flags})
		if tc.code == "" {
			require.Nil(t, got, "%q", tc.details)
			continue
		}
		require.NotNil(t, got, "%q", tc.details)
		require.Equal(t, tc.code, got.code, "%q", tc.details)
		require.Equal(t, tc.away, got.away, "%q", tc.details)
		require.Equal(t, tc.unsent, got.unsent, "%q", tc.details)
		require.Contains(t, got.message, tc.said)
		require.NotContains(t, got.message, "remote_address")
		require.True(t, utf8.ValidString(got.message))
		require.Less(t, len(got.message), 2*maxDetails)
	}
}
