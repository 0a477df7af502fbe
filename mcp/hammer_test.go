package mcp_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keyturn/keyturn/internal/toolserver"
	"github.com/keyturn/keyturn/mcp"
	"github.com/stretchr/testify/require"
)

// TestHammer calls from many goroutines while sessions are forgotten, requests refused and servers replaced. No call with an effect runs twice, every
// call that succeeds ran once, none that was refused before it ran is counted, and in the end all works.
func TestHammer(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds[:4] {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			ts := serve(t, kind.opts)
			s := mcp.Server{Name: "demo", URL: ts.URL, Transport: "http"}
			c := open(t, mcp.Config{Servers: []mcp.Server{s}})
			up(t, c)

			const workers, calls = 8, 40
			var group, trouble sync.WaitGroup
			var good, mayHave atomic.Int64
			problems := make(chan error, workers*calls)
			begin, over := make(chan struct{}), make(chan struct{})
			beat := make(chan struct{}, 1) // a call has ended
			for range workers {
				group.Go(func() {
					<-begin
					for n := range calls {
						ctx, cancel := context.WithTimeout(context.Background(), patience)
						if n%10 == 9 {
							cancel() // some callers are gone before they begin
						}
						_, err := text(ctx, c, "count", "")
						cancel()
						var e *mcp.Error
						switch {
						case err == nil:
							good.Add(1)
						case !errors.As(err, &e):
							problems <- err
						case e.Ran:
							mayHave.Add(1)
						}
						c.Tools(context.Background(), []string{"demo"})
						c.Status()
						select {
						case beat <- struct{}{}:
						default:
						}
					}
				})
			}
			trouble.Go(func() {
				<-begin
				for {
					select {
					case <-over:
						return
					case <-beat:
					}
					switch rand.IntN(5) {
					case 0:
						ts.Forget()
					case 1:
						ts.Next(1, toolserver.Fault{Method: "tools/call", Status: 401})
					case 2:
						ts.Next(1, toolserver.Fault{Method: "tools/call", Drop: true})
					case 3:
						ts.Next(1, toolserver.Fault{Method: "tools/list", HTML: true})
					case 4:
						changed := s
						changed.Headers = map[string]string{"X-Turn": strconv.Itoa(rand.IntN(3))}
						if err := c.SetServers([]mcp.Server{changed}); err != nil {
							problems <- err
						}
					}
				}
			})
			close(begin)
			group.Wait()
			close(over)
			trouble.Wait()
			close(problems)
			for err := range problems {
				require.NoError(t, err)
			}
			ran := int64(len(ts.Calls("count")))
			require.LessOrEqual(t, good.Load(), ran)
			require.LessOrEqual(t, ran, good.Load()+mayHave.Load(), fmt.Sprintf("%d good, %d in doubt", good.Load(), mayHave.Load()))
			ts.Heal()
			up(t, c)
			echo(t, c)
		})
	}
}
