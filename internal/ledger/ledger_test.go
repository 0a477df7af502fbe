package ledger

import (
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/coder/quartz"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	aiv3 "github.com/envoyproxy/go-control-plane/envoy/data/ai/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/keyturn/keyturn/internal/record"
	"github.com/keyturn/keyturn/internal/wire"
)

// written are the records that a ledger made.
type written struct {
	mu    sync.Mutex
	turns []*record.Turn
}

func (w *written) Write(t *record.Turn, _ []record.Content) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.turns = append(w.turns, t)
}

func (w *written) made() []*record.Turn {
	w.mu.Lock()
	defer w.mu.Unlock()
	turns := w.turns
	w.turns = nil
	return turns
}

// desk is a ledger with a clock of its own.
type desk struct {
	*Ledger
	*written
	clock *quartz.Mock
	t     *testing.T
}

var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func newDesk(t *testing.T) *desk {
	t.Helper()
	clock := quartz.NewMock(t)
	clock.Set(noon)
	d := &desk{written: &written{}, clock: clock, t: t}
	var err error
	d.Ledger, err = New(Config{Write: d.written, Clock: clock})
	require.NoError(t, err)
	t.Cleanup(d.Close)
	return d
}

// pass lets time pass, second by second, as the sweeper does.
func (d *desk) pass(by time.Duration) {
	for ; by > 0; by -= sweepTime {
		d.clock.Advance(min(by, sweepTime)).MustWait(d.t.Context())
	}
	d.Ledger.sweepNow()
}

// tell sends entries of one log, as a stream does.
func (d *desk) tell(log string, entries ...*accesslogv3.HTTPAccessLogEntry) {
	d.t.Helper()
	m := &alsv3.StreamAccessLogsMessage{
		Identifier: &alsv3.StreamAccessLogsMessage_Identifier{LogName: log, Node: &corev3.Node{Id: "envoy"}},
		LogEntries: &alsv3.StreamAccessLogsMessage_HttpLogs{HttpLogs: &alsv3.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: entries}},
	}
	b, err := proto.Marshal(m)
	require.NoError(d.t, err)
	name := ""
	require.True(d.t, d.message(b, &name))
}

const id1 = "11111111-1111-4111-8111-111111111111"

func ms(n int) *durationpb.Duration { return durationpb.New(time.Duration(n) * time.Millisecond) }

// request is a front's entry of a request that took a second, with changes.
func requestEntry(id string, change func(*accesslogv3.HTTPAccessLogEntry)) *accesslogv3.HTTPAccessLogEntry {
	e := &accesslogv3.HTTPAccessLogEntry{
		CommonProperties: &accesslogv3.AccessLogCommon{
			StartTime: timestamppb.New(noon), TimeToLastRxByte: ms(10), TimeToFirstDownstreamTxByte: ms(130), TimeToLastDownstreamTxByte: ms(1000), Duration: ms(1000),
			UpstreamCluster: "keyturn-inner", UpstreamRequestAttemptCount: 1,
			Metadata: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"keyturn": noted(map[string]any{"pool": "openai", "key": "k1...ey", "key_name": "openai-1", "client": "alice"})}},
		},
		Request: &accesslogv3.HTTPRequestProperties{
			RequestMethod: corev3.RequestMethod_POST, Path: "/v1/responses?key=secret", OriginalPath: "/openai/v1/responses?key=secret", UserAgent: "codex/1", RequestBodyBytes: 100,
			RequestHeaders: map[string]string{
				"x-keyturn-id": id, "session_id": "sess-1", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
			},
		},
		Response: &accesslogv3.HTTPResponseProperties{
			ResponseCode: wrapperspb.UInt32(200), ResponseCodeDetails: "via_upstream", ResponseBodyBytes: 2000, ResponseHeaders: map[string]string{"content-type": "text/event-stream"},
		},
	}
	if change != nil {
		change(e)
	}
	return e
}

