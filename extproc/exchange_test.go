package extproc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/coder/quartz"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/keypool"
	"github.com/keyturn/keyturn/mcp"
)

// transcript plays Envoy's part against exchanges, and the server's: what an attempt leaves, the next one of the request finds.
type transcript struct {
	t       *testing.T
	clock   *quartz.Mock
	keys    *keypool.Pool
	pools   *poolSet
	x       *exchange
	trails  *trails
	pool    string // the name of the pool
	front   frontHeaders
	offered []dialect.Tool // the pool's
	memory  *memories
	failure *dialect.Failure // of the first turn of the last response
}

// frontHeaders is what the front says of the request that the transcript is at.
type frontHeaders struct {
	requests int // so far
	attempt  int
	start    string
}

// TestTranscripts runs testdata/exchanges: what Envoy sends, and what it is answered. -rewrite writes what is answered now.
func TestTranscripts(t *testing.T) {
	files := 0
	datadriven.Walk(t, "testdata/exchanges", func(t *testing.T, path string) {
		files++
		tr := &transcript{t: t, clock: quartz.NewMock(t)}
		tr.clock.Set(time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC))
		tr.trails = newTrails(tr.clock)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			tr.t = t
			return tr.run(d)
		})
	})
	require.NotZero(t, files)
}

func (tr *transcript) run(d *datadriven.TestData) string {
	switch d.Cmd {
	case "pool":
		return tr.makePool(d)
	case "request":
		return tr.request(d)
	case "response":
		return tr.response(d)
	case "response-body": // with size as many bytes
		body, size := d.Input, 0
		if d.MaybeScanArgs(tr.t, "size", &size); size > 0 {
			body += strings.Repeat(" ", size-len(body))
		}
		m := &extprocv3.HttpBody{Body: []byte(body), EndOfStream: !d.HasArg("more")}
		return tr.send(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: m}})
	case "request-body":
		m := &extprocv3.HttpBody{Body: []byte(d.Input), EndOfStream: !d.HasArg("more")}
		return tr.send(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: m}})
	case "request-trailers":
		return tr.send(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestTrailers{RequestTrailers: &extprocv3.HttpTrailers{}}})
	case "response-trailers":
		return tr.send(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseTrailers{ResponseTrailers: &extprocv3.HttpTrailers{}}})
	case "unknown":
		return tr.send(&extprocv3.ProcessingRequest{FlowControlInit: &extprocv3.ProcessingRequest_FlowControlInit{}})
	case "stream": // each line is the data of an event
		var b strings.Builder
		for line := range strings.Lines(d.Input) {
			fmt.Fprintf(&b, "data: %s\n\n", strings.TrimSuffix(line, "\n"))
		}
		m := &extprocv3.HttpBody{Body: []byte(b.String()), EndOfStream: d.HasArg("end")}
		return tr.send(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: m}})
	case "turn-fails": // a later turn's error, of a response that does not stream
		var status int
		d.ScanArgs(tr.t, "status", &status)
		tr.x.sendInstead(&agent.ErrorAnswer{Status: status, Header: http.Header{"Retry-After": {"3"}}, Body: []byte(d.Input)})
		return tr.answer()
	case "judge": // what is made of the first turn's failure, or of one by the key named
		key, name := tr.x.key, ""
		if d.MaybeScanArgs(tr.t, "key", &name); name != "" {
			key = tr.x.laterKey(name)
		}
		again, verdict, _ := tr.x.judge(key, tr.failure, tr.clock.Now())
		if key == nil {
			return fmt.Sprintf("again=%v", again)
		}
		return fmt.Sprintf("again=%v key=%s class=%v", again, key.Name(), verdict.Class)
	case "remember": // that a response was continued: what a client with this name knows by id is upstream's
		var client, id, upstream string
		d.ScanArgs(tr.t, "client", &client)
		d.ScanArgs(tr.t, "id", &id)
		d.ScanArgs(tr.t, "upstream", &upstream)
		tr.memory.pools[tr.pool].For(client).Put("responses/response/"+id, fmt.Appendf(nil, `{"id":%q}`, upstream))
		return ""
	case "advance":
		var by string
		d.ScanArgs(tr.t, "by", &by)
		dur, err := time.ParseDuration(by)
		require.NoError(tr.t, err)
		tr.clock.Advance(dur).MustWait(tr.t.Context())
		return "now " + tr.clock.Now().Format(time.TimeOnly)
	case "forget": // what attempts have left: the next one comes to another replica
		tr.trails = newTrails(tr.clock)
		return ""
	case "states":
		return fmt.Sprint(keyStates(tr.keys))
	}
	d.Fatalf(tr.t, "unknown command %q", d.Cmd)
	return ""
}

