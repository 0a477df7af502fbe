package admin

import (
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/record"
)

// The shapes of what was recorded. Times are RFC 3339 in UTC, durations seconds, absent when there is none.
type (
	// Turn is one request of a client and all that was done for it.
	Turn struct {
		ID        string    `json:"id"`
		Start     time.Time `json:"start"`
		End       time.Time `json:"end"`
		Client    string    `json:"client,omitempty"`
		Session   string    `json:"session,omitempty"`
		UserAgent string    `json:"user_agent,omitempty"`
		Pool      string    `json:"pool,omitempty"`
		Provider  string    `json:"provider,omitempty"`
		Dialect   string    `json:"dialect,omitempty"`
		Method    string    `json:"method,omitempty"`
		Path      string    `json:"path,omitempty"`
		Asked     string    `json:"asked,omitempty"`    // the model that the client asked for
		Answered  string    `json:"answered,omitempty"` // the model that answered
		Stream    bool      `json:"stream,omitempty"`

		Status     int    `json:"status"` // 0: the client left before
		ErrorClass string `json:"error_class,omitempty"`
		Ending     string `json:"ending"` // whole, cancelled, broken or refused

		FirstByte float64 `json:"first_byte_seconds,omitempty"`
		Duration  float64 `json:"duration_seconds"`
		Overhead  float64 `json:"overhead_seconds,omitempty"` // Keyturn's own part until the first byte
		BytesIn   int64   `json:"bytes_in"`
		BytesOut  int64   `json:"bytes_out"`
		TraceID   string  `json:"trace_id,omitempty"`
		SpanID    string  `json:"span_id,omitempty"`

		Key      string    `json:"key,omitempty"` // name of the one that served
		Turns    int       `json:"turns"`         // requests to the provider that succeeded
		Attempts []Attempt `json:"attempts"`
		Calls    []Call    `json:"calls,omitempty"`
		Cut      int       `json:"cut,omitempty"`     // attempts and calls that are not listed
		Missing  []string  `json:"missing,omitempty"` // log entries that never came: request, attempt

		Usage Usage  `json:"usage"`
		Price *Price `json:"price,omitempty"`
		Said  []Said `json:"said,omitempty"` // where it is recorded, and not for viewers
	}
	// Attempt is one request to a provider with one key.
	Attempt struct {
		Number   int     `json:"number"`
		Turn     int     `json:"turn"`
		Pool     string  `json:"pool,omitempty"`
		Key      string  `json:"key,omitempty"`
		Hint     string  `json:"hint,omitempty"`
		Start    float64 `json:"start_seconds"` // since the request's start
		Duration float64 `json:"duration_seconds"`
		Status   int     `json:"status,omitempty"` // the provider's
		Class    string  `json:"class,omitempty"`  // of the failure
		Outcome  string  `json:"outcome"`
		Wait     float64 `json:"wait_seconds,omitempty"` // what the key rests
		Model    string  `json:"model,omitempty"`
		Usage    *Usage  `json:"usage,omitempty"`
	}
	// Call is one call of a tool.
	Call struct {
		ID       string  `json:"id"`
		Server   string  `json:"server,omitempty"`
		Tool     string  `json:"tool"`
		Turn     int     `json:"turn"`
		Start    float64 `json:"start_seconds"`
		Duration float64 `json:"duration_seconds"`
		Outcome  string  `json:"outcome"`
	}
	// Usage are tokens.
	Usage struct {
		Input      int64  `json:"input"`       // cached ones among them
		CacheRead  int64  `json:"cache_read"`  // part of input
		CacheWrite int64  `json:"cache_write"` // part of input
		Output     int64  `json:"output"`      // reasoning among it
		Reasoning  int64  `json:"reasoning"`   // part of output
		State      string `json:"state"`       // unknown, partial or complete
	}
	// Price is what a turn cost.
	Price struct {
		USD    string `json:"usd"`    // exactly, in decimals
		Priced bool   `json:"priced"` // false: there are tokens without a price
		Table  string `json:"table,omitempty"`
	}
	// Said is a piece of what was said.
	Said struct {
		Kind string    `json:"kind"` // prompt, answer, thought or tool
		Turn int       `json:"turn"`
		Call string    `json:"call,omitempty"`
		Text string    `json:"text"`
		Cut  bool      `json:"cut,omitempty"`
		At   time.Time `json:"at,omitzero"`
	}
	// Spend is what one group of turns cost.
	Spend struct {
		At       time.Time         `json:"at,omitzero"` // the beginning of the hour, day or month
		By       map[string]string `json:"by,omitempty"`
		Turns    int64             `json:"turns"`
		Failed   int64             `json:"failed"`
		Usage    Usage             `json:"usage"`
		USD      string            `json:"usd"`
		Unpriced int64             `json:"unpriced"` // tokens without a price
	}
)