func noted(fields map[string]any) *structpb.Struct {
	s, err := structpb.NewStruct(fields)
	if err != nil {
		panic(err)
	}
	return s
}

// attemptEntry is an entry of a good attempt, with fields of the metadata beside the usual.
func attemptEntry(id string, fields map[string]any, change func(*accesslogv3.HTTPAccessLogEntry)) *accesslogv3.HTTPAccessLogEntry {
	all := map[string]any{"id": id, "pool": "openai", "provider": "openai", "kind": "centralized", "key": "k1...ey", "key_name": "openai-1", "attempt": 1, "request_id": "r"}
	maps.Copy(all, fields)
	e := &accesslogv3.HTTPAccessLogEntry{
		CommonProperties: &accesslogv3.AccessLogCommon{
			StartTime: timestamppb.New(noon.Add(12 * time.Millisecond)), TimeToFirstUpstreamTxByte: ms(8), TimeToFirstUpstreamRxByte: ms(108), TimeToLastUpstreamRxByte: ms(980),
			Duration: ms(985), Metadata: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"keyturn": noted(all)}},
		},
		Request:  &accesslogv3.HTTPRequestProperties{RequestMethod: corev3.RequestMethod_POST, Path: "/v1/responses"},
		Response: &accesslogv3.HTTPResponseProperties{ResponseCode: wrapperspb.UInt32(200), ResponseCodeDetails: "via_upstream"},
	}
	if change != nil {
		change(e)
	}
	return e
}

// spent adds the usage that Envoy has read.
func spent(u *aiv3.TokenUsage) func(*accesslogv3.HTTPAccessLogEntry) {
	return func(e *accesslogv3.HTTPAccessLogEntry) {
		a, err := anypb.New(u)
		if err != nil {
			panic(err)
		}
		e.CommonProperties.Metadata.TypedFilterMetadata = map[string]*anypb.Any{usageName: a}
	}
}

func tokens(in, out uint64) *aiv3.TokenUsage {
	return &aiv3.TokenUsage{Model: "gpt-x-2026", InputTokens: wrapperspb.UInt64(in), OutputTokens: wrapperspb.UInt64(out), ExtractionStatus: aiv3.TokenUsage_COMPLETE}
}

