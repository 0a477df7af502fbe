// Package record keeps what was asked of the pools: a Turn for every request of a client, with its attempts, later turns, tool calls, tokens and
// price. Envoy tells of a request when it is over, so nothing here stands in a request's way. There are no prompts, arguments or results in a Turn;
// where an operator asks for them they are Content, and kept apart.
package record

import (
	"context"
	"errors"
	"time"
)

// Turn is one request of a client and all that was done for it.
type Turn struct {
	ID    string    // Envoy's id of the request, unique
	Start time.Time // when the front got the request's first byte, UTC
	End   time.Time // when the last byte of the response had left, or the client had

	Client    string // the client's name by envoy.clients, else a fingerprint of its credential; "" when it sent none
	Session   string // what the client's agent calls its conversation; "" when it says nothing
	UserAgent string // as sent, at most 256 bytes

	Pool     string
	Provider string // the row of internal/provider
	Dialect  string // "responses", "chat", "messages"; "" for requests of none
	Method   string
	Path     string // without its query, at most 256 bytes
	Asked    string // the model that the client asked for; "" when nobody read it
	Answered string // the model that answered; "" when the answer did not say
	Stream   bool
	Tier     string // the service tier that the provider says it used, such as "priority"; "" of the usual one or when it said nothing

	Status     int    // of the response that the client got; 0 when it left before
	ErrorClass string // "" when all is well; else keypool's class, or what Envoy or the agent call it
	Ending     Ending // how the response ended

	FirstByte time.Duration // from Start to the first byte of the response; 0 when there was none
	Overhead  time.Duration // Keyturn's own part of it: neither the provider's, the tools' nor waiting for a key
	BytesIn   int64         // of the request's body
	BytesOut  int64         // of the response's body
	TraceID   string        // of the client's traceparent, 32 hex digits; "" when it sent none
	SpanID    string        // of the client's traceparent, 16 hex digits
	Unsampled bool          // the client's traceparent says that nobody keeps the trace; not kept by stores

	Key      string // the name of the key that served; "" when none did
	Attempts []Attempt
	Calls    []Call
	Turns    int    // requests to the provider that succeeded: 1 without tools
	Cut      int    // entries of attempts and calls that did not fit into the log
	Halves   Halves // which of its log entries never came

	Usage Usage
	Price Price
}

// Ending is how a response ended.
type Ending uint8

// How a response ends.
const (
	Whole     Ending = iota // to its last byte
	Cancelled               // the client left
	Broken                  // the provider or a later turn broke off, or time ran out
	Refused                 // it never reached a provider
)

// Attempt is one request to a provider with one key: one of the client's own request, or of a later turn.
type Attempt struct {
	Number   int // from 1, within its turn
	Turn     int // 1 for the client's own request
	Pool     string
	Key      string        // the key's name
	Hint     string        // its masked value
	Start    time.Duration // since the turn record's Start
	Duration time.Duration
	Status   int           // the provider's; 0 when none came
	Class    string        // keypool's class of a failure; "" of a success
	Outcome  string        // the label of keyturn_attempts_total
	Wait     time.Duration // what the key was told to rest; 0 for nothing
	Model    string        // that answered
	Usage    Usage
}

// Call is one tool call that a model made.
type Call struct {
	ID       string
	Server   string // "" for a tool of the client's
	Tool     string
	Turn     int
	Start    time.Duration // since the turn record's Start
	Duration time.Duration
	Outcome  string // the label of keyturn_tool_calls_total; "client" where the client runs it
}

// Usage are the tokens of an answer, or of all answers of a Turn together.
type Usage struct {
	Input      int64 // all that the model read, cached tokens among them
	CacheRead  int64 // part of Input
	CacheWrite int64 // part of Input
	Output     int64 // all that the model wrote, reasoning among it
	Reasoning  int64 // part of Output
	State      UsageState
}

// UsageState says how much of a Usage is known.
type UsageState uint8

