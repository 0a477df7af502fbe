package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"
)

// NewLogger makes the process's logger. format is "text", "json", or "auto": text when w is a terminal, where a person
// reads, else JSON, for what collects logs. Times are RFC 3339 in both; durations read "1m30s" in both (slog's JSON would
// give nanoseconds without a unit); a zero time is left out, since it means "never" or "none". level may be a
// *slog.LevelVar, to change it later.
func NewLogger(w io.Writer, level slog.Leveler, format string) (*slog.Logger, error) {
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: readable}
	switch format {
	case "text":
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	case "auto":
		if !isTerminal(w) {
			return slog.New(slog.NewJSONHandler(w, options)), nil
		}
	default:
		return nil, fmt.Errorf("log format %q: write auto, text or json", format)
	}
	return slog.New(slog.NewTextHandler(w, options)), nil
}

func readable(_ []string, a slog.Attr) slog.Attr {
	kind := a.Value.Kind()
	if kind == slog.KindDuration {
		return slog.String(a.Key, a.Value.Duration().String())
	}
	if kind != slog.KindTime || a.Key == slog.TimeKey {
		return a
	}
	t := a.Value.Time()
	if t.IsZero() {
		return slog.Attr{}
	}
	return slog.Time(a.Key, t.Truncate(time.Millisecond))
}

// isTerminal takes every character device for a terminal. /dev/null is one too, where it does not matter.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
