package config

import (
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/keyturn/keyturn/keypool"
)

const byReference = "keys by reference only: put it into an environment variable or a file, and name that with env: or file:"

const itselfAKey = "what stands here looks like a key itself; " + byReference

// inline are the names under which a key itself would stand.
var inline = map[string]string{
	"key": byReference, "value": byReference, "secret": byReference, "token": byReference, "api_key": byReference, "apikey": byReference,
	"password": byReference,
}

// reference names the place of a secret.
type reference struct {
	Name, Env, File, Group string
	Tier, Weight           int
}

func variable() scalar[string] {
	s := text("text", "the name of an environment variable such as OPENAI_KEY", func(s string) wrong {
		switch {
		case envName.MatchString(s):
			return ""
		case looksSecret(s):
			return itselfAKey
		}
		return "what stands here cannot be the name of an environment variable; write a name such as OPENAI_KEY (" + byReference + ")"
	})
	s.schema = map[string]any{"type": "string", "pattern": envName.String()}
	return s
}

func secretFile() scalar[string] {
	return text("path", "the path of a file", func(s string) wrong {
		if s == "" {
			return "found an empty path; write the path of a file"
		}
		return ""
	})
}

var (
	envField  = is("env", func(e *reference) *string { return &e.Env }, variable(), "Environment variable that holds the secret; this or file.")
	fileField = is("file", func(e *reference) *string { return &e.File }, secretFile(), "File that holds the secret and nothing else, read again when it changes; this or env.")
)

// oneOf is the schema of "exactly one of these fields".
func oneOf(names ...string) map[string]any {
	var each []any
	for _, n := range names {
		each = append(each, map[string]any{"required": []string{n}})
	}
	return map[string]any{"oneOf": each}
}

// secret is a reference, {env: NAME} or {file: PATH}, read as what it refers to.
type secret struct {
	mapping  object[reference]
	minBytes int
}

func secretOf(minBytes int) secret {
	return secret{minBytes: minBytes, mapping: object[reference]{
		fields: []field[reference]{envField, fileField}, refused: inline, private: true,
		example: "{env: NAME} or {file: PATH}: keys by reference only", extra: oneOf("env", "file"),
	}}
}

func (s secret) read(r *reader, path string, n *yaml.Node, into *string) {
	var ref reference
	s.mapping.read(r, path, n, &ref)
	v, _, ok := r.resolve(path, ref, asKey)
	if ok && len(v) < s.minBytes {
		r.refuse(path, "the secret has %d bytes; use at least %d", len(v), s.minBytes)
		return
	}
	if ok {
		*into = v
	}
}

func (secret) show(string) string { return "" }

func (s secret) describe(string) description { return s.mapping.describe(reference{}) }

// keyEntry is one entry of a pool's keys.
type keyEntry struct{ mapping object[reference] }

func aKey() keyEntry {
	return keyEntry{object[reference]{
		fields: []field[reference]{
			is("name", func(e *reference) *string { return &e.Name }, identifier(true), "Name in logs, metrics and the admin API; unique in the pool.").otherwise("POOL-N"),
			envField,
			fileField,
			is("group", func(e *reference) *string { return &e.Group }, identifier(true),
				"Organisation whose limits the key shares: keys of one group rest together when the provider says that credit is used up.").otherwise("of its own"),
			is("tier", func(e *reference) *int { return &e.Tier }, number(0, keypool.MaxTier), "Keys of a later tier are asked when none of the earlier ones is usable.").otherwise("0"),
			is("weight", func(e *reference) *int { return &e.Weight }, number(1, keypool.MaxWeight), "With `choose: {by: spread}`, the key's share of the conversations beside the others of its tier.").otherwise("1"),
		},
		refused: inline, private: true, example: "{env: NAME} or {file: PATH}: keys by reference only", extra: oneOf("env", "file"),
	}}
}

