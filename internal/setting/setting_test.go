package setting_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/setting"
)

func TestProblems(t *testing.T) {
	var inner, all setting.Problems
	require.NoError(t, all.Err())
	cause := errors.New("cause")
	inner.Add("max", "found %d; write less", 7).Beside = "min"
	inner.Add("", "as a whole").Cause = cause
	all.AddWithin("cooldown", inner)
	all.AddWithin(setting.Item("rules", 2), setting.Problems{{Path: "for", Text: "wrong"}, {Path: "[1]", Text: "wrong too"}})
	require.EqualError(t, all.Err(), "cooldown.max: found 7; write less\ncooldown: as a whole\nrules[2].for: wrong\nrules[2][1]: wrong too")
	require.ErrorIs(t, all.Err(), cause)
	require.Equal(t, "cooldown.min", all[0].Beside)
	require.Equal(t, []*setting.Problem(all), setting.Of(errors.Join(errors.New("another"), fmt.Errorf("pool: %w", all[0]), all[1:].Err())))
	require.Empty(t, setting.Of(nil))
	require.Equal(t, "max", inner[0].Path, "what was added stays as it was")
}

func TestRange(t *testing.T) {
	for v, want := range map[time.Duration]string{
		999 * time.Millisecond: "for: found 999ms; write at least 1s", time.Second: "", time.Hour: "", time.Hour + 1: "for: found 1h0m0.000000001s; write at most 1h",
	} {
		var ps setting.Problems
		setting.Range(&ps, "for", v, time.Second, time.Hour, setting.Duration)
		if want == "" {
			require.NoError(t, ps.Err())
		} else {
			require.EqualError(t, ps.Err(), want)
		}
	}
}

func TestTexts(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0", time.Second: "1s", 90 * time.Second: "1m30s", time.Hour: "1h", 90 * time.Minute: "1h30m", 24 * time.Hour: "24h"} {
		require.Equal(t, want, setting.Duration(d))
	}
	for n, want := range map[int64]string{0: "0B", 1: "1B", 1024: "1KiB", 1 << 20: "1MiB", 1<<20 + 1: "1048577B", 3 << 30: "3GiB"} {
		require.Equal(t, want, setting.Bytes(n))
	}
}