var (
	endings = map[record.Ending]string{record.Whole: "whole", record.Cancelled: "cancelled", record.Broken: "broken", record.Refused: "refused"}
	usages  = map[record.UsageState]string{record.Unknown: "unknown", record.Partial: "partial", record.Complete: "complete"}
	kinds   = map[record.ContentKind]string{record.Prompt: "prompt", record.Answer: "answer", record.Thought: "thought", record.ToolCall: "tool"}
)

func viewTurn(t *record.Turn) Turn {
	v := Turn{
		ID: t.ID, Start: t.Start.UTC(), End: t.End.UTC(), Client: t.Client, Session: t.Session, UserAgent: t.UserAgent,
		Pool: t.Pool, Provider: t.Provider, Dialect: t.Dialect, Method: t.Method, Path: t.Path, Asked: t.Asked, Answered: t.Answered, Stream: t.Stream,
		Status: t.Status, ErrorClass: t.ErrorClass, Ending: endings[t.Ending],
		FirstByte: t.FirstByte.Seconds(), Duration: t.End.Sub(t.Start).Seconds(), Overhead: t.Overhead.Seconds(), BytesIn: t.BytesIn, BytesOut: t.BytesOut,
		TraceID: t.TraceID, SpanID: t.SpanID, Key: t.Key, Turns: t.Turns, Cut: t.Cut, Usage: viewUsage(t.Usage), Attempts: []Attempt{},
	}
	for _, a := range t.Attempts {
		one := Attempt{
			Number: a.Number, Turn: a.Turn, Pool: a.Pool, Key: a.Key, Hint: a.Hint, Start: a.Start.Seconds(), Duration: a.Duration.Seconds(),
			Status: a.Status, Class: a.Class, Outcome: a.Outcome, Wait: a.Wait.Seconds(), Model: a.Model,
		}
		if a.Usage != (record.Usage{}) {
			u := viewUsage(a.Usage)
			one.Usage = &u
		}
		v.Attempts = append(v.Attempts, one)
	}
	for _, c := range t.Calls {
		v.Calls = append(v.Calls, Call{ID: c.ID, Server: c.Server, Tool: c.Tool, Turn: c.Turn, Start: c.Start.Seconds(), Duration: c.Duration.Seconds(), Outcome: c.Outcome})
	}
	if t.Halves&record.NoFront != 0 {
		v.Missing = append(v.Missing, "request")
	}
	if t.Halves&record.NoAttempt != 0 {
		v.Missing = append(v.Missing, "attempt")
	}
	if t.Usage.Input+t.Usage.Output > 0 {
		v.Price = &Price{USD: dollars(t.Price.Nano), Priced: t.Price.Priced, Table: t.Price.Table}
	}
	return v
}

func viewUsage(u record.Usage) Usage {
	return Usage{Input: u.Input, CacheRead: u.CacheRead, CacheWrite: u.CacheWrite, Output: u.Output, Reasoning: u.Reasoning, State: usages[u.State]}
}

func viewSpend(r *record.SpendRow) Spend {
	return Spend{At: r.At, By: r.By, Turns: r.Turns, Failed: r.Failed, Usage: viewUsage(r.Usage), USD: dollars(r.Nano), Unpriced: r.Unpriced}
}

// dollars writes billionths of a dollar in dollars, exactly.
func dollars(nano int64) string {
	sign := ""
	if nano < 0 {
		sign, nano = "-", -nano
	}
	const unit = 1_000_000_000
	part := strconv.FormatInt(nano%unit+unit, 10)[1:]
	return sign + strconv.FormatInt(nano/unit, 10) + strings.TrimSuffix("."+strings.TrimRight(part, "0"), ".")
}
