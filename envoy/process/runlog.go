package process

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"sync"

	"github.com/keyturn/keyturn/internal/redact"
)

// The bounds of what is kept of Envoy's log for errors.
const (
	tailLines = 12  // the last of them
	tailBytes = 600 // of each
)

// logTail passes on Envoy's log and keeps the last lines for errors.
type logTail struct {
	out  io.Writer // nil = nowhere
	file *os.File  // the part of out that is ours to close; nil = none

	mu   sync.Mutex // protects the fields below
	line []byte     // the beginning of the line that has not ended yet
	open bool       // it has begun
	last [][]byte   // at most tailLines, oldest first
}

// openLog returns the writer for Envoy's standard error.
func openLog(cfg RunConfig) (*logTail, error) {
	t := &logTail{out: cfg.Log}
	if cfg.LogPath == "" {
		return t, nil
	}
	var err error
	t.file, err = os.OpenFile(cfg.LogPath, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	switch {
	case err != nil:
		return nil, err
	case t.out == nil:
		t.out = t.file
	default:
		t.out = io.MultiWriter(t.file, t.out)
	}
	return t, nil
}

// Write takes the next bytes of the log. It never fails: a reader that is gone must not stop Envoy.
func (t *logTail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.out != nil {
		_, _ = t.out.Write(b)
	}
	for line := range bytes.Lines(b) {
		t.line = append(t.line, line[:min(len(line), tailBytes-len(t.line))]...)
		if t.open = line[len(line)-1] != '\n'; !t.open {
			t.keepLocked()
		}
	}
	return len(b), nil
}

// keepLocked keeps the line that has ended.
func (t *logTail) keepLocked() {
	line := bytes.TrimSuffix(t.line, []byte("\n"))
	if len(bytes.TrimSpace(line)) > 0 {
		if len(t.last) == tailLines {
			t.last = slices.Delete(t.last, 0, 1)
		}
		t.last = append(t.last, bytes.Clone(line))
	}
	t.line = t.line[:0]
}

// lines returns the last lines of the log.
func (t *logTail) lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := make([]string, len(t.last))
	for i, line := range t.last {
		s[i] = string(line)
	}
	return s
}

// Close ends a line that never did and closes the file. Nothing writes after it.
func (t *logTail) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open {
		t.keepLocked()
		if t.out != nil {
			_, _ = t.out.Write([]byte("\n"))
		}
	}
	if t.file == nil {
		return nil
	}
	err := t.file.Close()
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// output is what Envoy writes, without secrets: its standard error goes to log, its standard output to stdout.
type output struct {
	log         *logTail
	err, stdout *redact.Writer

	mu      sync.Mutex // protects secrets
	secrets []string   // what is blanked; none of it is ever taken out
}

func newOutput(cfg RunConfig) (*output, error) {
	log, err := openLog(cfg)
	if err != nil {
		return nil, err
	}
	if cfg.Stdout == nil {
		cfg.Stdout = io.Discard
	}
	o := &output{log: log, err: redact.NewWriter(log, nil), stdout: redact.NewWriter(cfg.Stdout, nil)}
	o.blank(cfg.Secrets)
	return o, nil
}

// blank adds to what is blanked.
func (o *output) blank(secrets []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	known := map[string]bool{}
	for _, s := range o.secrets {
		known[s] = true
	}
	had := len(o.secrets)
	for _, s := range secrets {
		if !known[s] {
			known[s] = true
			o.secrets = append(o.secrets, s)
		}
	}
	if len(o.secrets) == had {
		return
	}
	set := redact.New(o.secrets)
	o.err.Use(set)
	o.stdout.Use(set)
}

// close passes on what was held back. Nothing writes after it.
func (o *output) close() error { return errors.Join(o.stdout.Close(), o.err.Close(), o.log.Close()) }
