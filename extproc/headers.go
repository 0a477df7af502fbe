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

var prefixKeyturn, prefixEnvoy = []byte(wire.HeaderPrefix), []byte(wire.EnvoyPrefix)

// ownHeader tells the names in an answer that no provider may say: Keyturn's, and Envoy's, by which the proxies on the way to the
// client would take the gateway for ill, or not send the request again. The retry is removed, or set, where it is decided.
func ownHeader(name []byte) bool {
	return (bytes.HasPrefix(name, prefixKeyturn) || bytes.HasPrefix(name, prefixEnvoy)) && string(name) != wire.RetryHeader
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
