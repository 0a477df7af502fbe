package record

// Loss is why something was not recorded.
type Loss uint8

// The causes of a loss.
const (
	Full      Loss = iota // there was no room in the queue: the store is too slow, or away
	Poisonous             // no store takes it
	Outdated              // its time is further back than records are kept, or ahead of the clock
	Closing               // the process ended before the store had it
	losses
)

// String is the cause as a label.
func (l Loss) String() string {
	return [...]string{"queue_full", "poisoned", "outdated", "closing"}[l]
}

// Lost counts what was not recorded, by cause.
type Lost [losses]int64

// Sum returns how much was lost, whatever the cause.
func (l Lost) Sum() (n int64) {
	for _, v := range l {
		n += v
	}
	return n
}

// Losses count what did not get into the store since the process began.
type Losses struct {
	Turns   Lost
	Content Lost // in turns whose content was lost
}

// Each calls f for each kind of loss, in the words of labels.
func (l Losses) Each(f func(what, cause string, n int64)) {
	for cause := range losses {
		f("turn", cause.String(), l.Turns[cause])
		f("content", cause.String(), l.Content[cause])
	}
}