// What is known of a usage.
const (
	Unknown  UsageState = iota // the answer said nothing, or nobody read it
	Partial                    // the answer was cut: what had been said until then
	Complete                   // as the provider counts it
)

// Price is what a Turn cost.
type Price struct {
	Nano   int64  // billionths of a US dollar
	Priced bool   // false: there are tokens, or may be, for which no price is known, and Nano holds only what is
	Table  string // the version of the price table: a date, or "own" for prices of the operator's own, with their date where they have one

	Unpriced int64 // tokens for which no price is known
}

// Halves says which of a Turn's log entries never came within the time that they are waited for.
type Halves uint8

// What can be missing.
const (
	NoFront   Halves = 1 << iota // the client's side: times, status and client are of the attempts
	NoAttempt                    // the provider's side
)

// ContentKind is what a piece of content is.
type ContentKind uint8

// The kinds of content.
const (
	Prompt   ContentKind = iota // what is new in the request
	Answer                      // what the model said
	Thought                     // reasoning that the provider shows
	ToolCall                    // a call's arguments and result
)

// Content is what a Turn said, for pools that ask for it.
type Content struct {
	ID   string // of the Turn
	Kind ContentKind
	Turn int
	Call string // the id of the Call, for ToolCall
	Text string // at most 64 KiB
	Cut  bool   // there was more
	At   time.Time
}

// Query selects turns. Zero fields select all.
type Query struct {
	From, Until time.Time // of Turn.Start: From <= Start < Until

	Client, Session, Pool, Key, Model string // exactly; Model is the one asked for or the one that answered
	Status                            int    // exactly, or 1 to 5 for a hundred of them
	ErrorClass                        string
	Failed                            bool // those with an ErrorClass
	WithTools                         bool // those with a Call

	After string // a Page's Next: what comes after it, older
	Limit int    // at most 1,000; 0: 50
}

// Page is the newest of the turns that a Query selects, newest first.
type Page struct {
	Turns []Turn
	Next  string // Query.After for the page that follows; "" when there is none
}

// Span is how much time a row of spend stands for.
type Span string

// The spans of spend, all in UTC.
const (
	Hour  Span = "hour"
	Day   Span = "day"
	Month Span = "month"
)

// SpendQuery asks what was spent.
type SpendQuery struct {
	From, Until time.Time // whole hours; zero: all that is kept
	By          []string  // "client", "pool", "key", "model", "session"; empty: a sum
	Every       Span      // "": a row for all the time
}

// SpendRow is what was spent by one of what SpendQuery.By names, within one span.
type SpendRow struct {
	At    time.Time         // the span's beginning; zero when SpendQuery.Every is ""
	By    map[string]string // a value for each of SpendQuery.By
	Turns int64
	// Failed are those of Turns that have an ErrorClass.
	Failed int64
	Usage  Usage
	Nano   int64 // billionths of a US dollar
	// Unpriced are tokens for which no price is known.
	Unpriced int64
}

// Reader answers questions about what was recorded.
type Reader interface {
	// Turns returns a page of those that q selects.
	Turns(ctx context.Context, q Query) (Page, error)
	// Turn returns one; ErrNotFound where nobody has it (any more).
	Turn(ctx context.Context, id string) (Turn, error)
	// Content returns what was said in a turn, in order; none where it was not recorded.
	Content(ctx context.Context, id string) ([]Content, error)
	// Spend sums up.
	Spend(ctx context.Context, q SpendQuery) ([]SpendRow, error)
}

// Writer takes what is to be recorded. It never blocks and never fails: what is lost is counted.
type Writer interface {
	// Write takes a turn, and what it said where that is to be kept. They are the writer's from then on.
	Write(t *Turn, said []Content)
}

// Writers hand on what they take to each of them.
type Writers []Writer

// Write implements Writer. None of them changes what it takes.
func (w Writers) Write(t *Turn, said []Content) {
	for _, one := range w {
		one.Write(t, said)
	}
}

// ErrNotFound is what Reader.Turn returns for a turn that nobody has.
var ErrNotFound = errors.New("no such turn")