// makePool makes the pool "openai", or of the provider named, with cluster and name equal to it.
func (tr *transcript) makePool(d *datadriven.TestData) string {
	provider, header, scheme := "openai", "authorization", "Bearer"
	d.MaybeScanArgs(tr.t, "provider", &provider)
	if provider == "anthropic" {
		header, scheme = "x-api-key", ""
	}
	cfg := keypool.Defaults()
	cfg.Name = provider
	var keys []string
	for _, arg := range d.CmdArgs {
		switch arg.Key {
		case "keys":
			keys = arg.Vals
		case "rule": // rule=(status,code,action)
			action, err := keypool.ParseAction(arg.Vals[2])
			require.NoError(tr.t, err)
			r := keypool.Rule{Action: action, Code: strings.Trim(arg.Vals[1], "-")}
			_, err = fmt.Sscan(arg.Vals[0], &r.Status)
			require.NoError(tr.t, err)
			cfg.Policy.Rules = append(cfg.Policy.Rules, r)
		}
	}
	for _, k := range keys {
		secret, group, _ := strings.Cut(k, "@")
		cfg.Keys = append(cfg.Keys, keypool.KeyConfig{Secret: secret, Group: group})
	}
	var err error
	if tr.keys = nil; !d.HasArg("keyless") {
		tr.keys, err = keypool.NewPool(cfg, tr.clock)
		require.NoError(tr.t, err)
	}
	p := Pool{Name: provider, Keys: tr.keys, Provider: provider, AnthropicErrors: provider == "anthropic", Cluster: provider, Header: header, Scheme: scheme, BYOK: d.HasArg("byok"), KeepRateLimitHeaders: d.HasArg("keep-limits"), WebSocket: d.HasArg("websocket")}
	d.MaybeScanArgs(tr.t, "authority", &p.Authority)
	if d.HasArg("byok") {
		p.Placeholders = []string{"dummy"}
	}
	tr.offered = nil
	for _, arg := range d.CmdArgs {
		if arg.Key != "tools" {
			continue
		}
		p.Tools = &Tools{Servers: []string{"demo"}, Hidden: d.HasArg("hidden")}
		for _, name := range arg.Vals {
			tr.offered = append(tr.offered, dialect.Tool{Name: mcp.ModelName("demo", name), Server: "demo", Tool: name, Schema: []byte(`{"type":"object"}`)})
		}
	}
	if tr.memory == nil {
		tr.memory = newMemories(tr.clock)
	}
	m, err := newMetrics(noop.NewMeterProvider(), func() *poolSet { return nil })
	require.NoError(tr.t, err)
	tr.pools, err = newPoolSet([]Pool{p}, m, tr.memory)
	require.NoError(tr.t, err)
	tr.memory.keep(tr.pools)
	tr.pool = provider
	if tr.keys == nil {
		return "no keys"
	}
	return fmt.Sprint(keyStates(tr.keys))
}

