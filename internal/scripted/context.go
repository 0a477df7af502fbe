package scripted

import (
	"encoding/json"
	"fmt"

	"github.com/keyturn/keyturn/internal/scripted/responses"
	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// ID implements Answering.
func (x *exchange) ID(prefix string) string { return x.IDOf(prefix, 0) }

// IDOf implements Answering.
func (x *exchange) IDOf(prefix string, i int) string {
	return fmt.Sprintf("%s%08x%024x", prefix, i, x.serial)
}

// RequestID implements Answering.
func (x *exchange) RequestID() string { return x.ID("req_") }

// ModelName implements Answering.
func (x *exchange) ModelName() string {
	if x.req.Model == "" {
		return "scripted-1"
	}
	return x.req.Model
}

// Created implements Answering.
func (x *exchange) Created() int64 { return x.req.Time.Unix() }

// Usage implements Answering: the tokens that the script sets, or a token for four bytes.
func (x *exchange) Usage(n talk.Tally) talk.Tokens {
	t := talk.Tokens{In: x.a.in, Cached: x.a.cached, Out: x.a.out, Reasoning: x.a.reasoning}
	if t.In == 0 {
		t.In = max(1, int(x.req.BodySize/4))
	}
	if t.Out == 0 {
		t.Out = max(1, n.Said/4)
	}
	if t.Reasoning == 0 {
		t.Reasoning = n.Thought / 4
	}
	t.Cached, t.Reasoning = min(t.Cached, t.In), min(t.Reasoning, t.Out)
	return t
}

// Member implements Answering.
func (x *exchange) Member(name string, v any) bool { return x.fields.decode(name, v) }

// Echo implements Answering.
func (x *exchange) Echo(name, otherwise string) json.RawMessage {
	return x.fields.echo(name, otherwise)
}

// Told implements Answering: the body, read once; with what is stored, if the provider keeps anything.
func (x *exchange) Told() *talk.Told {
	if x.told == nil {
		x.told = talk.Hear(x.req.Endpoint, x.body)
	}
	return x.told
}

// Seal implements Answering.
func (x *exchange) Seal(id string) string { return talk.Seal(id) }

// Framing implements Answering.
func (x *exchange) Framing() talk.Framing { return x.a.framing }

// Keep keeps a response, if the provider is strict.
func (x *exchange) Keep(k *responses.Kept) {
	if !x.p.cfg.Strict {
		return
	}
	x.p.mu.Lock()
	defer x.p.mu.Unlock()
	x.p.ledger.add(k, x.p.cfg.KeepRequests, max(x.p.cfg.KeepBytes, defaultKeepBytes))
}

// Thinks notes that a call on Messages came after a thought, if the provider is strict.
func (x *exchange) Thinks(toolUse string) {
	if !x.p.cfg.Strict {
		return
	}
	x.p.mu.Lock()
	defer x.p.mu.Unlock()
	x.p.ledger.thinks(toolUse, x.p.cfg.KeepRequests)
}
