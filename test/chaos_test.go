package test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// chaosFault is what the first key of each pool answers; the second key is good.
type chaosFault struct {
	name   string
	answer func(marker string) scripted.Answer
	cuts   bool  // the client may see an answer that breaks off
	status []int // what the provider itself may come to, beside 200: its own errors, and Envoy's about it
}

func chaosFaults() []chaosFault {
	ok := scripted.OK
	long := func(m string) scripted.Answer { return scripted.OK(strings.Repeat(m+" ", 200)) }
	limited := func(m string) scripted.Answer {
		return scripted.Fail(scripted.Problem{Status: 429, Type: "requests", Code: "rate_limit_exceeded", Message: m}).Header("Retry-After-Ms", "1")
	}
	const hold = 30 * time.Millisecond
	unreachable := []int{502, 503}
	return []chaosFault{
		{"none", ok, false, nil},
		{"slow", func(m string) scripted.Answer { return ok(m).After(150 * time.Millisecond) }, false, nil},
		{"slow stream", func(string) scripted.Answer { return scripted.Chunks(10, 20*time.Millisecond) }, false, nil},
		{"trailers", func(m string) scripted.Answer { return ok(m).Trailer("X-Checksum", "1") }, false, nil},
		{"103", func(m string) scripted.Answer { return ok(m).EarlyHints103() }, false, nil},
		{"reset", func(string) scripted.Answer { return scripted.ResetNow() }, false, unreachable},
		{"garbage", func(string) scripted.Answer { return scripted.Garbage() }, false, unreachable},
		{"hung", func(string) scripted.Answer { return scripted.Hang() }, false, unreachable},
		{"headers and reset", func(m string) scripted.Answer { return scripted.ResetAfterHeaders(ok(m)) }, true, unreachable},
		{"headers, then reset", func(m string) scripted.Answer { return scripted.ResetAfterHeaders(ok(m)).Hold(hold) }, true, unreachable},
		{"headers, then nothing", func(m string) scripted.Answer { return scripted.HangAfterHeaders(ok(m)) }, true, unreachable},
		{"half", func(m string) scripted.Answer { return scripted.Half(long(m)) }, true, unreachable},
		{"half, then reset", func(m string) scripted.Answer { return scripted.ResetMidBody(long(m)).Hold(hold) }, true, unreachable},
		{"half, then nothing", func(m string) scripted.Answer { return scripted.HangMidBody(long(m)) }, true, unreachable},
		{"500", func(m string) scripted.Answer {
			return scripted.Fail(scripted.Problem{Status: 500, Type: "server_error", Message: m})
		}, false, []int{500}},
		{"429", limited, false, nil},
		{"429 of 2 MB", func(string) scripted.Answer {
			return scripted.BigError(429, 2<<20).Chunked().Header("Retry-After-Ms", "1")
		}, false, nil},
		{"429 and reset", func(m string) scripted.Answer { return scripted.ResetAfterHeaders(limited(m)) }, false, unreachable},
		{"429, then reset", func(m string) scripted.Answer { return scripted.ResetAfterHeaders(limited(m)).Hold(hold) }, false, unreachable},
		{"429 after 103", func(m string) scripted.Answer { return limited(m).EarlyHints103() }, false, []int{429}},
	}
}

// chaosState is what happens to the processor during a round of requests.
type chaosState struct {
	name   string
	quick  bool     // Envoy waits half a second for the processor, not five
	codes  []string // errors that it may lead to
	must   bool     // and must, for some request at least
	happen func(t *testing.T, r *chaosRound)
}

