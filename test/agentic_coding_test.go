package test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

var codings = []string{"gzip", "deflate", "br", "zstd", "identity"}

func inCoding(t *testing.T, coding string, body []byte) string {
	t.Helper()
	var b bytes.Buffer
	w := scripted.Encode(coding, &b)
	_, err := w.Write(body)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.String()
}

// TestEncodedRequest holds that a client that compresses its requests, as Codex does, has tools like any other: the provider gets the request
// decoded.
func TestEncodedRequest(t *testing.T) {
	eachSpeech(t, gateway.Config{}, func(t *testing.T, gw *gateway.Gateway, s speech, stream bool) {
		for _, coding := range codings {
			t.Run(coding, func(t *testing.T) {
				gw.Reset(t)
				gw.Provider.Default(afterTools("done", echo("mock")))
				body := s.body(stream, "hi "+strings.Repeat("there ", 1000))
				got := gw.Post(t, s.path, inCoding(t, coding, []byte(body)), append(s.headers(), "Content-Encoding", coding)...)
				require.Equal(t, http.StatusOK, got.Status, got.Body)
				require.Contains(t, got.Body, "done")
				requests := gw.Provider.Requests()
				require.Len(t, requests, 2)
				for i, r := range requests {
					want := ""
					if i == 0 && coding == "identity" { // nothing was to be taken off
						want = "identity"
					}
					require.Equal(t, want, r.Header.Get("Content-Encoding"))
					require.Equal(t, fmt.Sprint(len(r.Body)), r.Header.Get("Content-Length"))
				}
				require.Contains(t, string(requests[0].Body), "bmcp_demo_echo")
			})
		}
		for name, body := range map[string]string{
			"a bomb":           inCoding(t, "gzip", make([]byte, 300<<20)),
			"no coding at all": s.body(stream, "hi"),
			"cut off":          inCoding(t, "gzip", []byte(s.body(stream, strings.Repeat("hi", 1000))))[:30],
			"no JSON":          inCoding(t, "gzip", []byte("hi")),
		} {
			t.Run(name, func(t *testing.T) {
				gw.Reset(t)
				gw.Post(t, s.path, body, append(s.headers(), "Content-Encoding", "gzip")...)
				requests := gw.Provider.Requests()
				require.Len(t, requests, 1)
				require.Equal(t, body, string(requests[0].Body), "it passes as it is")
				require.Equal(t, "gzip", requests[0].Header.Get("Content-Encoding"))
				require.Equal(t, []string{"valid", "valid"}, gw.States(t, s.provider))
			})
		}
	})
}

// TestEncodedAnswer holds that answers which come encoded, although identity was asked for, are read for calls of tools all the same, in each turn.
func TestEncodedAnswer(t *testing.T) {
	eachSpeech(t, gateway.Config{}, func(t *testing.T, gw *gateway.Gateway, s speech, stream bool) {
		for _, coding := range codings {
			t.Run(coding, func(t *testing.T) {
				gw.Reset(t)
				gw.Provider.Default(scripted.Seq(scripted.Say(scripted.Text("wait"), echo("mock")).Encoded(coding), scripted.Say(scripted.Text("done")).Encoded(coding)))
				got := s.ask(t, gw, stream, "hi")
				require.Equal(t, http.StatusOK, got.Status, got.Body)
				require.Contains(t, got.Body, "done")
				require.NotContains(t, got.Body, "bmcp_")
				if coding != "identity" {
					require.Empty(t, got.Header.Get("Content-Encoding"))
				}
				if stream {
					require.NoError(t, s.check([]byte(got.Body)))
				}
				requests := gw.Provider.Requests()
				require.Len(t, requests, 2)
				require.Equal(t, "identity", requests[1].Header.Get("Accept-Encoding"))
				require.Equal(t, "mock", requests[1].Results()[0].Text)
			})
		}
		t.Run("no call", func(t *testing.T) {
			gw.Reset(t)
			gw.Provider.Default(scripted.Say(scripted.Text("uncalled")).Encoded("gzip"))
			got := s.ask(t, gw, stream, "hi")
			require.Equal(t, http.StatusOK, got.Status)
			if got.Header.Get("Content-Encoding") == "" {
				require.Contains(t, got.Body, "uncalled")
			}
		})
		for name, answer := range map[string]scripted.Answer{
			"unknown":          scripted.Say(echo("mock")).Header("Content-Encoding", "compress"),
			"no coding at all": scripted.Say(echo("mock")).Header("Content-Encoding", "gzip"),
		} {
			t.Run(name, func(t *testing.T) {
				gw.Reset(t)
				gw.Provider.Default(answer)
				got := s.ask(t, gw, stream, "hi")
				require.NotContains(t, got.Body, "bmcp_", "Keyturn's own call is nothing that the client can answer")
				require.Contains(t, got.Body, "cannot be decoded")
				if !stream || name == "unknown" {
					require.Equal(t, http.StatusBadGateway, got.Status)
					require.Equal(t, "answer_unreadable", got.Header.Get("X-Keyturn-Error"))
				}
				require.Equal(t, []string{"valid", "valid"}, gw.States(t, s.provider))
				require.Len(t, gw.Provider.Requests(), 1)
			})
			t.Run("later, "+name, func(t *testing.T) {
				gw.Reset(t)
				gw.Provider.Default(scripted.Seq(scripted.Say(echo("mock")), answer))
				got := s.ask(t, gw, stream, "hi")
				require.NotContains(t, got.Body, `"name":"bmcp_`)
				require.Equal(t, []string{"valid", "valid"}, gw.States(t, s.provider))
				require.Len(t, gw.Provider.Requests(), 2)
				if !stream {
					require.Equal(t, http.StatusBadGateway, got.Status)
					require.Equal(t, "false", got.Header.Get("X-Should-Retry"))
				} else {
					require.Contains(t, got.Body, s.fails)
				}
			})
		}
	})
}
