package mcp

import (
	"bytes"
	"errors"
	"io/fs"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"unicode"
)

const (
	keptWords = 4 << 10 // bytes of a child's stderr that are kept, the last ones
	saidLines = 3       // lines of them that the log shows
	saidBytes = 400     // and their bytes
)

// programError is why a server that is a command cannot be used.
type programError struct {
	what string // as in Error.Program
	err  error
}

func (e *programError) Error() string { return "the program " + e.what }
func (e *programError) Unwrap() error { return e.err }

// reason says why a program cannot be started, without its path, which is in the configuration.
func reason(err error) string {
	var file *fs.PathError
	var program *exec.Error
	switch {
	case errors.As(err, &file):
		return file.Err.Error()
	case errors.As(err, &program):
		return program.Err.Error()
	}
	return "an error of the system"
}

// lastWords takes what a child writes on its stderr, and keeps the end of it.
type lastWords struct {
	secrets []string // values that were given to the child

	mu    sync.Mutex // protects the fields below
	kept  []byte
	lines int64
}

// newLastWords hides the values of these variables, given as NAME=value.
func newLastWords(env []string) *lastWords {
	w := &lastWords{}
	for _, pair := range env {
		if _, value, _ := strings.Cut(pair, "="); len(value) >= 4 {
			w.secrets = append(w.secrets, value)
		}
	}
	return w
}

// Write implements io.Writer. It never fails, so that the child never waits.
func (w *lastWords) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines += int64(bytes.Count(p, []byte("\n")))
	end := p[max(0, len(p)-keptWords):]
	if over := len(w.kept) + len(end) - keptWords; over > 0 {
		w.kept = append(w.kept[:0], w.kept[over:]...)
	}
	w.kept = append(w.kept, end...)
	return len(p), nil
}

func (w *lastWords) count() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lines
}

// tokenLike is what may be a key: a long word with a digit in it.
var tokenLike = regexp.MustCompile(`[A-Za-z0-9_+=-]{20,}`)

// said returns the last lines, without what may be secret.
func (w *lastWords) said() string {
	w.mu.Lock()
	text := string(w.kept)
	w.mu.Unlock()
	for _, secret := range w.secrets {
		text = strings.ReplaceAll(text, secret, "[…]")
	}
	text = tokenLike.ReplaceAllStringFunc(text, func(word string) string {
		if strings.ContainsAny(word, "0123456789") {
			return "[…]"
		}
		return word
	})
	var last []string
	for line := range strings.SplitSeq(strings.ToValidUTF8(text, ""), "\n") {
		if line = strings.TrimSpace(strings.Map(printable, line)); line != "" {
			last = append(last, line)
		}
	}
	said := strings.Join(last[max(0, len(last)-saidLines):], " | ")
	if len(said) > saidBytes {
		said = strings.ToValidUTF8(said[len(said)-saidBytes:], "")
	}
	return said
}

func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return ' '
}
