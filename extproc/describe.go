package extproc

import (
	"strings"
	"unicode/utf8"

	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/keypool"
)

// Bounds of what an attempt leaves in Envoy's dynamic metadata, in bytes: all of it stays within wire.MaxMetadata.
const (
	maxNoted      = 256     // of what a client can choose
	maxNotedCalls = 2 << 10 // of the calls of tools, as they are written
)

// describe leaves in Envoy's dynamic metadata what the inner listener's log tells of the attempt. It is called while the
// request's headers are handled.
func (x *exchange) describe() {
	x.describeRequest()
	x.dyn.text(wire.PoolField, x.pool.name)
	x.dyn.text(wire.ProviderField, x.pool.provider)
	x.dyn.number(wire.AttemptField, float64(x.attempt))
	x.describeModel()
	if route := x.route(); route != "" {
		x.dyn.text(wire.FallbackField, route)
	}
	switch {
	case x.key != nil:
		x.dyn.text(wire.KindField, wire.Centralized)
		x.describeKey()
	case x.own != nil:
		x.dyn.text(wire.KindField, wire.BYOK)
		x.dyn.bytes(wire.KeyField, x.own)
		if len(x.front.client) == 0 { // else its name is there
			x.dyn.text(wire.ClientField, ownClient(x.presented))
		}
	}
}

// describeRequest tells which request the attempt is one of.
func (x *exchange) describeRequest() {
	for _, f := range []struct {
		name  string
		value []byte
	}{{wire.IDField, x.front.recorded()}, {wire.RequestIDField, x.front.requestID}, {wire.ClientField, x.front.client}, {wire.TurnField, x.front.turn}} {
		if len(f.value) > 0 {
			x.dyn.bytes(f.name, clipped(f.value))
		}
	}
}

// describeModel tells which model the client asked for, if that is known.
func (x *exchange) describeModel() {
	if x.model != "" {
		x.dyn.text(wire.ModelField, strings.ToValidUTF8(wire.Clip(x.model, maxNoted), "\uFFFD"))
	}
}

// clipped is the beginning of what a client can choose.
func clipped(v []byte) []byte {
	if len(v) <= maxNoted {
		return v
	}
	n := maxNoted
	for n > 0 && !utf8.RuneStart(v[n]) {
		n--
	}
	return v[:n]
}

// describeKey tells which key the attempt has.
func (x *exchange) describeKey() {
	x.dyn.text(wire.KeyField, x.key.Hint())
	x.dyn.text(wire.KeyNameField, x.key.Name())
	x.dyn.text(wire.KeyIDField, x.key.ID())
}

// ended adds to the metadata what has come of the attempt, as far as its status does not say it, and returns all of it.
func (x *exchange) ended() *dynamic {
	switch x.outcome {
	case turned, exhausted, unreachable:
		x.dyn.text(wire.OutcomeField, x.outcome.String())
	case noResponse, succeeded, surfaced, foreign, outcomes:
	}
	if x.verdict.Class != keypool.None {
		x.dyn.text(wire.ClassField, x.verdict.Class.String())
	}
	if rest := x.transition.Until.Sub(x.judged); !x.transition.Until.IsZero() && rest > 0 {
		x.dyn.number(wire.WaitField, rest.Seconds())
	}
	return &x.dyn
}

// describeTurns leaves in Envoy's dynamic metadata what the access log tells about a response with tools.
func (x *exchange) describeTurns(d *dynamic) {
	r := x.tools.response.Report()
	if x.tools.more {
		d.number(wire.ToolCallsField, float64(r.Calls))
		x.describeLast(d, r.Key)
	}
	if len(r.Done) > 0 {
		text, cut := wire.Calls(r.Done, maxNotedCalls)
		d.text(wire.CallsField, strings.ToValidUTF8(text, "\uFFFD"))
		if cut += r.Calls - len(r.Done); cut > 0 {
			d.number(wire.CutField, float64(cut))
		}
	}
	if r.Sent > 0 {
		d.number(wire.SentField, float64(r.Sent))
	}
	if r.Problem != "" {
		d.text(wire.EndingField, r.Problem)
	}
	d.number(wire.TurnsField, float64(r.Turns))
	total := r.Usage.Input + r.Usage.Output
	for _, f := range []struct {
		name string
		n    int64
	}{
		{wire.InputTokensField, r.Usage.Input},
		{wire.OutputTokensField, r.Usage.Output},
		{wire.TotalTokensField, total},
		{wire.CacheReadField, r.Usage.CacheRead},
		{wire.CacheWriteField, r.Usage.CacheWrite},
		{wire.ReasoningField, r.Usage.Reasoning},
	} {
		if f.n > 0 || f.name == wire.InputTokensField && total > 0 || f.name == wire.OutputTokensField && total > 0 {
			d.number(f.name, float64(f.n))
		}
	}
}

// describeLast tells which key the last turn had, where the pool has keys.
func (x *exchange) describeLast(d *dynamic, name string) {
	if x.pool.keys == nil {
		return
	}
	if key, known := x.pool.keys.Key(name); known {
		d.text(wire.KeyField, key.Hint())
		d.text(wire.KeyNameField, key.Name())
		d.text(wire.KeyIDField, key.ID())
	}
}