func TestWholeRecord(t *testing.T) {
	d := newDesk(t)
	usage := tokens(10, 7)
	usage.InputTokenDetails = &aiv3.InputTokenDetails{CachedTokens: wrapperspb.UInt64(4), CacheCreationTokens: wrapperspb.UInt64(2)}
	usage.OutputTokenDetails = &aiv3.OutputTokenDetails{ReasoningTokens: wrapperspb.UInt64(3)}
	parts := []func(){
		func() {
			d.tell(wire.RequestLog, requestEntry(id1, func(e *accesslogv3.HTTPAccessLogEntry) { e.CommonProperties.UpstreamRequestAttemptCount = 2 }))
		},
		func() {
			d.tell(wire.AttemptLog, attemptEntry(id1, map[string]any{"outcome": "turned", "class": "rate_limit", "wait": 60, "model": "gpt-x", "key_name": "openai-0", "key": "k0...ey"}, func(e *accesslogv3.HTTPAccessLogEntry) {
				e.Response.ResponseCode = wrapperspb.UInt32(429)
				c := e.CommonProperties
				c.StartTime, c.TimeToFirstUpstreamTxByte, c.TimeToFirstUpstreamRxByte, c.TimeToLastUpstreamRxByte, c.Duration = timestamppb.New(noon.Add(2*time.Millisecond)), ms(1), ms(7), ms(8), ms(9)
			}))
		},
		func() {
			d.tell(wire.AttemptLog, attemptEntry(id1, map[string]any{"attempt": 2, "model": "gpt-x"}, spent(usage)))
		},
	}
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		d.join = newJoin(d.clock) // each time the same request
		for i, n := range order {
			require.Empty(t, d.made(), "after %d parts of %v", i, order)
			parts[n]()
		}
		turns := d.made()
		require.Len(t, turns, 1)
		require.Equal(t, &record.Turn{
			ID: id1, Start: noon, End: noon.Add(time.Second), Client: "alice", Session: "sess-1", UserAgent: "codex/1",
			Pool: "openai", Provider: "openai", Dialect: "responses", Method: "POST", Path: "/openai/v1/responses", Asked: "gpt-x", Answered: "gpt-x-2026", Stream: true,
			Status: 200, FirstByte: 130 * time.Millisecond,
			// 10 ms until 20 ms, and 120 ms until 130 ms: what is neither the client's sending nor a provider's.
			Overhead: 20 * time.Millisecond,
			BytesIn:  100, BytesOut: 2000, TraceID: "0af7651916cd43dd8448eb211c80319c", SpanID: "b7ad6b7169203331", Key: "openai-1", Turns: 1,
			Attempts: []record.Attempt{
				{Number: 1, Turn: 1, Pool: "openai", Key: "openai-0", Hint: "k0...ey", Start: 2 * time.Millisecond, Duration: 9 * time.Millisecond, Status: 429, Class: "rate_limit", Outcome: "turned", Wait: time.Minute},
				{
					Number: 2, Turn: 1, Pool: "openai", Key: "openai-1", Hint: "k1...ey", Start: 12 * time.Millisecond, Duration: 985 * time.Millisecond, Status: 200, Outcome: "ok", Model: "gpt-x-2026",
					Usage: record.Usage{Input: 10, CacheRead: 4, CacheWrite: 2, Output: 7, Reasoning: 3, State: record.Complete},
				},
			},
			Usage: record.Usage{Input: 10, CacheRead: 4, CacheWrite: 2, Output: 7, Reasoning: 3, State: record.Complete},
		}, turns[0], "%v", order)
		require.Zero(t, d.waiting())
		require.Zero(t, d.join.bytes)
	}
}

func TestHalves(t *testing.T) {
	t.Run("no attempt", func(t *testing.T) {
		d := newDesk(t)
		d.tell(wire.RequestLog, requestEntry(id1, nil))
		d.pass(restTime - time.Second)
		require.Empty(t, d.made())
		d.pass(2 * time.Second)
		turns := d.made()
		require.Len(t, turns, 1)
		require.Equal(t, record.NoAttempt, turns[0].Halves)
		require.Equal(t, "openai", turns[0].Pool)
		require.Equal(t, "openai-1", turns[0].Key)
		require.Equal(t, record.Whole, turns[0].Ending)

		d.tell(wire.AttemptLog, attemptEntry(id1, nil, nil)) // too late
		d.pass(2 * lastTime)
		require.Empty(t, d.made(), "no second record")
		require.EqualValues(t, 1, d.metrics.entries[0][late].Load())
	})
	t.Run("no front", func(t *testing.T) {
		d := newDesk(t)
		d.tell(wire.AttemptLog, attemptEntry(id1, map[string]any{"client": "bob", "model": "m"}, spent(tokens(1, 2))))
		d.pass(lastTime - time.Second)
		require.Empty(t, d.made())
		d.pass(2 * time.Second)
		turns := d.made()
		require.Len(t, turns, 1)
		require.Equal(t, record.NoFront, turns[0].Halves)
		require.Equal(t, "bob", turns[0].Client)
		require.Equal(t, 200, turns[0].Status)
		require.Equal(t, record.Partial, turns[0].Usage.State)
		require.EqualValues(t, 2, turns[0].Usage.Output)
		require.EqualValues(t, 1, d.metrics.noFront.Load())
	})
	t.Run("the next attempt streams for long", func(t *testing.T) {
		d := newDesk(t)
		d.tell(wire.AttemptLog, attemptEntry(id1, map[string]any{"outcome": "turned"}, nil))
		d.pass(40 * time.Minute)
		require.Empty(t, d.made())
		d.tell(wire.AttemptLog, attemptEntry(id1, map[string]any{"attempt": 2}, nil))
		d.tell(wire.RequestLog, requestEntry(id1, func(e *accesslogv3.HTTPAccessLogEntry) { e.CommonProperties.UpstreamRequestAttemptCount = 2 }))
		turns := d.made()
		require.Len(t, turns, 1)
		require.Zero(t, turns[0].Halves)
	})
	t.Run("the end of the process", func(t *testing.T) {
		d := newDesk(t)
		d.tell(wire.AttemptLog, attemptEntry(id1, nil, nil))
		d.Close()
		require.Len(t, d.made(), 1)
		d.tell(wire.AttemptLog, attemptEntry("x", nil, nil))
		d.Close()
		require.Empty(t, d.made())
	})
}

