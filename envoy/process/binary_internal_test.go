package process

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseVersion(t *testing.T) {
	for _, tc := range []struct {
		name  string
		out   string
		want  string // version
		minor int
		err   string
	}{
		{name: "release", out: "\n/usr/bin/envoy  version: 9e5580933739775e8bce696a57a2e1bc99368f23/1.40.0/Clean/RELEASE/BoringSSL\n\n", want: "1.40.0", minor: 40},
		{name: "development", out: "envoy  version: b5ca88acee3453c9459474b8f22215796eff4dde/1.41.0-dev/Modified/DEBUG/BoringSSL-FIPS\n", want: "1.41.0-dev", minor: 41},
		{name: "vendor", out: "envoy  version: 0123abc/1.38.3-rc.1+vendor/Clean/RELEASE/OpenSSL\n", want: "1.38.3-rc.1+vendor", minor: 38},
		{name: "path with the word", out: "/opt/version: x/envoy  version: 0a/1.37.12/Clean/RELEASE/BoringSSL\n", want: "1.37.12", minor: 37},
		{name: "warnings first", out: "a warning\nenvoy  version: 0a/1.9.0/Clean/RELEASE/BoringSSL\n", want: "1.9.0", minor: 9},
		{name: "another program", out: "envoy 2.1\nCopyright nobody\n", err: `not an Envoy: --version answered "Copyright nobody", want ` + "`version: <commit>/1.<minor>.<patch>/…`"},
		{name: "nothing", out: "", err: `not an Envoy: --version answered ""`},
		{name: "Envoy 2", out: "envoy  version: 0a/2.0.0/Clean/RELEASE/BoringSSL\n", err: "not an Envoy"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			minor, version, err := parseVersion(tc.out)
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, version)
			require.Equal(t, tc.minor, minor)
		})
	}
}

func TestLastLine(t *testing.T) {
	require.Equal(t, "c", lastLine([]byte("a\nb\n  c \n\n")))
	require.Equal(t, "only", lastLine([]byte("only")))
	require.Empty(t, lastLine([]byte("\n \n")))
	require.Len(t, lastLine(make([]byte, 1000)), 300)
}
