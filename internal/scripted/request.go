package scripted

import (
	"net/http"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// Request is one request as it reached the provider. It is a copy; only Header and Body are shared with other copies and must
// not be changed.
type Request struct {
	// N is the request's place among all since New or Reset, KeyN its place among those with the same key; both from 1. Keys
	// without a script of their own share one KeyN.
	N, KeyN int
	// Time is when the headers had arrived.
	Time time.Time
	// Method, Host and Proto ("HTTP/1.1", "HTTP/2.0") are the request's own; Path includes the query.
	Method, Host, Path, Proto string
	// Header holds every header with every value, by canonical name. Host is not among them.
	Header http.Header
	// Key is the credential in the clear, without its scheme; "" if there was none.
	Key string
	// Endpoint is what the path and method ask for.
	Endpoint talk.Endpoint
	// Model and Stream are read from the body; "" and false if it says nothing.
	Model  string
	Stream bool
	// BodySize and SHA256 (lower-case hex) describe the body as it was read. Whole says that its end was reached; an answer
	// that did not wait for the body leaves it false.
	BodySize int64
	SHA256   string
	Whole    bool
	// Body is the body, as long as it is remembered (Config.KeepBytes).
	Body []byte
}

func endpointOf(path string) talk.Endpoint {
	path = strings.TrimSuffix(path, "/")
	for _, e := range []struct {
		end string
		is  talk.Endpoint
	}{
		{"/responses", talk.Responses},
		{"/chat/completions", talk.Chat},
		{"/messages", talk.Messages},
		{"/messages/count_tokens", talk.CountTokens},
		{"/models", talk.Models},
		{"/files", talk.Files},
		{"/embeddings", talk.Embeddings},
		{"/conversations", talk.Conversations},
	} {
		if strings.HasSuffix(path, e.end) {
			return e.is
		}
	}
	if before, found := strings.CutSuffix(path, "/content"); found {
		if dir, id, ok := cutLast(before, "/"); ok && id != "" && strings.HasSuffix(dir, "/files") {
			return talk.FileContent
		}
	}
	if id, action := itemPath(path, "responses"); strings.HasPrefix(id, "resp_") {
		if action == "" || action == "cancel" || action == "input_items" {
			return talk.Stored
		}
	}
	if id, action := itemPath(path, "conversations"); strings.HasPrefix(id, "conv_") && (action == "" || action == "items") {
		return talk.Conversations
	}
	return ""
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// credential finds the key where the providers document it: Authorization: Bearer (OpenAI, Azure with a token, OpenRouter,
// Gemini's OpenAI endpoint), x-api-key (Anthropic), api-key (Azure), x-goog-api-key (Gemini). Anthropic's API reads x-api-key
// first.
func credential(h http.Header, anthropic bool) string {
	bearer := ""
	if f := strings.Fields(h.Get("Authorization")); len(f) == 2 && strings.EqualFold(f[0], "bearer") {
		bearer = f[1]
	}
	order := []string{bearer, h.Get("X-Api-Key"), h.Get("Api-Key"), h.Get("X-Goog-Api-Key")}
	if anthropic {
		order[0], order[1] = order[1], order[0]
	}
	for _, key := range order {
		if key != "" {
			return key
		}
	}
	return ""
}

// isAnthropic tells which provider's shapes an answer takes where the path does not say it (/v1/models, /v1/files).
func isAnthropic(e talk.Endpoint, h http.Header) bool {
	switch e {
	case talk.Messages, talk.CountTokens:
		return true
	case talk.Responses, talk.Chat, talk.Embeddings, talk.Stored, talk.Conversations:
		return false
	case talk.Models, talk.Files, talk.FileContent:
	}
	return h.Get("Anthropic-Version") != ""
}