// TestLaterTurns holds that the requests of later turns belong to their client's record, whatever comes first.
func TestLaterTurns(t *testing.T) {
	d := newDesk(t)
	calls, _ := wire.Calls([]wire.Call{{ID: "call_1", Server: "demo", Tool: "weather", Turn: 1, Start: 30 * time.Millisecond, Duration: 50 * time.Millisecond, Outcome: "ok"}}, 1000)
	d.tell(wire.RequestLog, requestEntry(id1, nil))
	d.tell(wire.AttemptLog, attemptEntry(id1, map[string]any{"sent": 1, "turns": 2, "calls": calls, "cut": 3}, spent(tokens(10, 5))))
	d.tell(wire.AttemptLog, attemptEntry(id1, map[string]any{"turn": "2", "attempt": 1, "outcome": "turned", "class": "rate_limit"}, func(e *accesslogv3.HTTPAccessLogEntry) {
		e.Response.ResponseCode = wrapperspb.UInt32(429)
		e.CommonProperties.StartTime = timestamppb.New(noon.Add(100 * time.Millisecond))
	}))
	require.Empty(t, d.made())
	d.tell(wire.AttemptLog, attemptEntry(id1, map[string]any{"turn": "2", "attempt": 2, "key_name": "openai-2"}, func(e *accesslogv3.HTTPAccessLogEntry) {
		spent(tokens(20, 8))(e)
		e.CommonProperties.StartTime = timestamppb.New(noon.Add(200 * time.Millisecond))
	}))
	turns := d.made()
	require.Len(t, turns, 1)
	got := turns[0]
	require.Equal(t, record.Usage{Input: 30, Output: 13, State: record.Complete}, got.Usage)
	require.Equal(t, 2, got.Turns)
	require.Equal(t, 3, got.Cut)
	require.Equal(t, []record.Call{{ID: "call_1", Server: "demo", Tool: "weather", Turn: 1, Start: 30 * time.Millisecond, Duration: 50 * time.Millisecond, Outcome: "ok"}}, got.Calls)
	require.Equal(t, "openai-2", got.Key)
	require.Len(t, got.Attempts, 3)
	require.Equal(t, []int{1, 2, 2}, []int{got.Attempts[0].Turn, got.Attempts[1].Turn, got.Attempts[2].Turn})
}

