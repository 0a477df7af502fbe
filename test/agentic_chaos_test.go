package test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// TestAgenticChaos puts together every fault of the provider, in the first turn and in the second, with every dialect, streaming and
// not, and with clients that stay and leave; then the same with a processor that is killed in between. Envoy lives, nothing is left
// running, nobody gets what belongs to another, and the next request is served.
func TestAgenticChaos(t *testing.T) {
	t.Parallel()
	quick := map[string]any{"cooldown": map[string]any{"min": "1ms"}, "tools": map[string]any{"servers": []string{"demo"}, "time": "1s"}}
	gw := gateway.Start(t, gateway.Config{
		Tools: true, Provider: scripted.Config{MaxHang: 250 * time.Millisecond, KeepBytes: 64 << 20},
		Pools: []gateway.Pool{
			{Provider: "openai", Keys: poolKeys[:2], Settings: quick}, {Provider: "anthropic", Keys: poolKeys[:2], Settings: quick},
		},
		Top: map[string]any{"log": map[string]any{"level": "error"}},
	})
	known := map[string]chaosFault{}
	for _, f := range chaosFaults() {
		known[f.name] = f
	}
	gw.Provider.Default(scripted.Func(func(r scripted.Request) scripted.Answer {
		marker := r.Header.Get("X-Marker")
		f, turn, say := known[r.Header.Get("X-Fault")], "1", scripted.Say(scripted.Text("well "), echo(marker))
		if results := r.Results(); len(results) > 0 {
			turn, say = "2", scripted.Say(scripted.Text("done with "+results[0].Text))
		}
		if r.Header.Get("X-Fault-Turn") == turn && r.Key == poolKeys[0] {
			return f.answer(marker)
		}
		return say
	}))
	number := 0
	round := func(t *testing.T, strict bool, meanwhile func()) {
		t.Helper()
		var all errgroup.Group
		all.SetLimit(120)
		for _, f := range chaosFaults() {
			for _, turn := range []string{"1", "2"} {
				for i, leave := range []time.Duration{stays, 5 * time.Millisecond, 100 * time.Millisecond} {
					for _, s := range speeches {
						number++
						marker, stream := fmt.Sprintf("marker-%d-end", number), (number+i)%2 == 0
						all.Go(func() error {
							got, err := leaving(gw, s, stream, leave, "X-Marker", marker, "X-Fault", f.name, "X-Fault-Turn", turn)
							for _, m := range markers.FindAllString(got.Body, -1) {
								if m != marker {
									return fmt.Errorf("%s got what belongs to %s", marker, m)
								}
							}
							switch {
							case !strict || leave != stays:
								return nil
							case got.Status == 0:
								return fmt.Errorf("%s %s in turn %s: no answer: %w", s.name, f.name, turn, err)
							case err != nil && !f.cuts:
								return fmt.Errorf("%s %s in turn %s: the answer is not whole: %w", s.name, f.name, turn, err)
							}
							return nil
						})
					}
				}
			}
		}
		meanwhile()
		require.NoError(t, all.Wait())
		require.True(t, gw.EnvoyAlive())
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.NoError(t, gw.Provider.WaitIdle(ctx))
		gw.Eventually(t, "no stream is left", func() bool { return gw.Metric(t, "keyturn_streams") == 0 })
		for _, s := range speeches {
			gw.Reset(t)
			got := gw.Post(t, s.path, s.body(true, "hi"), "X-Marker", "marker-0-end")
			require.Contains(t, words(got.Body), "done with marker-0-end")
			require.NoError(t, s.check([]byte(got.Body)))
		}
	}
	t.Run("faults", func(t *testing.T) { round(t, true, func() {}) })
	t.Run("the processor is killed", func(t *testing.T) {
		round(t, false, func() {
			for range 5 {
				<-time.NewTimer(200 * time.Millisecond).C
				gw.KillProcessor(t)
				gw.StartProcessor(t)
			}
		})
	})
}

// leaving asks and leaves after a time.
func leaving(gw *gateway.Gateway, s speech, stream bool, leave time.Duration, headers ...string) (gateway.Response, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if leave != stays {
		defer time.AfterFunc(leave, cancel).Stop()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, gw.URL+s.path, strings.NewReader(s.body(stream, "hi")))
	if err != nil {
		return gateway.Response{}, err
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return gw.TryDo(req)
}