func (e keyEntry) read(r *reader, path string, n *yaml.Node, into *Key) {
	var ref reference
	e.mapping.read(r, path, n, &ref)
	v, from, _ := r.resolve(path, ref, asKey)
	*into = Key{Name: ref.Name, Group: ref.Group, Tier: ref.Tier, Weight: ref.Weight, Secret: v, From: from, Line: r.at(path, "").line}
}

func (keyEntry) show(Key) string { return "" }

func (e keyEntry) describe(Key) description { return e.mapping.describe(reference{}) }

// content says what is wrong with a secret, without repeating it, as the end of "NAME holds …"; "" accepts it.
type content func(value string, inFile bool) wrong

// asKey is the content of what holds one key.
func asKey(s string, inFile bool) wrong {
	if inFile && strings.ContainsAny(s, "\r\n") {
		return "more than one line; write the key alone, or name a file of several keys with keys_file:"
	}
	return badSecret(s)
}

// resolve returns the secret that ref names, and where it was found.
func (r *reader) resolve(path string, ref reference, is content) (value, from string, ok bool) {
	switch {
	case r.failed(path):
		return "", "", false
	case ref.Env != "" && ref.File != "":
		r.refuse(path, "names both env and file; keep one")
		return "", "", false
	case ref.Env != "":
		value, from, ok = r.fromEnv(path, ref.Env, is)
	case ref.File != "":
		value, from, ok = r.fromFile(path, ref.File, is)
	default:
		r.refuse(path, "names no key; write env: NAME or file: PATH")
	}
	r.secrets = append(r.secrets, value)
	if i := strings.LastIndexByte(value, ' '); i >= 0 { // behind a scheme
		r.secrets = append(r.secrets, value[i+1:])
	}
	return value, from, ok
}

func (r *reader) fromEnv(path, name string, is content) (value, from string, ok bool) {
	from = "env " + name
	if !plainEnv.MatchString(name) {
		from = "the environment variable named here"
	}
	value, set := r.env(name)
	value = strings.TrimRight(value, "\r\n")
	switch w := is(value, false); {
	case !set && looksSecret(name):
		r.refuse(path, "%s", itselfAKey)
	case !set:
		r.refuse(path, "%s is not set; set it, or name another with env: or file:", from)
	case value == "":
		r.refuse(path, "%s is empty; set it, or name another with env: or file:", from)
	case w != "":
		r.refuse(path, "%s holds %s", from, w)
	default:
		return value, "env " + name, true
	}
	return "", "", false
}

func (r *reader) fromFile(path, written string, is content) (value, from string, ok bool) {
	const maxBytes = 64 << 10
	data, ok := r.secretFile(path, written, maxBytes)
	if !ok {
		return "", "", false
	}
	value = strings.TrimRight(strings.TrimPrefix(string(data), byteOrderMark), "\r\n")
	name := shownPath(written, r.in(written))
	switch w := is(value, true); {
	case value == "":
		r.refuse(path, "%s is empty; write the key into it", name)
	case w != "":
		r.refuse(path, "%s holds %s", name, w)
	default:
		return value, "file " + r.in(written), true
	}
	return "", "", false
}

const byteOrderMark = "\ufeff"

var assignment = regexp.MustCompile(`^(export\s+)?[A-Z][A-Z0-9_]*=`)

// badSecret says what is wrong with a secret that is to stand in a header, without repeating it.
func badSecret(s string) wrong {
	first := strings.IndexFunc(s, func(c rune) bool { return c <= ' ' || c > '~' })
	switch {
	case assignment.MatchString(s):
		return "a NAME=value pair; write the key alone"
	case len(s) > 1 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0]:
		return "a key in quotes; remove them"
	case first < 0:
		return ""
	case len(s) > 7 && strings.EqualFold(s[:7], "bearer "):
		return "a key behind the word Bearer; write the key alone"
	case s[first] == ' ', s[first] == '\t':
		return "a key with a space in it; remove the space"
	case s[first] < ' ', s[first] == 0x7f:
		return "a key with a control character in it; write the key again"
	}
	return "a key with a character that no header can carry; write the key again"
}

