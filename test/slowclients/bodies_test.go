//go:build slow

package slowclients_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// TestMemoryOfBodies holds that Keyturn stays within its memory, whatever bodies come at once, and that honest requests are served
// meanwhile.
func TestMemoryOfBodies(t *testing.T) {
	const (
		limit = 768 << 20 // GOMEMLIMIT
		size  = 30 << 20
		each  = 4
	)
	t.Setenv("GOMEMLIMIT", fmt.Sprint(limit))
	gw := gateway.Start(t, gateway.Config{Tools: true, Provider: scripted.Config{KeepBytes: 1 << 10}, Pools: []gateway.Pool{{}}})
	gw.Provider.Default(scripted.OK("hello"))
	fill := func(begin, piece, end string) string {
		return begin + strings.Repeat(piece, (size-len(begin)-len(end))/len(piece)) + end
	}
	hostile := []string{
		fill(`{"model":"m","input":[`, `0,`, `0]}`),
		fill(`{"model":"m","input":[`, `{"type":"item_reference","id":"mcp-FB11"},`, `{"id":"a"}]}`),
		fill(`{"model":"m","input":[{"role":"user","content":"`, `\n`, `"}]}`),
		fill(`{"model":"m","input":"x",`, `"a":1,`, `"b":1}`),
		fill(`{"model":"m","input":`, `[`, ``),
	}
	var all, honest errgroup.Group
	refused := make(chan int, each*len(hostile))
	for range each {
		for _, body := range hostile {
			all.Go(func() error {
				resp, err := gw.TryDo(gw.Request(t, http.MethodPost, "/openai/v1/responses", strings.NewReader(body)))
				if err != nil {
					return err
				}
				refused <- resp.Status
				if resp.Status != http.StatusOK && (resp.Status != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") != "1") {
					return fmt.Errorf("status %d: %.200s", resp.Status, resp.Body)
				}
				return nil
			})
		}
	}
	done := make(chan struct{})
	asked := 0
	honest.Go(func() error {
		for {
			select {
			case <-done:
				return nil
			default:
			}
			resp, err := gw.TryDo(gw.Request(t, http.MethodPost, "/openai/v1/responses", strings.NewReader(`{"model":"m","input":"hello"}`)))
			if err != nil || resp.Status != http.StatusOK {
				return fmt.Errorf("an honest request: status %d, %w", resp.Status, err)
			}
			asked++
		}
	})
	err := all.Wait()
	close(done)
	require.NoError(t, honest.Wait())
	require.NoError(t, err)
	require.NotZero(t, asked)
	close(refused)
	statuses := map[int]int{}
	for status := range refused {
		statuses[status]++
	}
	most := gateway.PeakMemory(t, gw.ProcessorPID())
	t.Logf("at most %d MiB; answers %v; %d honest requests", most>>20, statuses, asked)
	require.Less(t, most, limit)
	require.NotZero(t, statuses[http.StatusOK])
}
