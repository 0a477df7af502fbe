package extproc

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/quartz"
	"github.com/stretchr/testify/require"
)

func newTestTrails(t testing.TB) (*trails, *quartz.Mock) {
	clock := quartz.NewMock(t).WithLogger(quartz.NoOpLogger)
	return newTrails(clock), clock
}

// requireSound holds that what s says of itself is so.
func (s *trails) requireSound(t testing.TB) {
	t.Helper()
	bytes := 0
	for e := s.order.Front(); e != nil; e = e.Next() {
		k := e.Value.(*keptTrail)
		bytes += k.size()
		require.Same(t, e, s.byID[k.id])
	}
	require.Len(t, s.byID, s.order.Len())
	require.Equal(t, bytes, s.bytes)
	require.LessOrEqual(t, s.order.Len(), maxTrails)
	require.LessOrEqual(t, s.bytes, maxTrailBytes)
}

func TestTrails(t *testing.T) {
	s, clock := newTestTrails(t)
	require.Equal(t, trail{}, s.take(nil), "nothing was left")
	require.Equal(t, trail{}, s.take([]byte("a")))

	left := trail{tried: []string{"k0", "k1"}, attempt: 2, started: clock.Now(), repeated: true}
	s.put("a", left)
	s.put("b", trail{attempt: 1})
	require.Equal(t, left, s.take([]byte("a")))
	require.Equal(t, trail{}, s.take([]byte("a")), "it is taken once")
	require.Equal(t, trail{attempt: 1}, s.take([]byte("b")))

	s.put("a", left)
	s.put("a", trail{attempt: 3})
	s.requireSound(t)
	require.Equal(t, trail{attempt: 3}, s.take([]byte("a")), "the later one counts")
	require.Zero(t, s.bytes)

	s.put("", left)
	require.Empty(t, s.byID, "nobody would find it")

	s.put("a", left)
	clock.Advance(trailTime - 1).MustWait(t.Context())
	s.put("b", left)
	require.Len(t, s.byID, 2)
	clock.Advance(1).MustWait(t.Context())
	require.Equal(t, trail{}, s.take([]byte("a")), "its time is over")
	require.Equal(t, left, s.take([]byte("b")))

	s.put("a", left)
	s.put("b", left)
	clock.Advance(trailTime).MustWait(t.Context())
	s.put("c", left)
	require.Len(t, s.byID, 1, "those before are gone with the next one")
	s.requireSound(t)
}

// TestTrailsAreBounded holds that the oldest ones go when there are too many, or too large ones.
func TestTrailsAreBounded(t *testing.T) {
	s, _ := newTestTrails(t)
	for n := range maxTrails + 10 {
		s.put(fmt.Sprint(n), trail{})
		require.LessOrEqual(t, s.bytes, maxTrailBytes)
	}
	s.requireSound(t)
	require.Equal(t, trail{}, s.take([]byte("0")))
	require.NotNil(t, s.byID[fmt.Sprint(maxTrails+9)])

	s, _ = newTestTrails(t)
	tried := make([]string, 10_000)
	for n := range 1000 {
		s.put(fmt.Sprint(n), trail{tried: tried, attempt: 1})
	}
	s.requireSound(t)
	require.Less(t, s.order.Len(), 200)
	require.Equal(t, 1, s.take([]byte("999")).attempt)

	s.put("large", trail{tried: make([]string, maxTrailBytes/16)})
	require.Empty(t, s.byID, "one that is larger than all may be")
	s.requireSound(t)
}

// TestTrailsAlways plays puts, takes and time in random orders against a plain model: a list that forgets by the same rules.
func TestTrailsAlways(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 0))
		s, clock := newTestTrails(t)
		type kept struct {
			id    string
			trail trail
			until time.Time
		}
		var model []kept
		drop := func(id string) {
			model = slices.DeleteFunc(model, func(k kept) bool { return k.id == id })
		}
		for range 400 {
			id := fmt.Sprint(random.IntN(8))
			switch random.IntN(5) {
			case 0, 1:
				left := trail{attempt: random.IntN(100), tried: make([]string, random.IntN(3))}
				s.put(id, left)
				drop(id)
				model = append(model, kept{id, left, clock.Now().Add(trailTime)})
			case 2, 3:
				want := trail{}
				for _, k := range model {
					if k.id == id && clock.Now().Before(k.until) {
						want = k.trail
					}
				}
				drop(id)
				require.Equal(t, want, s.take([]byte(id)), "seed %d", seed)
			case 4:
				clock.Advance(time.Duration(random.IntN(30)) * time.Second).MustWait(t.Context())
			}
			s.requireSound(t)
		}
	}
}

// TestTrailsAtOnce is for the race detector: requests leave and take their own.
func TestTrailsAtOnce(t *testing.T) {
	s := newTrails(quartz.NewReal())
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			id := strings.Repeat(fmt.Sprint(n), 36)
			for attempt := range 500 {
				s.put(id, trail{attempt: attempt, tried: []string{id}})
				if got := s.take([]byte(id)); got.attempt != attempt || got.tried[0] != id {
					t.Errorf("%s found %v", id, got)
				}
			}
		})
	}
	wg.Wait()
	s.requireSound(t)
	require.Empty(t, s.byID)
}
