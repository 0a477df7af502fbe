package process

import (
	"bytes"
	"errors"
	"io"
	"os"
	"regexp"
	"slices"
	"sync"
)

// The bounds of what is kept of Envoy's log.
const (
	maxLineBytes = 64 << 10 // of one line; the rest of it is dropped
	tailLines    = 12       // lines that an error repeats
	tailBytes    = 600      // of each of them
)

// inlineSecret finds the values of inline data sources, in JSON and in protobuf's text form. An Envoy that cannot read
// its configuration logs the whole of it, the clients' keys included.
var inlineSecret = regexp.MustCompile(`("?inline_(?:string|bytes)"?\s*:\s*)"(?:[^"\\]|\\.)*"?`)

// logTail passes on Envoy's log by whole lines, without inline secrets, and keeps the last ones for errors.
type logTail struct {
	out  io.Writer // nil = nowhere
	file *os.File  // the part of out that is ours to close; nil = none

	mu   sync.Mutex // protects the fields below
	line []byte     // the line that has not ended yet
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
	n := len(b)
	for {
		part, rest, ended := bytes.Cut(b, []byte("\n"))
		t.line = append(t.line, part[:min(len(part), maxLineBytes-len(t.line))]...)
		if !ended {
			return n, nil
		}
		t.endLineLocked()
		b = rest
	}
}

// endLineLocked passes on and keeps the finished line.
func (t *logTail) endLineLocked() {
	line := inlineSecret.ReplaceAll(t.line, []byte(`$1"***"`))
	t.line = t.line[:0]
	if t.out != nil {
		_, _ = t.out.Write(append(line, '\n'))
	}
	if len(bytes.TrimSpace(line)) == 0 {
		return
	}
	if len(t.last) == tailLines {
		t.last = slices.Delete(t.last, 0, 1)
	}
	t.last = append(t.last, bytes.Clone(line[:min(len(line), tailBytes)]))
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

// Close passes on a line that never ended and closes the file. Nothing writes after it.
func (t *logTail) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.line) > 0 {
		t.endLineLocked()
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
