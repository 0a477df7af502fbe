package telemetry_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/telemetry"
)

func TestLoggerFormats(t *testing.T) {
	until := time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)
	const stamp = `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)`
	for _, tc := range []struct {
		name, format string
		want         string
	}{
		{
			"text", "text",
			`^time=` + stamp + ` level=WARN msg="key rested" key=a for=1m30s until=2026-03-01T12:00:00.123Z` + "\n$",
		},
		{
			"json", "json",
			`^\{"time":"` + stamp + `","level":"WARN","msg":"key rested","key":"a","for":"1m30s","until":"2026-03-01T12:00:00.123Z"\}` + "\n$",
		},
		{"auto is JSON where no terminal is", "auto", `^\{"time":"` + stamp + `",`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			log, err := telemetry.NewLogger(&out, slog.LevelInfo, tc.format)
			require.NoError(t, err)
			log.Debug("not written")
			log.Warn("key rested", slog.String("key", "a"), slog.Duration("for", 90*time.Second),
				slog.Time("until", until), slog.Time("revive_at", time.Time{}))
			require.Regexp(t, tc.want, out.String())
			require.NotContains(t, out.String(), "not written")
			require.NotContains(t, out.String(), "revive_at", "a zero time is none")
		})
	}
}

func TestLoggerAutoLooksAtTheFile(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	defer file.Close()
	device, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer device.Close()

	onFile, err := telemetry.NewLogger(file, slog.LevelInfo, "auto")
	require.NoError(t, err)
	require.IsType(t, &slog.JSONHandler{}, onFile.Handler())
	onDevice, err := telemetry.NewLogger(device, slog.LevelInfo, "auto")
	require.NoError(t, err)
	require.IsType(t, &slog.TextHandler{}, onDevice.Handler())
}

func TestLoggerLevelMayChange(t *testing.T) {
	var out bytes.Buffer
	var level slog.LevelVar
	log, err := telemetry.NewLogger(&out, &level, "text")
	require.NoError(t, err)
	log.Debug("first")
	level.Set(slog.LevelDebug)
	log.Debug("second")
	require.NotContains(t, out.String(), "first")
	require.Contains(t, out.String(), "second")
}

func TestLoggerRefusesAnUnknownFormat(t *testing.T) {
	_, err := telemetry.NewLogger(&bytes.Buffer{}, slog.LevelInfo, "yaml")
	require.EqualError(t, err, `log format "yaml": write auto, text or json`)
}
