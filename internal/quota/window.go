package quota

import "time"

const (
	windowTime  = time.Minute
	windowSlots = 61 // a second each: with the one that has only begun they are at least a minute
)

// window sums up what happened within the last minute, or up to a second more.
type window struct {
	second int64 // of the newest slot, since the book began
	sum    int64
	slots  [windowSlots]int64
}

// turn forgets what is older than the window at that time since the book began.
func (w *window) turn(at time.Duration) {
	second := int64(at / time.Second)
	for n := min(second-w.second, windowSlots); n > 0; n-- {
		slot := &w.slots[(second-n+1)%windowSlots]
		w.sum -= *slot
		*slot = 0
	}
	w.second = max(w.second, second)
}

func (w *window) add(at time.Duration, n int64) {
	w.turn(at)
	w.slots[w.second%windowSlots] += n
	w.sum += n
}

// below is how long it takes until the window has less than limit, if nothing is added.
func (w *window) below(at time.Duration, limit int64) time.Duration {
	w.turn(at)
	left := w.sum
	for n := int64(windowSlots - 1); left >= limit && n >= 0; n-- {
		if second := w.second - n; second >= 0 {
			if left -= w.slots[second%windowSlots]; left < limit {
				return time.Duration(second+windowSlots)*time.Second - at
			}
		}
	}
	return 0
}