func chaosStates() []chaosState {
	dead, late := []string{"processor_unavailable"}, []string{"processor_timeout"}
	return []chaosState{
		{name: "alone", happen: func(_ *testing.T, r *chaosRound) {
			r.send()
			r.release()
		}},
		{name: "busy", happen: func(t *testing.T, r *chaosRound) {
			resume := r.gw.PauseProcessor(t)
			r.send()
			r.release()
			r.pass(200 * time.Millisecond)
			resume()
		}},
		{name: "busy before the answers", happen: func(t *testing.T, r *chaosRound) {
			r.send()
			r.arrived(t)
			resume := r.gw.PauseProcessor(t)
			r.release()
			r.pass(200 * time.Millisecond)
			resume()
		}},
		{name: "too slow", quick: true, codes: late, must: true, happen: func(t *testing.T, r *chaosRound) {
			resume := r.gw.PauseProcessor(t)
			r.send()
			r.release()
			r.wait()
			resume()
		}},
		{name: "too slow before the answers", quick: true, codes: late, must: true, happen: func(t *testing.T, r *chaosRound) {
			r.send()
			r.arrived(t)
			resume := r.gw.PauseProcessor(t)
			r.release()
			r.wait()
			resume()
		}},
		{name: "dead", codes: dead, must: true, happen: func(t *testing.T, r *chaosRound) {
			r.gw.KillProcessor(t)
			r.send()
			r.release()
			r.wait()
			r.gw.StartProcessor(t)
		}},
		{name: "killed in between", codes: dead, happen: func(t *testing.T, r *chaosRound) {
			r.send()
			r.release()
			r.gw.KillProcessor(t)
			r.gw.StartProcessor(t)
		}},
		{name: "killed before the answers", codes: dead, must: true, happen: func(t *testing.T, r *chaosRound) {
			r.send()
			r.arrived(t)
			r.gw.KillProcessor(t)
			r.release()
			r.wait()
			r.gw.StartProcessor(t)
		}},
		{name: "another one before the answers", codes: dead, must: true, happen: func(t *testing.T, r *chaosRound) {
			r.send()
			r.arrived(t)
			r.gw.KillProcessor(t)
			r.gw.StartProcessor(t)
			r.release()
		}},
		// Attempts under way end well; a retry is a new attempt, and nobody takes it.
		{name: "stopping before the answers", codes: dead, happen: func(t *testing.T, r *chaosRound) {
			r.send()
			r.arrived(t)
			stopped := r.gw.AskProcessorToStop(t)
			r.release()
			r.wait()
			stopped()
			r.gw.StartProcessor(t)
		}},
		{name: "stopping in between", codes: dead, happen: func(t *testing.T, r *chaosRound) {
			r.send()
			stopped := r.gw.AskProcessorToStop(t)
			r.release()
			stopped()
			r.gw.StartProcessor(t)
		}},
	}
}

// leaves are the times after which clients leave, once they have sent their request.
var leaves = []time.Duration{stays, 0, 10 * time.Millisecond, 100 * time.Millisecond, 350 * time.Millisecond}

const stays = time.Duration(-1)

// faultsAtOnce is how many faults meet in one round: 4 of them are 4 faults x 5 leaves x 2 pools.
const faultsAtOnce = 4

// TestChaos puts together every fault of the provider with every state of the processor and clients that stay and leave. After
// each round Envoy lives and serves, and no request has got another's key or body.
func TestChaos(t *testing.T) {
	for _, quick := range []bool{false, true} {
		t.Run(map[bool]string{false: "usual timeout", true: "short timeout"}[quick], func(t *testing.T) {
			t.Parallel()
			c := newChaos(t, quick)
			for _, s := range chaosStates() {
				if s.quick != quick {
					continue
				}
				for faults := range slices.Chunk(chaosFaults(), faultsAtOnce) {
					t.Run(s.name+" with "+faults[0].name, func(t *testing.T) { c.round(t, s, faults) })
				}
			}
			t.Log(c.requests.Load(), "requests,", c.answered.Load(), "answered")
		})
	}
}

// chaos is a gateway, and what its provider noticed.
type chaos struct {
	gw       *gateway.Gateway
	clients  []*http.Client
	faults   map[string]chaosFault
	requests atomic.Int64 // sent in all; each has a number of its own
	answered atomic.Int64
	current  atomic.Pointer[chaosRound]

	mu    sync.Mutex // protects wrong
	wrong []string
}

var chaosKeys = map[string][]string{"/v1/responses": {"k0-openai-key", "k1-openai-key"}, "/v1/messages": {"k0-anthropic-key", "k1-anthropic-key"}}