// request begins an attempt of a new request or, with "again", the next one of the same. What the front says of it can be given as
// arguments; "-" leaves a header out.
func (tr *transcript) request(d *datadriven.TestData) string {
	path, method := "/v1/responses", "POST"
	d.MaybeScanArgs(tr.t, "path", &path)
	d.MaybeScanArgs(tr.t, "method", &method)
	limit, retryLimit := Defaults().MaxBody, int64(defaultMaxRetry)
	d.MaybeScanArgs(tr.t, "limit", &limit) // the pool's, from here on
	tr.pools.all[0].maxBody = limit
	d.MaybeScanArgs(tr.t, "retry-limit", &retryLimit)
	if d.HasArg("again") {
		tr.front.attempt++
	} else {
		now := tr.clock.Now()
		tr.front = frontHeaders{requests: tr.front.requests + 1, attempt: 1, start: fmt.Sprintf("%d.%03d", now.Unix(), now.UnixMilli()%1000)}
	}
	says := []string{":path: " + path, ":method: " + method}
	var removed []string
	for _, h := range []struct{ name, arg, value string }{
		{wire.IDHeader, "id", fmt.Sprintf("request-%d", tr.front.requests)},
		{wire.StartHeader, "start", tr.front.start},
		{wire.PoolHeader, "pool", tr.pool},
		{wire.RetriesHeader, "retries", "17"},
		{wire.AttemptHeader, "attempt", fmt.Sprint(tr.front.attempt)},
		{wire.ClientHeader, "client", "-"},
		{wire.TurnHeader, "turn", "-"},
	} {
		for _, arg := range d.CmdArgs {
			if arg.Key == h.arg {
				h.value = strings.Join(arg.Vals, ",")
			}
		}
		if h.value != "-" {
			says = append(says, h.name+": "+h.value)
			removed = append(removed, h.name)
		}
	}
	if tr.x != nil {
		tr.x.finish()
	}
	tr.x = &exchange{}
	tr.x.begin(tr.pools, retryLimit)
	m := &extprocv3.HttpHeaders{Headers: headerMap(d.Input, says...), EndOfStream: d.HasArg("end")}
	out := tr.send(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: m}})
	if strings.HasPrefix(out, "immediate ") {
		return out
	}
	for _, name := range removed { // in every transcript, so no line of them says it
		require.Contains(tr.t, out, " "+name)
		out = strings.Replace(out, " "+name, "", 1)
	}
	return out
}

// response is the head of a provider's answer or, with details, of one that Envoy made itself.
func (tr *transcript) response(d *datadriven.TestData) string {
	status, details, flags := "200", viaUpstream, 0.0
	d.MaybeScanArgs(tr.t, "status", &status)
	for _, arg := range d.CmdArgs {
		switch arg.Key {
		case "details":
			details = strings.Join(arg.Vals, ",")
		case "flags":
			_, err := fmt.Sscan(arg.Vals[0], &flags)
			require.NoError(tr.t, err)
		}
	}
	m := &extprocv3.HttpHeaders{Headers: headerMap(d.Input, ":status: "+status), EndOfStream: d.HasArg("end")}
	r := &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: m}}
	if details != "-" {
		r.Attributes = map[string]*structpb.Struct{"envoy.filters.http.ext_proc": object(tr.t, map[string]any{"response.code_details": details, "response.flags": flags})}
	}
	return tr.send(r)
}

// headerMap reads lines "name: value".
func headerMap(input string, more ...string) *corev3.HeaderMap {
	m := &corev3.HeaderMap{}
	for line := range strings.Lines(strings.Join(more, "\n") + "\n" + input) {
		line = strings.TrimSuffix(line, "\n")
		if i := strings.Index(line[min(1, len(line)):], ":"); i >= 0 {
			m.Headers = append(m.Headers, pair(line[:i+1], strings.TrimSpace(line[i+2:])))
		}
	}
	return m
}