// lines returns the lines of a file that hold something, with their numbers. Lines that begin with "#" are comments.
func lines(data []byte) (texts []string, numbers []int) {
	for i, l := range strings.Split(strings.TrimPrefix(string(data), byteOrderMark), "\n") {
		if l = strings.TrimSpace(l); l != "" && l[0] != '#' {
			texts, numbers = append(texts, l), append(numbers, i+1)
		}
	}
	return texts, numbers
}

// keysFile appends the keys of the pool's keys_file; origins says where each key stands.
func (r *reader) keysFile(path string, p *Pool, origins []origin) []origin {
	const maxBytes = 1 << 20
	data, ok := r.secretFile(path, p.KeysFile, maxBytes)
	if !ok {
		return origins
	}
	full := r.in(p.KeysFile)
	texts, numbers := lines(data)
	if len(texts) == 0 {
		r.refuse(path, "%s holds no key; write one a line", shownPath(p.KeysFile, full))
	}
	for i, s := range texts {
		o := origin{path: path, file: full, line: numbers[i]}
		if w := badSecret(s); w != "" {
			r.refuseIn(o, "the line holds %s (one key a line, comments on lines of their own)", w)
			continue
		}
		r.secrets = append(r.secrets, s)
		p.Keys = append(p.Keys, Key{Secret: s, From: fmt.Sprintf("%s:%d", full, numbers[i]), Line: r.line[path]})
		origins = append(origins, o)
	}
	p.KeysFile = full
	return origins
}

// Lengths of a client's key, in characters. Nothing bounds how often somebody tries one.
const (
	minClientKey  = 8
	goodClientKey = 16
)

// clientKeys is a file of clients' keys, read as those.
type clientKeys struct{ scalar[string] }

func (c clientKeys) read(r *reader, path string, n *yaml.Node, into *[]ClientKey) {
	const maxBytes = 1 << 20
	var written string
	c.scalar.read(r, path, n, &written)
	if r.failed(path) {
		return
	}
	data, ok := r.secretFile(path, written, maxBytes)
	if !ok {
		return
	}
	full := r.in(written)
	texts, numbers := lines(data)
	if len(texts) == 0 {
		r.refuse(path, "%s holds no key; write one a line, as name:key", shownPath(written, full))
	}
	names, secrets := map[string]int{}, map[string]int{}
	for i, s := range texts {
		o := origin{path: path, file: full, line: numbers[i]}
		name, key, named := strings.Cut(s, ":")
		if !named {
			name, key = fmt.Sprintf("client-%d", i+1), s
		}
		name, key = strings.TrimSpace(name), strings.TrimSpace(key)
		_, wrongName := identifier(true).parse(name)
		w := badSecret(key)
		switch {
		case wrongName != "":
			r.refuseIn(o, "what stands before the colon cannot be a client's name; write name:key, the name of letters, digits, '.', '_' and '-'")
		case key == "":
			r.refuseIn(o, "the line holds no key; write name:key")
		case w != "":
			r.refuseIn(o, "the line holds %s (one key a line, comments on lines of their own)", w)
		case len(key) < minClientKey:
			r.refuseIn(o, "the key of %s has %d characters: whoever tries keys finds it; make one of 16 or more, as openssl rand -hex 24 does", name, len(key))
		case names[name] > 0:
			r.refuseIn(o, "the name %s is taken by line %d; give each client its own", name, names[name])
		case secrets[key] > 0:
			r.refuseIn(o, "holds the same key as line %d; give each client its own", secrets[key])
		default:
			*into = append(*into, ClientKey{Name: name, Secret: key})
			r.secrets = append(r.secrets, key)
			if len(key) < goodClientKey {
				r.warnIn(o, "the key of %s has %d characters, which whoever has time can guess; make one of 16 or more, as openssl rand -hex 24 does", name, len(key))
			}
		}
		names[name], secrets[key] = numbers[i], numbers[i]
	}
}

func (clientKeys) show([]ClientKey) string { return "" }

func (c clientKeys) describe([]ClientKey) description { return c.scalar.describe("") }