// TestEndings is how responses end, and what a record calls it.
func TestEndings(t *testing.T) {
	common := func(change func(*accesslogv3.AccessLogCommon)) func(*accesslogv3.HTTPAccessLogEntry) {
		return func(e *accesslogv3.HTTPAccessLogEntry) { change(e.CommonProperties) }
	}
	flags := func(f *accesslogv3.ResponseFlags) func(*accesslogv3.HTTPAccessLogEntry) {
		return common(func(c *accesslogv3.AccessLogCommon) { c.ResponseFlags = f })
	}
	answered := func(status uint32, details, code string) func(*accesslogv3.HTTPAccessLogEntry) {
		return func(e *accesslogv3.HTTPAccessLogEntry) {
			e.Response = &accesslogv3.HTTPResponseProperties{ResponseCode: wrapperspb.UInt32(status), ResponseCodeDetails: details, ResponseHeaders: map[string]string{"x-keyturn-error": code}}
		}
	}
	unreached := func(then func(*accesslogv3.HTTPAccessLogEntry)) func(*accesslogv3.HTTPAccessLogEntry) {
		return func(e *accesslogv3.HTTPAccessLogEntry) {
			e.CommonProperties.TimeToFirstUpstreamRxByte, e.CommonProperties.TimeToLastUpstreamRxByte = nil, nil
			then(e)
		}
	}
	for _, tc := range []struct {
		name           string
		front, attempt func(*accesslogv3.HTTPAccessLogEntry)
		noted          map[string]any
		ending         record.Ending
		class          string
		state          record.UsageState
		outcome        string
		status         int
	}{
		{"whole", nil, spent(tokens(1, 1)), nil, record.Whole, "", record.Complete, "ok", 200},
		{"cancelled", flags(&accesslogv3.ResponseFlags{DownstreamConnectionTermination: true}), func(e *accesslogv3.HTTPAccessLogEntry) {
			spent(tokens(1, 1))(e)
			e.CommonProperties.ResponseFlags = &accesslogv3.ResponseFlags{DownstreamConnectionTermination: true}
		}, nil, record.Cancelled, "", record.Partial, "ok", 200},
		{"closed by the client as soon as it had all", flags(&accesslogv3.ResponseFlags{DownstreamConnectionTermination: true}), spent(tokens(1, 1)), nil, record.Whole, "", record.Complete, "ok", 200},
		{"cancelled before an answer", func(e *accesslogv3.HTTPAccessLogEntry) { e.Response = nil }, answered(0, "", ""), nil, record.Cancelled, "", record.Unknown, "no_response", 0},
		{"cut", flags(&accesslogv3.ResponseFlags{UpstreamConnectionTermination: true}), func(e *accesslogv3.HTTPAccessLogEntry) {
			spent(tokens(9, 1))(e)
			e.CommonProperties.ResponseFlags = &accesslogv3.ResponseFlags{UpstreamConnectionTermination: true}
		}, nil, record.Broken, "provider_reset", record.Partial, "ok", 200},
		{"a later turn failed", nil, spent(tokens(9, 1)), map[string]any{"ending": "rate_limit_exceeded"}, record.Broken, "rate_limit_exceeded", record.Partial, "ok", 200},
		{"the client's fault", answered(400, "via_upstream", ""), answered(400, "via_upstream", ""), nil, record.Whole, "http_400", record.Unknown, "surfaced", 400},
		{"the key's", answered(502, "via_upstream", "auth_failed"), answered(502, "keyturn_auth_failed", "auth_failed"), map[string]any{"status": 401, "class": "credential", "outcome": "exhausted", "exhausted": "auth_failed"}, record.Whole, "credential", record.Unknown, "exhausted", 401},
		{"no key left", answered(429, "via_upstream", "rate_limited"), unreached(answered(429, "keyturn_rate_limited", "rate_limited")), map[string]any{"outcome": "exhausted", "exhausted": "rate_limited"}, record.Refused, "rate_limited", record.Unknown, "exhausted", 0},
		{"provider gone", answered(503, "via_upstream", "provider_unreachable"), unreached(answered(503, "keyturn_provider_unreachable", "provider_unreachable")), map[string]any{"outcome": "unreachable"}, record.Refused, "provider_unreachable", record.Unknown, "unreachable", 0},
		{"the client's own key", nil, spent(tokens(1, 1)), map[string]any{"kind": "byok"}, record.Whole, "", record.Complete, "foreign", 200},
		{"nobody read it", nil, nil, nil, record.Whole, "", record.Unknown, "ok", 200},
		{"an older Envoy", nil, nil, map[string]any{"llm_input_token": 30, "llm_output_token": 4, "llm_cached_input_token": 7}, record.Whole, "", record.Complete, "ok", 200},
		{"stale", nil, spent(&aiv3.TokenUsage{InputTokens: wrapperspb.UInt64(3), ExtractionStatus: aiv3.TokenUsage_PARTIAL}), nil, record.Whole, "", record.Partial, "ok", 200},
		{"unreadable", nil, spent(&aiv3.TokenUsage{Model: "m", ExtractionStatus: aiv3.TokenUsage_FAILED}), nil, record.Whole, "", record.Unknown, "ok", 200},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := newDesk(t)
			d.tell(wire.AttemptLog, attemptEntry(id1, tc.noted, tc.attempt))
			d.tell(wire.RequestLog, requestEntry(id1, tc.front))
			d.pass(restTime + time.Second)
			turns := d.made()
			require.Len(t, turns, 1)
			got := turns[0]
			require.Equal(t, tc.ending, got.Ending)
			require.Equal(t, tc.class, got.ErrorClass)
			require.Equal(t, tc.state, got.Usage.State)
			require.Equal(t, tc.outcome, got.Attempts[0].Outcome)
			require.Equal(t, tc.status, got.Attempts[0].Status)
			require.Zero(t, got.Halves)
		})
	}
}