// send hands r to the exchange and renders what comes back. The message's memory is somebody else's then, as it is in the server,
// unless the exchange says that it reads on.
func (tr *transcript) send(r *extprocv3.ProcessingRequest) string {
	b, err := proto.Marshal(r)
	require.NoError(tr.t, err)
	m := &message{}
	require.NoError(tr.t, m.unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}))
	if m.kind == requestHeaders {
		tr.trails.follow(tr.x, m)
	}
	d, err := tr.x.handle(m, tr.clock.Now())
	if d == dueTools {
		tr.x.putTools(m, tr.offered, dialect.Without{})
		d = dueReply
	}
	tr.trails.leave(tr.x)
	if tr.x.awaiting != m {
		for i := range b {
			b[i] = 'X'
		}
	}
	if err != nil {
		return "error: " + err.Error()
	}
	var w strings.Builder
	switch d {
	case dueNothing:
		return "no reply"
	case dueReply:
		return tr.answer()
	case dueTools: // came to dueReply above
	case dueDeletes:
		w.WriteString("delete the other turns\n" + tr.answer())
	case duePiece:
		renderChunk(&w, tr.x.chunk)
	case dueLastPiece:
		renderChunk(&w, tr.x.chunk)
		tr.x.dyn.reset()
		tr.x.describeTurns(&tr.x.dyn)
		tr.x.out.chunk(nil, true, &tr.x.dyn)
		w.WriteString("end of stream\n" + tr.answer())
	case dueTurns:
		renderChunk(&w, tr.x.chunk)
		tr.goOn(&w)
	}
	return w.String()
}

// goOn renders what the first turn comes to: its calls, its failure, and the request of the next turn, which has no answer.
func (tr *transcript) goOn(w *strings.Builder) {
	a, err := agent.New(agent.Config{
		Clock: tr.clock, Loopback: nextTurn{w},
		Call: func(_ context.Context, server, tool string, arguments json.RawMessage) (*mcp.Result, error) {
			fmt.Fprintf(w, "call %s of %s: %s\n", tool, server, arguments)
			return &mcp.Result{}, nil
		},
	})
	require.NoError(tr.t, err)
	_, err = a.Finish(tr.t.Context(), tr.x.tools.response, firstFailed{tr, w}, nowhere{})
	require.NoError(tr.t, err)
}

// nextTurn is a loopback listener that writes down what a turn's request repeats.
type nextTurn struct{ w *strings.Builder }

func (n nextTurn) RoundTrip(r *http.Request) (*http.Response, error) {
	fmt.Fprintf(n.w, "next turn of %q to %s %s%s\n", r.Header.Get(wire.ClientHeader), r.Header.Get(wire.PoolHeader), r.Host, r.URL.RequestURI())
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		if lower := strings.ToLower(name); !strings.HasPrefix(lower, wire.HeaderPrefix) && lower != wire.RequestIDHeader && r.Header[name] != nil {
			fmt.Fprintf(n.w, "with %s: %s\n", name, strings.Join(r.Header[name], ", "))
		}
	}
	return nil, errors.New("nobody is there")
}

// firstFailed has the first turn run again, and keeps its failure.
type firstFailed struct {
	tr *transcript
	w  *strings.Builder
}

func (k firstFailed) FirstFailed(f *dialect.Failure) bool {
	k.tr.failure = f
	fmt.Fprintf(k.w, "failure %d %s\n", f.Status, f.Code)
	return true
}
func (k firstFailed) LaterFailed(string, *dialect.Failure) bool { return false }

// nowhere is a client that nobody looks at.
type nowhere struct{}

func (nowhere) Emit([]byte) error { return nil }

// answer renders what stands in the exchange's reply.
func (tr *transcript) answer() string {
	slices := tr.x.out.marshal()
	var resp extprocv3.ProcessingResponse
	require.NoError(tr.t, proto.Unmarshal(slices.Materialize(), &resp))
	slices.Free()
	var w strings.Builder
	tr.render(&w, &resp)
	if tr.x.done {
		fmt.Fprintf(&w, "end: %v\n", tr.x.outcome)
	}
	if e := tr.trails.byID[string(tr.x.id)]; e != nil && tr.x.outcome == turned {
		left := e.Value.(*keptTrail)
		fmt.Fprintf(&w, "left: attempt %d, tried %v", left.attempt, tr.names(left.tried))
		if left.repeated {
			w.WriteString(", repeated")
		}
		w.WriteString("\n")
	}
	return w.String()
}

