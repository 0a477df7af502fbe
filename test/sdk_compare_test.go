package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/dialect/check"
	"github.com/keyturn/keyturn/test/sdks"
)

// passing are members that differ between two answers of the same sense: times, and what SDKs add of their own, to the one or to the
// other: what they parsed, the text of all items, how ai and @openai/agents keep a provider's members. Older SDKs of Anthropic's do not put
// usage.iterations together from a stream.
var passing = []string{
	"created", "created_at", "completed_at", "timestamp", "obfuscation",
	"parsed", "parsed_arguments", "parsed_output", "output_parsed", "output_text",
	"iterations", "dynamic", "providerData", "providerMetadata", "providerOptions",
}

// own reports whether an element of a list is one that an SDK made of its own accord: what ai 7 notes of a stream's beginning.
func own(element map[string]any) bool {
	return element["type"] == "custom" && element["kind"] == "anthropic.message_start"
}

// identity is an id as providers and Keyturn make them, alone in its string: resp_0…, mcp-….
var identity = regexp.MustCompile(`"(?:[a-z]+[_-][A-Za-z0-9_.+-]*[0-9a-f]{16}[A-Za-z0-9_.+-]*|mcp-[A-Za-z0-9_-]{20,60})"`)

// sealed are members that only the provider can read, and that are different each time.
var sealed = map[string]bool{"signature": true, "encrypted_content": true}

// sameness is how two answers are compared: what may differ between two of the same sense is left out, and ids become numbers in
// the order in which they appear, so that what belongs together still has to.
type sameness struct {
	without  []string // further members that are left out
	anyOrder bool     // of the elements of lists; ids are not told apart then
}

func (s sameness) of(t require.TestingT, object json.RawMessage) string {
	d := json.NewDecoder(bytes.NewReader(object))
	d.UseNumber()
	var v any
	require.NoError(t, d.Decode(&v), "%s", object)
	v, _ = s.stripped(v)
	if s.anyOrder {
		return written(t, sorted(t, v), func(string) string { return `"id"` })
	}
	ids := map[string]string{}
	return written(t, v, func(id string) string {
		if ids[id] == "" {
			ids[id] = fmt.Sprintf(`"id %d"`, len(ids)+1)
		}
		return ids[id]
	})
}

// written is v as JSON, with other ids.
func written(t require.TestingT, v any, id func(string) string) string {
	b, err := json.MarshalIndent(v, "", " ")
	require.NoError(t, err)
	return identity.ReplaceAllStringFunc(string(b), id)
}

// sorted is v with the elements of every list in an order that does not depend on theirs.
func sorted(t require.TestingT, v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			v[name] = sorted(t, member)
		}
	case []any:
		for i, e := range v {
			v[i] = sorted(t, e)
		}
		key := func(e any) string { return written(t, e, func(string) string { return `"id"` }) }
		slices.SortFunc(v, func(a, b any) int { return strings.Compare(key(a), key(b)) })
	}
	return v
}

// stripped leaves out of v what may differ, and what is as good as absent: null and what is empty. It reports whether anything is
// left.
func (s sameness) stripped(v any) (any, bool) {
	switch v := v.(type) {
	case map[string]any:
		kept := map[string]any{}
		_, called := v["function"]       // of a call in a stream of Chat, openai-python keeps the place,
		_, noted := v["callId"].(string) // and @openai/agents has no status
		for name, member := range v {
			if slices.Contains(passing, name) || slices.Contains(s.without, name) || called && name == "index" || noted && name == "status" {
				continue
			}
			m, ok := s.stripped(member)
			if ok && sealed[name] {
				m = "sealed"
			}
			if ok {
				kept[name] = m
			}
		}
		return kept, len(kept) > 0
	case []any:
		var kept []any
		for _, e := range v {
			if element, ok := e.(map[string]any); ok && own(element) {
				continue
			}
			if m, ok := s.stripped(e); ok {
				kept = append(kept, m)
			}
		}
		return kept, len(kept) > 0
	case string:
		return v, v != ""
	}
	return v, v != nil
}

// watched stands between the clients and a gateway and reads every stream that comes back with the checkers of the dialects.
type watched struct {
	url string

	mu      sync.Mutex // protects the fields below
	streams int
	broken  []string
}

func watch(t *testing.T, gateway string) *watched {
	t.Helper()
	target, err := url.Parse(gateway)
	require.NoError(t, err)
	w := &watched{}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true
	server := httptest.NewServer(&httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			// Read here, or the transport may find the body closed when it looks for more after the answer has begun.
			body, err := io.ReadAll(r.In.Body)
			if err != nil {
				panic(http.ErrAbortHandler)
			}
			r.Out.Body, r.Out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		},
		ModifyResponse: func(r *http.Response) error {
			if strings.HasPrefix(r.Header.Get("Content-Type"), "text/event-stream") {
				r.Body = &watchedBody{ReadCloser: r.Body, path: r.Request.URL.Path, w: w}
			}
			return nil
		},
	})
	t.Cleanup(func() {
		server.Close()
		transport.CloseIdleConnections()
	})
	w.url = server.URL
	return w
}

// rules are the checkers.
var rules = map[dialect.Dialect]func([]byte) error{
	dialect.Responses: check.Responses, dialect.Chat: check.Chat, dialect.Messages: check.Messages,
}

// watchedBody is the body of a stream, judged when it ends.
type watchedBody struct {
	io.ReadCloser
	path string
	w    *watched
	all  bytes.Buffer
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.all.Write(p[:n])
	if err != nil {
		b.w.judge(b.path, b.all.Bytes(), err)
	}
	return n, err
}

// judge reads a stream that ended with err.
func (w *watched) judge(path string, stream []byte, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.streams++
	if errors.Is(err, io.EOF) {
		err = rules[dialect.Of(path)](stream)
	}
	if err != nil && !errors.Is(err, context.Canceled) { // a client may stop reading after an error
		w.broken = append(w.broken, fmt.Sprintf("%s: %v\n%s", path, err, stream))
	}
}

// verdict fails the test for each stream that broke a rule, and when there was none.
func (w *watched) verdict(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	require.NotZero(t, w.streams)
	for _, b := range w.broken {
		t.Error(b)
	}
}

// types are the types of the output items of a Responses object.
func types(t require.TestingT, a sdks.Answer) (all []string) {
	var r struct{ Output []struct{ Type string } }
	require.NoError(t, json.Unmarshal(a.Object, &r))
	for _, item := range r.Output {
		all = append(all, item.Type)
	}
	return all
}
