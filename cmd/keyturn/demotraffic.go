package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"
)

// demoAsk is a request of the demo's own.
type demoAsk struct{ path, client, session, body string }

// demoAsks show a failover, a key that is revoked, tools, answers that stream, and a pool that has nothing left.
var demoAsks = []demoAsk{
	{"/research/v1/responses", "codex_cli_rs/0.63.0", "design-review", `{"model":"gpt-4o-mini","stream":true,"input":"What is the weather in Oslo?"}`},
	{"/research/v1/responses", "codex_cli_rs/0.63.0", "design-review", `{"model":"gpt-4o-mini","input":"hi"}`},
	{"/research/v1/chat/completions", "notebook/2.1", "evening-batch", `{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"Add 20 and 22."}]}`},
	{"/exhausted/v1/responses", "nightly/1.0", "evening-batch", `{"model":"gpt-4o","input":"hi"}`},
	{"/research/v1/responses", "notebook/2.1", "evening-batch", `{"model":"gpt-4.1","input":"What is the weather in Lima?"}`},
	{"/exhausted/v1/chat/completions", "nightly/1.0", "", `{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}`},
}

const (
	demoRounds = 6
	demoPace   = 150 * time.Millisecond // between requests: some seconds in all
)

// traffic asks the demo's gateway what fills the operator's page. What comes of it the page says.
func (d demo) traffic(ctx context.Context) {
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	pace := time.NewTicker(demoPace)
	defer pace.Stop()
	for i := range demoRounds * len(demoAsks) {
		select {
		case <-ctx.Done():
			return
		case <-pace.C:
		}
		ask := demoAsks[i%len(demoAsks)]
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+d.Listen+ask.path, strings.NewReader(ask.body))
		if err != nil {
			return
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("User-Agent", ask.client)
		if ask.session != "" {
			req.Header.Set("X-Session-Id", ask.session)
		}
		resp, err := client.Do(req)
		if err != nil {
			continue
		}
		_, _ = io.Copy(io.Discard, resp.Body) // an answer that breaks off is one to look at, too
		_ = resp.Body.Close()
	}
}