// names are those of the keys with these ids.
func (tr *transcript) names(ids []string) []string {
	names := []string{}
	for _, id := range ids {
		for _, k := range tr.keys.Snapshot() {
			if k.ID == id {
				names = append(names, k.Name)
			}
		}
	}
	return names
}

// renderChunk writes a stream's lines, without the blank ones.
func renderChunk(w *strings.Builder, chunk []byte) {
	for line := range strings.Lines(string(chunk)) {
		if line = strings.TrimSpace(line); line != "" {
			fmt.Fprintf(w, "> %s\n", line)
		}
	}
}

func (tr *transcript) render(w *strings.Builder, resp *extprocv3.ProcessingResponse) {
	switch v := resp.Response.(type) {
	case *extprocv3.ProcessingResponse_RequestHeaders:
		renderMutation(w, v.RequestHeaders.GetResponse().GetHeaderMutation())
	case *extprocv3.ProcessingResponse_ResponseHeaders:
		renderMutation(w, v.ResponseHeaders.GetResponse().GetHeaderMutation())
	case *extprocv3.ProcessingResponse_RequestBody:
		renderMutation(w, v.RequestBody.GetResponse().GetHeaderMutation())
		renderBody(w, v.RequestBody.GetResponse())
	case *extprocv3.ProcessingResponse_ResponseBody:
		if v.ResponseBody.GetResponse().GetBodyMutation().GetStreamedResponse() == nil {
			renderMutation(w, v.ResponseBody.GetResponse().GetHeaderMutation())
		}
		renderBody(w, v.ResponseBody.GetResponse())
	case *extprocv3.ProcessingResponse_ImmediateResponse:
		fmt.Fprintf(w, "immediate %d %s\n", v.ImmediateResponse.GetStatus().GetCode(), v.ImmediateResponse.GetDetails())
		renderMutation(w, v.ImmediateResponse.GetHeaders())
		fmt.Fprintf(w, "body %s\n", v.ImmediateResponse.GetBody())
	default:
		fmt.Fprintf(w, "%T\n", v)
	}
	if mode := resp.ModeOverride; mode != nil {
		fmt.Fprintf(w, "mode request_body=%v response_body=%v\n", mode.RequestBodyMode, mode.ResponseBodyMode)
	}
	fields := resp.GetDynamicMetadata().GetFields()["keyturn"].GetStructValue().AsMap()
	names := make([]string, 0, len(fields))
	for name, value := range fields {
		names = append(names, fmt.Sprintf("%s=%v", name, value))
	}
	sort.Strings(names)
	if len(names) > 0 {
		fmt.Fprintf(w, "metadata %s\n", strings.Join(names, " "))
	}
}

// renderBody writes a body that was put in another's place.
func renderBody(w *strings.Builder, r *extprocv3.CommonResponse) {
	switch b := r.GetBodyMutation().GetMutation().(type) {
	case *extprocv3.BodyMutation_Body:
		fmt.Fprintf(w, "body %s\n", b.Body)
	case *extprocv3.BodyMutation_ClearBody:
		w.WriteString("body cleared\n")
	}
}

func renderMutation(w *strings.Builder, m *extprocv3.HeaderMutation) {
	if m == nil {
		w.WriteString("pass\n")
		return
	}
	for _, h := range m.SetHeaders {
		fmt.Fprintf(w, "set %s: %s\n", h.Header.Key, h.Header.RawValue)
	}
	removed := slices.Clone(m.RemoveHeaders)
	slices.Sort(removed)
	if len(removed) > 0 {
		fmt.Fprintf(w, "remove %s\n", strings.Join(removed, " "))
	}
}

// keyStates are those of the keys, in order of priority.
func keyStates(p *keypool.Pool) (all []keypool.State) {
	for _, s := range p.Snapshot() {
		all = append(all, s.State)
	}
	return all
}
