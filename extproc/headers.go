package extproc

import (
	"bytes"
	"strings"

	"github.com/keyturn/keyturn/internal/wire"
)

func (m *message) header(name string) []byte {
	for i := range m.headers {
		if string(m.headers[i].name) == name {
			return m.headers[i].value
		}
	}
	return nil
}

// joined is what all headers of a name say, which is one list (RFC 9110, section 5.2). Empty where there is none.
func (m *message) joined(name string) string {
	all := ""
	for i := range m.headers {
		switch {
		case string(m.headers[i].name) != name:
		case all == "":
			all = string(m.headers[i].value)
		default:
			all += ", " + string(m.headers[i].value)
		}
	}
	return all
}

var prefixKeyturn, prefixEnvoy, prefixForwarded = []byte(wire.HeaderPrefix), []byte(wire.EnvoyPrefix), []byte(wire.ForwardedPrefix)

// internalHeader tells the names that belong to the proxy and go to no provider. Envoy removes headers by name only, so those
// that are there must be named one by one. Without x-forwarded-proto Envoy finds no route: the inner listener's route removes it.
func internalHeader(name []byte) bool {
	return len(name) > 8 && name[0] == 'x' && name[1] == '-' &&
		(bytes.HasPrefix(name, prefixKeyturn) || bytes.HasPrefix(name, prefixEnvoy) || bytes.HasPrefix(name, prefixForwarded)) &&
		string(name) != wire.ForwardedProtoHeader
}

// ownHeader tells the names in an answer that no provider may say: Keyturn's, and Envoy's, by which the proxies on the way to the
// client would take the gateway for ill, or not send the request again. The retry is removed, or set, where it is decided.
func ownHeader(name []byte) bool {
	return (bytes.HasPrefix(name, prefixKeyturn) || bytes.HasPrefix(name, prefixEnvoy)) && string(name) != wire.RetryHeader
}

// bearer is the token of an Authorization value, RFC 6750 section 2.1: exactly two fields, the scheme in any case.
func bearer(v []byte) []byte {
	f := bytes.Fields(v)
	if len(f) != 2 || !strings.EqualFold(string(f[0]), "bearer") {
		return nil
	}
	return f[1]
}

// credential is what a header that credentials are sent in holds, without the scheme Bearer; nil if nothing.
func (m *message) credential(name string) []byte {
	v := bytes.TrimSpace(m.header(name))
	if name == wire.AuthorizationHeader {
		if token := bearer(v); token != nil {
			return token
		}
	}
	if len(v) == 0 {
		return nil
	}
	return v
}

// clientCredential is what the client itself presents to the provider, nil if nothing.
func (m *message) clientCredential() []byte {
	for _, name := range wire.Credentials {
		if v := m.credential(name); v != nil {
			return v
		}
	}
	return nil
}

// withoutKey takes the query parameter key, Google's place for an API key, out of a path. It returns the path itself if there
// is none.
func withoutKey(path string) string {
	before, query, found := strings.Cut(path, "?")
	if !found || !strings.Contains(query, "key=") {
		return path
	}
	kept := make([]string, 0, strings.Count(query, "&")+1)
	changed := false
	for p := range strings.SplitSeq(query, "&") {
		if strings.HasPrefix(p, "key=") {
			changed = true
			continue
		}
		kept = append(kept, p)
	}
	switch {
	case !changed:
		return path
	case len(kept) == 0:
		return before
	}
	return before + "?" + strings.Join(kept, "&")
}

// model is the model that a path names: Azure's /deployments/{name}/…, Google's /models/{name}:method and Bedrock's /model/{name}/…. Empty
// where the model stands in the body.
func model(path string) string {
	path, _, _ = strings.Cut(path, "?")
	if _, after, ok := strings.Cut(path, "/deployments/"); ok {
		name, _, _ := strings.Cut(after, "/")
		return name
	}
	if _, after, ok := strings.Cut(path, "/model/"); ok {
		if name, _, ok := strings.Cut(after, "/"); ok {
			return name
		}
	}
	if _, after, ok := strings.Cut(path, "/models/"); ok {
		if name, _, ok := strings.Cut(after, ":"); ok && !strings.Contains(name, "/") {
			return name
		}
	}
	return ""
}

// Segments of paths under which a provider keeps what an organisation has stored: another organisation's key would not find it.
var storedSegments = map[string]bool{
	"files": true, "uploads": true, "batches": true, "vector_stores": true, "conversations": true, "containers": true,
	"assistants": true, "threads": true, "fine_tuning": true, "evals": true, "skills": true, "cachedContents": true, "videos": true,
}

// stateless are what stands in the place of a response's id, and works on what the request's body holds.
var stateless = map[string]bool{"compact": true, "input_tokens": true}

// stored tells whether a path leads to state that the provider keeps for an organisation: files, batches, conversations, and
// a response, message batch or completion that has been stored and is named by its id.
func stored(path string) bool {
	path, _, _ = strings.Cut(path, "?")
	rest, below := strings.TrimPrefix(path, "/"), ""
	for rest != "" {
		var segment string
		segment, rest, _ = strings.Cut(rest, "/")
		if storedSegments[segment] || below == "responses" && !stateless[segment] || below == "completions" {
			return segment != ""
		}
		below = segment
	}
	return false
}
