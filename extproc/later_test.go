package extproc

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRoom holds how much the later turns of a response may send, alone and beside others.
func TestRoom(t *testing.T) {
	type take struct {
		n          int
		send, more bool
	}
	for _, tc := range []struct {
		name   string
		others int64 // what other responses have sent
		takes  []take
		sent   int64
	}{
		{"exactly the bound", 0, []take{{maxLater, true, true}}, maxLater},
		{"and nothing more", 0, []take{{maxLater, true, true}, {0, true, true}, {1, true, false}}, maxLater + 1},
		{"the piece that passes it is sent", 0, []take{{maxLater - 1, true, true}, {maxOver, true, false}}, maxLater - 1 + maxOver},
		{"but not if it is large", 0, []take{{maxLater - 1, true, true}, {maxOver + 1, false, false}}, maxLater - 1},
		{"the end fits", 0, []take{{maxLater, true, true}, {2 * maxOver, false, false}, {maxOver, true, true}}, maxLater + maxOver},
		{"unless it is large", 0, []take{{maxLater, true, true}, {1, true, false}, {maxOver + 1, false, false}}, maxLater + 1},
		{"one that is too large alone", 0, []take{{maxLater + 1, false, false}, {100, true, true}}, 100},
		{"others have taken all", maxAllLater, []take{{1, true, false}, {100, true, true}}, 101},
		{"and nearly all", maxAllLater - 1, []take{{1, true, true}, {1, true, false}}, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var all later
			all.sent.Store(tc.others)
			r := all.begin()
			for i, want := range tc.takes {
				send, more := r.take(want.n)
				require.Equal(t, want, take{want.n, send, more}, "take %d", i)
			}
			require.Equal(t, tc.others+tc.sent, all.sent.Load())
			r.end()
			r.end() // nothing twice
			require.Equal(t, tc.others, all.sent.Load())
		})
	}
}

// TestRooms is for the race detector: whatever responses at the same time took, nothing of it is left.
func TestRooms(t *testing.T) {
	var all later
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				r := all.begin()
				for more := true; more; _, more = r.take(maxOver / 2) {
					_, _ = r.take(10)
				}
				r.end()
			}
		})
	}
	wg.Wait()
	require.Zero(t, all.sent.Load())
}