func newChaos(t *testing.T, quick bool) *chaos {
	t.Helper()
	cooldown := map[string]any{"cooldown": map[string]any{"min": "1ms"}}
	cfg := gateway.Config{
		Pools: []gateway.Pool{
			{Provider: "openai", Keys: chaosKeys["/v1/responses"], Settings: cooldown},
			{Provider: "anthropic", Keys: chaosKeys["/v1/messages"], Settings: cooldown},
		},
		Provider: scripted.Config{MaxHang: 250 * time.Millisecond},
	}
	if quick {
		cfg.Provider.MaxHang = time.Second // what hangs ends by the processor's fault, not by the provider's
		cfg.Edit = func(b []byte) []byte {
			edited := strings.ReplaceAll(string(b), "message_timeout: 5s", "message_timeout: 0.5s")
			require.NotEqual(t, string(b), edited)
			return []byte(edited)
		}
	}
	c := &chaos{gw: gateway.Start(t, cfg), faults: map[string]chaosFault{}}
	http2 := &http.Transport{Protocols: new(http.Protocols)}
	http2.Protocols.SetUnencryptedHTTP2(true)
	c.clients = []*http.Client{c.gw.Client, {Transport: http2}}
	t.Cleanup(http2.CloseIdleConnections)
	for _, f := range chaosFaults() {
		c.faults[f.name] = f
	}
	c.gw.Provider.Default(scripted.Func(c.answer))
	return c
}

var markers = regexp.MustCompile(`marker-\d+-end`)

// answer is the provider: it looks whether the request is what one client has sent, with a key of its pool, and sends the
// request's marker back.
func (c *chaos) answer(r scripted.Request) scripted.Answer {
	marker := r.Header.Get("X-Marker")
	if found := markers.FindAllString(string(r.Body), -1); !slices.Equal(found, []string{marker}) {
		c.complain("%s came with a body of %v", marker, found)
	}
	keys := chaosKeys[r.Path]
	if !slices.Contains(keys, r.Key) {
		c.complain("%s: a key of another pool on %s", marker, r.Path)
	}
	if round := c.current.Load(); round != nil {
		if r.Header.Get("X-Stays") != "" {
			round.here.Add(1)
		}
		round.hold()
	}
	a := scripted.OK(marker)
	if f, ok := c.faults[r.Header.Get("X-Fault")]; ok && r.Key == keys[0] {
		a = f.answer(marker)
	}
	return a.Header("X-Echo", marker)
}

func (c *chaos) complain(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wrong = append(c.wrong, fmt.Sprintf(format, args...))
}

// round sends one request for each fault, pool and leave while s happens, and then looks whether all is well.
func (c *chaos) round(t *testing.T, s chaosState, faults []chaosFault) {
	r := &chaosRound{chaos: c, gate: make(chan struct{})}
	for i, f := range faults {
		for j, leave := range leaves {
			for k, path := range []string{"/v1/responses", "/v1/messages"} {
				n := c.requests.Add(1)
				r.asks = append(r.asks, &chaosAsk{
					fault: f, leave: leave, path: path, marker: fmt.Sprintf("marker-%d-end", n),
					stream: (i+j)%2 == 0, client: c.clients[(i+j+k)%2], padding: (i + k) % 2 * 200 << 10,
				})
			}
		}
	}
	c.current.Store(r)
	s.happen(t, r)
	r.wait()
	c.current.Store(nil)
	require.True(t, c.gw.EnvoyAlive())

	seen := map[string]int{}
	for _, a := range r.asks {
		require.NoError(t, a.check(s.codes), "%s, %s, leaves after %v: %v %v %s", a.fault.name, a.path, a.leave, a.err, a.resp.Status, a.resp.Body)
		if a.leave == stays {
			seen[a.resp.Header.Get("X-Keyturn-Error")]++
		}
		if a.resp.Status != 0 {
			c.answered.Add(1)
		}
	}
	if s.must {
		require.NotZero(t, seen[s.codes[0]], seen)
	}
	c.mu.Lock()
	require.Empty(t, c.wrong)
	c.mu.Unlock()
	for path, pool := range map[string]string{"/v1/responses": "openai", "/v1/messages": "anthropic"} {
		c.gw.ResetKeys(t, pool)
		marker := fmt.Sprintf("marker-%d-end", c.requests.Add(1))
		resp := c.gw.Post(t, path, `{"model":"m","input":"`+marker+`"}`, "X-Marker", marker)
		require.Equal(t, http.StatusOK, resp.Status, resp.Body)
		require.Contains(t, resp.Body, marker)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, c.gw.Provider.WaitIdle(ctx))
	c.gw.Provider.Reset()
}

