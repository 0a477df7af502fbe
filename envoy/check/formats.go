package check

import (
	"regexp"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/internal/wire"
)

// operator is a command of Envoy's formats: %NAME(args):length%.
// https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/observability/access_log/usage#command-operators
type operator struct{ name, args, text string }

var operatorName = regexp.MustCompile(`^[A-Z][A-Z0-9_]*`)

// operators are the commands of a format. Arguments may have parentheses of their own, and percent signs.
func operators(format string) (all []operator) {
	for {
		_, after, ok := strings.Cut(format, "%")
		if !ok {
			return all
		}
		name := operatorName.FindString(after)
		rest := after[len(name):]
		o := operator{name: name}
		if strings.HasPrefix(rest, "(") && name != "" {
			n := closing(rest)
			o.args, rest = rest[1:n], rest[min(n+1, len(rest)):]
		}
		_, next, ended := strings.Cut(rest, "%")
		if name == "" || !ended {
			format = after
			continue
		}
		o.text = "%" + after[:len(after)-len(next)]
		all = append(all, o)
		format = next
	}
}

// closing is where the parenthesis is closed that s begins with, or the end.
func closing(s string) int {
	open := 0
	for i, r := range s {
		switch r {
		case '(':
			open++
		case ')':
			if open--; open == 0 {
				return i
			}
		}
	}
	return len(s)
}

// words are the names that an operator's arguments have.
func (o operator) words() []string {
	return strings.FieldsFunc(strings.ToLower(o.args), func(r rune) bool {
		return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z')
	})
}

// pathNames are what has the path with its query.
var pathNames = []string{"path", "x-envoy-original-path"}

// headerOperators have names of headers as their arguments.
var headerOperators = []string{"REQ", "REQUEST_HEADER", "RESP", "RESPONSE_HEADER", "TRAILER", "RESPONSE_TRAILER"}

// secretNames are the beginnings and ends of names of secrets: of variables of the environment, and of files.
var secretNames = regexp.MustCompile(`(?i)key|token|secret|passw|credential|auth`)

// knownState are objects of the filter state that hold no credential, by the beginnings of their names: Envoy's own and Istio's.
var knownState = []string{"envoy.", "wasm.", "io.istio.", "upstream_peer", "downstream_peer"}

func isKnownState(key string) bool {
	return slices.ContainsFunc(knownState, func(p string) bool { return strings.HasPrefix(key, p) })
}

// exposure is what a value gives away.
type exposure uint8

const (
	nothing    exposure = iota
	query               // the query of the client's path, in which some clients have their credential
	credential          // a credential
)

// exposes says what a format gives away, and by which operator.
func (c *checker) exposes(format string) (worst exposure, by string) {
	for _, o := range operators(format) {
		if e := c.operatorExposes(o); e > worst {
			worst, by = e, o.text
		}
	}
	return worst, by
}

func (c *checker) operatorExposes(o operator) exposure {
	words := o.words()
	holds := c.isCredential
	if slices.Contains(headerOperators, o.name) {
		holds = c.mayBeCredential
	}
	if slices.ContainsFunc(words, holds) && o.name != "QUERY_PARAM" {
		return credential
	}
	switch o.name {
	case "REQ", "REQUEST_HEADER", "COALESCE":
		if slices.ContainsFunc(words, func(w string) bool { return slices.Contains(pathNames, w) }) {
			return query
		}
	case "PATH":
		if form, _, _ := strings.Cut(o.args, ":"); form != "NQ" {
			return query
		}
	case "QUERY_PARAMS":
		return query
	case "QUERY_PARAM":
		if wire.IsCredentialParam(o.args) {
			return credential
		}
	case "CEL":
		return celExposes(o.args)
	case "SECRET":
		return credential
	case "ENVIRONMENT", "FILE_CONTENT":
		if secretNames.MatchString(o.args) {
			return credential
		}
	case "DYNAMIC_METADATA":
		return c.metadataExposes(o.args)
	case "METADATA":
		if kind, of, _ := strings.Cut(o.args, ":"); kind == "DYNAMIC" {
			return c.metadataExposes(of)
		}
	case "FILTER_STATE":
		key, _, _ := strings.Cut(o.args, ":")
		if !isKnownState(key) {
			return credential // what it holds is not in the document
		}
	}
	return nothing
}

// metadataExposes is for a namespace and perhaps a key of the dynamic metadata.
func (c *checker) metadataExposes(of string) exposure {
	for _, m := range c.metadata {
		if of == m || strings.HasPrefix(m, of+":") || strings.HasPrefix(of, m+":") {
			return credential
		}
	}
	return nothing
}

var (
	celHeader = regexp.MustCompile(`request\.headers\s*\[\s*['"]([^'"]*)['"]\s*\]`)
	celWhole  = regexp.MustCompile(`request\.(headers|path|query)\b`)
)

// celExposes is for an expression in which no credential's name stands.
func celExposes(expression string) (e exposure) {
	for _, m := range celHeader.FindAllStringSubmatch(expression, -1) {
		if slices.Contains(pathNames, strings.TrimPrefix(strings.ToLower(m[1]), ":")) {
			e = query
		}
	}
	for _, m := range celWhole.FindAllStringSubmatch(celHeader.ReplaceAllString(expression, ""), -1) {
		if m[1] == "headers" {
			return credential // all of them, or one by a name that is not said
		}
		e = query
	}
	return e
}

// isCredential reports whether a header is one that holds a credential.
func (c *checker) isCredential(name string) bool { return has(c.credentials, name) }

// mayBeCredential reports whether a header that clients send holds a credential, for whomever.
func (c *checker) mayBeCredential(name string) bool {
	return c.isCredential(name) || wire.IsCredential([]byte(strings.ToLower(name)))
}

// credentialNames are the headers that may hold one. Clients that cannot set headers on a WebSocket send it as a subprotocol.
func credentialNames(pools []envoy.Pool) []string {
	return append(slices.Concat(envoy.CredentialHeaders(pools), wire.Secrets), wire.ClientKeyHeader, "set-cookie", "sec-websocket-protocol")
}
