package extproc

import (
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
	"github.com/keyturn/keyturn/keypool"
	"github.com/keyturn/keyturn/mcp"
)

// transcript plays Envoy's part against exchanges: it carries the dynamic metadata from one attempt to the next, as Envoy does.
type transcript struct {
	t        *testing.T
	clock    *quartz.Mock
	keys     *keypool.Pool
	pools    *poolSet
	x        *exchange
	metadata map[string]any
	cluster  string
	offered  []dialect.Tool // the pool's
	memory   *memories
}

// TestTranscripts runs testdata/exchanges: what Envoy sends, and what it is answered. -rewrite writes what is answered now.
func TestTranscripts(t *testing.T) {
	files := 0
	datadriven.Walk(t, "testdata/exchanges", func(t *testing.T, path string) {
		files++
		tr := &transcript{t: t, clock: quartz.NewMock(t)}
		tr.clock.Set(time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC))
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
		return tr.pool(d)
	case "request":
		return tr.request(d)
	case "response":
		status := "200"
		d.MaybeScanArgs(tr.t, "status", &status)
		m := &extprocv3.HttpHeaders{Headers: headerMap(d.Input, ":status: "+status), EndOfStream: d.HasArg("end")}
		return tr.send(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: m}})
	case "response-body":
		m := &extprocv3.HttpBody{Body: []byte(d.Input), EndOfStream: !d.HasArg("more")}
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
		tr.x.answerInstead(&agent.Answer{Status: status, Header: http.Header{"Retry-After": {"3"}}, Body: []byte(d.Input)})
		return tr.answer()
	case "judge": // what is made of the first turn's failure, or of one by the key named
		name := ""
		d.MaybeScanArgs(tr.t, "key", &name)
		again, key, verdict, _ := tr.x.judge(name, tr.x.firstTurn.Failure, tr.clock.Now())
		if key == nil {
			return fmt.Sprintf("again=%v", again)
		}
		return fmt.Sprintf("again=%v key=%s class=%v", again, key.Name(), verdict.Class)
	case "remember": // that a response was continued: what a client with this name knows by id is upstream's
		var client, id, upstream string
		d.ScanArgs(tr.t, "client", &client)
		d.ScanArgs(tr.t, "id", &id)
		d.ScanArgs(tr.t, "upstream", &upstream)
		tr.memory.pools[tr.cluster].For(client).Put("responses/response/"+id, fmt.Appendf(nil, `{"id":%q}`, upstream))
		return ""
	case "advance":
		var by string
		d.ScanArgs(tr.t, "by", &by)
		dur, err := time.ParseDuration(by)
		require.NoError(tr.t, err)
		tr.clock.Advance(dur).MustWait(tr.t.Context())
		return "now " + tr.clock.Now().Format(time.TimeOnly)
	case "states":
		return fmt.Sprint(tr.keys.PoolState())
	}
	d.Fatalf(tr.t, "unknown command %q", d.Cmd)
	return ""
}

// pool makes the pool "openai", or of the provider named, with cluster and name equal to it.
func (tr *transcript) pool(d *datadriven.TestData) string {
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
	tr.keys, err = keypool.NewPool(cfg, tr.clock)
	require.NoError(tr.t, err)
	p := Pool{Keys: tr.keys, Provider: provider, Clusters: []string{provider}, Header: header, Scheme: scheme, BYOK: d.HasArg("byok"), KeepRateLimitHeaders: d.HasArg("keep-limits")}
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
	tr.cluster = provider
	return fmt.Sprint(tr.keys.PoolState())
}

// request begins an attempt; with "again" it is a retry, which has the metadata of the one before.
func (tr *transcript) request(d *datadriven.TestData) string {
	promised, path, method := promiseBuffered, "/v1/responses", "POST"
	cluster := tr.cluster
	d.MaybeScanArgs(tr.t, "promised", &promised)
	d.MaybeScanArgs(tr.t, "path", &path)
	d.MaybeScanArgs(tr.t, "method", &method)
	d.MaybeScanArgs(tr.t, "cluster", &cluster)
	limit := int64(defaultMaxBody)
	d.MaybeScanArgs(tr.t, "limit", &limit)
	if promised == "nothing" {
		promised = ""
	}
	if !d.HasArg("again") {
		tr.metadata = map[string]any{}
	}
	for _, name := range []string{"turn", "client"} { // what Envoy's listeners know
		var v string
		if d.MaybeScanArgs(tr.t, name, &v); v != "" {
			tr.metadata[name] = v
		}
	}
	if tr.x != nil {
		tr.x.finish()
	}
	tr.x = &exchange{}
	tr.x.begin(tr.pools, promised, limit)
	m := &extprocv3.HttpHeaders{Headers: headerMap(d.Input, ":path: "+path, ":method: "+method), EndOfStream: d.HasArg("end")}
	return tr.send(&extprocv3.ProcessingRequest{
		Request:         &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: m},
		Attributes:      map[string]*structpb.Struct{"envoy.filters.http.ext_proc": object(tr.t, map[string]any{"xds.cluster_name": cluster})},
		MetadataContext: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"keyturn": object(tr.t, tr.metadata)}},
	})
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
	if m.kind == requestBody && tr.x.origin != nil {
		tr.x.offered = tr.offered
	}
	d, err := tr.x.handle(m, tr.clock.Now())
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
	case nothing:
		return "no reply"
	case answer:
		return tr.answer()
	case piece:
		renderChunk(&w, tr.x.chunk)
	case lastPiece:
		renderChunk(&w, tr.x.chunk)
		tr.x.dyn.reset()
		tr.x.describeTurns(&tr.x.dyn)
		tr.x.out.chunk(nil, true, &tr.x.dyn)
		w.WriteString("end of stream\n" + tr.answer())
	case turns:
		renderChunk(&w, tr.x.chunk)
		for _, c := range tr.x.firstTurn.Calls {
			fmt.Fprintf(&w, "call %s of %s: %s\n", c.Tool.Tool, c.Tool.Server, c.Arguments)
		}
		if f := tr.x.firstTurn.Failure; f != nil {
			fmt.Fprintf(&w, "failure %d %s\n", f.Status, f.Code)
		}
		o := tr.x.origin
		fmt.Fprintf(&w, "next turn to %s %s%s\n", o.Cluster, o.Authority, o.Path)
		for _, name := range slices.Sorted(maps.Keys(o.Header)) {
			fmt.Fprintf(&w, "with %s: %s\n", name, strings.Join(o.Header[name], ", "))
		}
	}
	return w.String()
}

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
	return w.String()
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
		fmt.Fprintf(w, "mode response_headers=%v request_body=%v response_body=%v\n", mode.ResponseHeaderMode, mode.RequestBodyMode, mode.ResponseBodyMode)
	}
	fields := resp.GetDynamicMetadata().GetFields()["keyturn"].GetStructValue().AsMap()
	names := make([]string, 0, len(fields))
	for name, value := range fields {
		tr.metadata[name] = value // Envoy merges
		if name == "started" {
			value = time.UnixMilli(int64(value.(float64))).UTC().Format(time.TimeOnly)
		}
		names = append(names, fmt.Sprintf("%s=%v", name, value))
	}
	sort.Strings(names)
	if len(names) > 0 {
		fmt.Fprintf(w, "metadata %s\n", strings.Join(names, " "))
	}
}

// renderBody writes a body that was put in another's place.
func renderBody(w *strings.Builder, r *extprocv3.CommonResponse) {
	if b, ok := r.GetBodyMutation().GetMutation().(*extprocv3.BodyMutation_Body); ok {
		fmt.Fprintf(w, "body %s\n", b.Body)
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