// TestRefusedAtTheFront holds that a request which Envoy itself refused is recorded under an id of its own, whatever id it names, and that no
// flood of them drives out the others.
func TestRefusedAtTheFront(t *testing.T) {
	d := newDesk(t)
	d.tell(wire.AttemptLog, attemptEntry(id1, nil, nil)) // another's, under way
	stranger := requestEntry(id1, func(e *accesslogv3.HTTPAccessLogEntry) {
		e.CommonProperties.UpstreamRequestAttemptCount, e.CommonProperties.Metadata = 0, nil
		e.Response.ResponseCode, e.Response.ResponseHeaders = wrapperspb.UInt32(401), map[string]string{"x-keyturn-error": "invalid_client_key"}
	})
	d.tell(wire.RequestLog, stranger)
	turns := d.made()
	require.Len(t, turns, 1)
	require.NotEqual(t, id1, turns[0].ID)
	require.Equal(t, record.Refused, turns[0].Ending)
	require.Equal(t, "invalid_client_key", turns[0].ErrorClass)
	require.Zero(t, turns[0].Halves)
	for range 1000 {
		d.tell(wire.RequestLog, stranger)
	}
	require.Len(t, d.made(), refusedPerMinute-1)
	d.pass(time.Minute)
	d.tell(wire.RequestLog, stranger)
	require.Len(t, d.made(), 1)
	require.EqualValues(t, 1, d.waiting(), "the other's is still there")
}

// TestHostileNumbers holds that what is told has bounds: number, size and order.
func TestHostileNumbers(t *testing.T) {
	d := newDesk(t)
	for i := range maxRequests + 100 {
		d.take(&part{id: string(rune(i)), start: noon})
	}
	require.LessOrEqual(t, d.waiting(), int64(maxRequests))
	require.Len(t, d.made(), 100, "the oldest are recorded as they are")

	d.join = newJoin(d.clock)
	for range 10_000 {
		d.take(&part{id: "a", start: noon})
	}
	require.Len(t, d.join.byID["a"].attempts, maxAttempts)
	d.Close()
	turns := d.made()
	require.Len(t, turns, 1)
	require.Len(t, turns[0].Attempts, maxAttempts)
	require.Equal(t, 10_000-maxAttempts, turns[0].Cut)
}

// TestProbesAreNoRequests holds that what Envoy answers by itself, such as a health probe, is not recorded.
func TestProbesAreNoRequests(t *testing.T) {
	d := newDesk(t)
	for range 3 {
		d.tell(wire.RequestLog, requestEntry("", func(e *accesslogv3.HTTPAccessLogEntry) {
			e.CommonProperties.UpstreamRequestAttemptCount, e.CommonProperties.Metadata = 0, nil
			e.Response.ResponseCodeDetails = "direct_response"
		}))
	}
	d.pass(time.Hour)
	require.Empty(t, d.made())
}
