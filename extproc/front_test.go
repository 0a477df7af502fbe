package extproc

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestReadFront(t *testing.T) {
	huge := strings.Repeat("9", 60<<10)
	for _, tc := range []struct {
		name    string
		headers []string
		want    front
	}{
		{"nothing", nil, front{retries: -1}},
		{
			"everything",
			[]string{
				"x-keyturn-id: a", "x-keyturn-pool: p", "x-keyturn-client: c", "x-keyturn-start: 1.5", "x-keyturn-turn: 2", "x-keyturn-retries: 17",
				"x-envoy-attempt-count: 3", "x-request-id: r", "x-keyturn-model: m", "x-keyturn-other: o",
			},
			front{
				id: []byte("a"), pool: []byte("p"), client: []byte("c"), start: []byte("1.5"), turn: []byte("2"), requestID: []byte("r"),
				attempt: 3, retries: 17,
			},
		},
		{"empty", []string{"x-keyturn-id: ", "x-keyturn-pool: ", "x-keyturn-retries: ", "x-envoy-attempt-count: "}, front{id: []byte{}, pool: []byte{}, retries: -1}},
		{"no numbers", []string{"x-keyturn-retries: 0x10", "x-envoy-attempt-count: 1.0"}, front{retries: -1}},
		{"signs", []string{"x-keyturn-retries: -1", "x-envoy-attempt-count: +1"}, front{retries: -1}},
		{"none", []string{"x-keyturn-retries: 0", "x-envoy-attempt-count: 0"}, front{}},
		{"large", []string{"x-keyturn-retries: 2147483647", "x-envoy-attempt-count: 2147483647"}, front{retries: 1<<31 - 1, attempt: 1<<31 - 1}},
		{"larger", []string{"x-keyturn-retries: 2147483648", "x-envoy-attempt-count: 18446744073709551616"}, front{retries: -1}},
		{"huge", []string{"x-keyturn-id: " + huge, "x-keyturn-retries: " + huge, "x-envoy-attempt-count: " + huge}, front{retries: -1}},
		{"the longest id", []string{"x-keyturn-id: " + huge[:maxID]}, front{id: []byte(huge[:maxID]), retries: -1}},
		{"other names", []string{"x-keyturn: p", "keyturn-pool: p", "x-keyturn-pools: p", "x-envoy-attempt-counts: 3"}, front{retries: -1}},
	} {
		require.Equal(t, tc.want, readFront(&message{headers: lines(tc.headers)}), tc.name)
	}
}

func TestStarted(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 500e6, time.UTC)
	for start, want := range map[string]time.Duration{ // before now
		"1793534400.250": 250 * time.Millisecond,
		"1793534370.5":   30 * time.Second,
		"1793534400.500": 0,
		"1793534400.999": -499 * time.Millisecond, // the front's clock is a little ahead
		"1793534401":     0,                       // and here it is not to be believed
		"":               0, "0": 0, "-1": 0, "-0": 0, "NaN": 0, "Inf": 0, "-Inf": 0, "1e300": 0, "1e400": 0, "now": 0, "1793534400,5": 0,
	} {
		f := front{start: []byte(start)}
		require.Equal(t, want, now.Sub(f.started(now)), "%q", start)
	}
	f := front{start: []byte("1e-300")}
	require.Equal(t, int64(0), f.started(now).UnixMilli(), "long ago")
}
