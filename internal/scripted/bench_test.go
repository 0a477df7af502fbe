package scripted_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/scripted"
)

// discard is a ResponseWriter that costs nothing, so that what is measured is the provider alone.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}
func (d discard) Flush()                      {}

// onlyReader hides the reader's WriteTo, as a body from the network has none.
type onlyReader struct{ io.Reader }

func BenchmarkServe(b *testing.B) {
	const small = `{"input":"hi","model":"gpt-4o-mini","stream":true}`
	for _, bc := range []struct{ name, body string }{
		{"stream", small},
		{"object", `{"input":"hi","model":"gpt-4o-mini"}`},
		{"1MB", `{"input":"` + strings.Repeat("words, ", 150_000) + `",` + small[1:]},
	} {
		b.Run(bc.name, func(b *testing.B) {
			p := scripted.New(scripted.Config{KeepBytes: -1}).Key(good, scripted.OK("Hello, world"))
			r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "/v1/responses", http.NoBody)
			if err != nil {
				b.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+good)
			b.SetBytes(int64(len(bc.body)))
			b.ReportAllocs()
			for b.Loop() {
				r.Body = io.NopCloser(onlyReader{strings.NewReader(bc.body)})
				p.ServeHTTP(discard{http.Header{}}, r)
			}
		})
	}
}
