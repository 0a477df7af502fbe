package config

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"path/filepath"
	"strings"
)

// reader reads one configuration: it collects the problems, the warnings and the files it came by. For one goroutine, once.
type reader struct {
	file   string // as Load was given it
	folder string // of file: where relative paths begin
	env    func(string) (string, bool)

	line     map[string]int  // of each value read, by its path
	scalars  []Setting       // those of them that are no mappings and lists, in the order of reading
	strays   map[string]bool // the mappings with unknown fields: what they lack may be one of those, misspelt
	refused  map[string]bool // the paths of the problems
	bad      map[string]bool // and those that hold them
	values   int             // read so far: anchors can make a small file a large tree
	problems []problem
	warnings []problem
	files    []string
	secrets  []string  // every one that was read
	sum      hash.Hash // of everything that was read
}

// maxValues bounds what anchors can expand to; a thousand pools with ten keys each stay far below it.
const maxValues = 200_000

func newReader(file string, env func(string) (string, bool)) *reader {
	return &reader{
		file: file, folder: filepath.Dir(file), env: env, sum: sha256.New(),
		line: map[string]int{}, strays: map[string]bool{}, bad: map[string]bool{}, refused: map[string]bool{},
	}
}

// refuse notes a problem with the value at path.
func (r *reader) refuse(path, format string, args ...any) {
	r.add(r.at(path, fmt.Sprintf(format, args...)))
}

func (r *reader) add(p problem) {
	if r.values > maxValues && len(r.problems) > 0 {
		return // one problem says it all
	}
	r.problems = append(r.problems, p)
	r.refused[p.path] = true
	for path := p.path; path != ""; path = above(path) {
		r.bad[path] = true
	}
}

// above returns the path of the mapping or list that holds the value at path.
func above(path string) string { return path[:max(0, strings.LastIndexAny(path, ".["))] }

// warn notes what the operator should know about the value at path.
func (r *reader) warn(path, format string, args ...any) {
	r.warnings = append(r.warnings, r.at(path, fmt.Sprintf(format, args...)))
}

// refuseIn notes a problem in a line of a file that the value at path names.
func (r *reader) refuseIn(o origin, format string, args ...any) {
	p := r.at(o.path, fmt.Sprintf(format, args...))
	if o.file != "" {
		p.file, p.line = o.file, o.line
	}
	r.add(p)
}

// warnIn notes what the operator should know about a line of a file that the value at path names.
func (r *reader) warnIn(o origin, format string, args ...any) {
	p := r.at(o.path, fmt.Sprintf(format, args...))
	if o.file != "" {
		p.file, p.line = o.file, o.line
	}
	r.warnings = append(r.warnings, p)
}

// origin is where a key stands: a path of the configuration and, for a line of another file, that line.
type origin struct {
	path string
	file string // empty: the configuration
	line int

	unnamed bool // the key has its default name
}

func (r *reader) at(path, text string) problem {
	p := problem{file: r.file, path: path, text: text}
	for p.line = r.line[path]; path != "" && p.line == 0; p.line = r.line[path] {
		path = above(path)
	}
	p.from = p.line
	return p
}

// failed says whether the value at path, or one within it, has a problem already: then nothing built on it is worth a word.
func (r *reader) failed(path string) bool { return r.bad[path] }

// given says whether the file has a value at path.
func (r *reader) given(path string) bool { return r.line[path] > 0 }

// in joins a relative path to the folder of the configuration.
func (r *reader) in(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(r.folder, path)
}

func within(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
