package address

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		in    string
		want  Address
		local bool
		err   string
	}{
		{in: "unix:run/x.sock", want: Address{Path: "run/x.sock"}, local: true},
		{in: "unix:", err: "needs a path"},
		{in: "unix:/" + strings.Repeat("x", MaxSocketPath), err: "the path of a Unix socket may have"},
		{in: "localhost:1", want: Address{Host: "127.0.0.1", Port: 1}, local: true},
		{in: ":1", want: Address{Host: "0.0.0.0", Port: 1}},
		{in: "[::1]:65535", want: Address{Host: "::1", Port: 65535}, local: true},
		{in: "gateway.example:1", want: Address{Host: "gateway.example", Port: 1}},
		{in: "127.0.0.1", err: "neither unix:path nor host:port"},
		{in: "127.0.0.1:65536", err: "a number from 0 to 65535"},
	} {
		t.Run(tc.in, func(t *testing.T) {
			got, err := Parse(tc.in)
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.local, got.Local())
			got.IP = tc.want.IP
			require.Equal(t, tc.want, got)
		})
	}
}

func TestBind(t *testing.T) {
	mode := func(a Address) uint32 { return a.Bind(0o600).GetPipe().GetMode() }
	require.EqualValues(t, 0o600, mode(Address{Path: "x"}))
	require.Zero(t, mode(Address{Path: "@x"}), "an abstract socket has none")
	require.Nil(t, Address{Internal: "inner"}.Bind(0o600))
	require.Equal(t, "inner", Address{Internal: "inner"}.Endpoint().GetEnvoyInternalAddress().GetServerListenerName())
	any6, err := Parse("[::]:1")
	require.NoError(t, err)
	require.True(t, any6.Bind(0).GetSocketAddress().GetIpv4Compat())
	require.False(t, any6.Endpoint().GetSocketAddress().GetIpv4Compat())
}

func TestUpstream(t *testing.T) {
	for in, want := range map[string]Address{
		"https://API.example.com/base/": {Host: "api.example.com", Port: 443},
		"http://api.example.com":        {Host: "api.example.com", Port: 80},
		"http://api.example.com:8080":   {Host: "api.example.com", Port: 8080},
	} {
		u, err := url.Parse(in)
		require.NoError(t, err)
		require.NoError(t, CheckUpstream(u))
		require.Equal(t, want, OfUpstream(u))
		require.Equal(t, strings.TrimSuffix(u.Path, "/"), BasePath(u))
	}
	require.ErrorContains(t, CheckUpstream(nil), "an address is needed")
}