// chaosRound is requests that are under way together.
type chaosRound struct {
	*chaos
	asks []*chaosAsk
	work sync.WaitGroup
	here atomic.Int64  // requests of clients that stay, which have reached the provider
	gate chan struct{} // closed when the provider may answer
	open sync.Once
}

func (r *chaosRound) send() {
	for _, a := range r.asks {
		r.work.Go(func() { a.run(r.gw.URL) })
	}
}

func (r *chaosRound) wait()    { r.work.Wait() }
func (r *chaosRound) release() { r.open.Do(func() { close(r.gate) }) }

// arrived waits until the provider has the requests of all clients that stay.
func (r *chaosRound) arrived(t *testing.T) {
	t.Helper()
	stay := int64(0)
	for _, a := range r.asks {
		if a.leave == stays {
			stay++
		}
	}
	r.gw.Eventually(t, "requests at the provider", func() bool { return r.here.Load() >= stay })
}

// hold lets the provider wait until the round's requests may be answered; not for ever, so that a failed test ends.
func (r *chaosRound) hold() {
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	select {
	case <-r.gate:
	case <-limit.C:
	}
}

// pass lets time pass.
func (r *chaosRound) pass(d time.Duration) { <-time.NewTimer(d).C }

// chaosAsk is one client with its request, and what it got.
type chaosAsk struct {
	fault   chaosFault
	leave   time.Duration
	path    string
	marker  string
	stream  bool
	client  *http.Client
	padding int // bytes

	resp gateway.Response
	err  error
}

func (a *chaosAsk) run(url string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if a.leave != stays {
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			WroteRequest: func(httptrace.WroteRequestInfo) { time.AfterFunc(a.leave, cancel) },
		})
	}
	body := fmt.Sprintf(`{"model":"m","stream":%t,"input":%q,"padding":%q}`, a.stream, a.marker, strings.Repeat("x", a.padding))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+a.path, strings.NewReader(body))
	if err != nil {
		a.err = err
		return
	}
	req.Header.Set("X-Marker", a.marker)
	req.Header.Set("X-Fault", a.fault.name)
	if a.leave == stays {
		req.Header.Set("X-Stays", "1")
	}
	a.resp, a.err = (&gateway.Gateway{Client: a.client}).TryDo(req)
}

// check says what is wrong with what the client got. Codes are the errors that the state of the processor may lead to.
func (a *chaosAsk) check(codes []string) error {
	found := markers.FindAllString(a.resp.Body+a.resp.Header.Get("X-Echo"), -1)
	for _, m := range found {
		if m != a.marker {
			return fmt.Errorf("%s got what belongs to %s", a.marker, m)
		}
	}
	if a.leave != stays {
		return nil
	}
	code := a.resp.Header.Get("X-Keyturn-Error")
	switch {
	case a.resp.Status == 0:
		return errors.New("no answer at all")
	case a.err != nil && !a.fault.cuts:
		return errors.New("the answer is not whole")
	case a.err != nil || a.resp.Status == http.StatusOK:
		if a.err == nil && len(found) == 0 {
			return errors.New("the answer says nothing of the request")
		}
		return gatewayError(a.path, a.resp, "")
	case slices.Contains(codes, code):
		return gatewayError(a.path, a.resp, code)
	case !slices.Contains(a.fault.status, a.resp.Status):
		return errors.New("an answer that does not fit the fault")
	case a.resp.Status < 500 || a.resp.Status == 500:
		return gatewayError(a.path, a.resp, "")
	}
	return gatewayError(a.path, a.resp, "provider_reset")
}
