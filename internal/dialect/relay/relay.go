// Package relay hands a turn's stream of server-sent events on to the client, for every dialect: it holds the first events back until
// the turn shows something, and sees to it that whatever is left out, changed or put in, the client gets whole blocks.
package relay

import (
	"bytes"

	"github.com/keyturn/keyturn/sse"
)

// The first events of a turn are held back until one shows content, an error within them being no part of the response yet; but no
// more than so many.
const (
	WindowEvents = 64        // events with data
	WindowBytes  = 256 << 10 // bytes that are held; one block may go beyond
	wholeBytes   = 4 << 20   // the same, of a turn that is held back whole
	wholeSign    = 16 << 10  // bytes of such a turn after which the client is told each time that all is well
)

// bom may stand at the beginning of what a client gets, and nowhere else ("Parsing an event stream" in the HTML standard).
var bom = []byte("\xef\xbb\xbf")

// Reader reads the stream that a Relay hands on.
type Reader interface {
	// Block takes a block of the stream, and tells the Relay what becomes of it.
	Block(ev *sse.Event)
	// GiveUp is called when a line or a block is longer than clients read: nothing that follows in the stream is understood, and Block
	// is called no more. It hands out what the dialect keeps, and says whether the client is to get the rest of the stream as it comes.
	GiveUp() bool
}

// Keeper keeps a block of a stream.
type Keeper interface {
	// Rest is called with an LF that belongs to the block's last CR.
	Rest(lf []byte)
}

// A Relay takes a turn's stream in pieces, and hands each block of it to its Reader, which says what becomes of it:
//
//   - Put: it goes to the client as it came; Aside: the same, for a block that is no event
//   - Sink: it goes there with other data, but with its own last line end
//   - Own: a block of Keyturn's own goes there, or one that was written anew
//   - Elsewhere: the dialect keeps it
//   - none of them: the client gets nothing of it
//
// Until Release, or the window is full, all of that is held back; after Whole until the turn's end. Init makes a Relay ready, and Begin for
// the stream of each turn.
type Relay struct {
	decoder *sse.Decoder
	reader  Reader
	style   style

	dst     []byte // the caller's: what goes to the client now
	held    []byte // what is held back
	events  int    // how many came while it was
	signs   int    // of life, likewise
	streams int    // that have begun
	first   bool   // no block of the current one has come
	holding bool
	whole   bool // the turn is held back until its end
	mark    int  // how much of held is not of the turn alone
	told    int  // how much of held the client was given a sign for
	failed  bool
	broken  bool // the decoder has given up
	lost    bool // and nothing that comes now is for the client

	// A block ends at its last CR: an LF that belongs to it comes as a block of its own, and shares the fate of the first.
	afterCR bool
	last    *[]byte // where the last block went with its end; nil if it did not, or went elsewhere
	keeper  Keeper  // who has one that went elsewhere
	cut     bool    // it lacks its blank line
	hurries bool    // it need not wait

	unended bool // what went out last has no blank line at its end
}

// Init makes the Relay ready for a reader.
func (r *Relay) Init(reader Reader) {
	r.reader = reader
	r.decoder = sse.NewDecoder(sse.Limits{}, r.block)
}

// Begin makes ready for the stream of the next turn. What the last one held back is dropped.
func (r *Relay) Begin() {
	r.decoder.Reset()
	r.first, r.streams = true, r.streams+1
	r.unended = r.unended && !r.failed // what a turn that failed ended with was held back
	r.held, r.events, r.signs, r.mark, r.told = r.held[:0], 0, 0, 0, 0
	r.holding, r.failed, r.broken = true, false, false
	r.afterCR, r.last, r.keeper, r.cut, r.hurries = false, nil, nil, false, false
}

// Write takes the next bytes of the stream, and appends to dst what the client gets.
func (r *Relay) Write(dst, p []byte) []byte {
	r.dst = dst
	if !r.broken {
		n, err := r.decoder.Write(p)
		if err == nil {
			return r.Out()
		}
		r.broken = true
		if r.lost = r.failed || !r.reader.GiveUp(); !r.lost {
			r.letGo()
			r.dst = append(r.dst, r.decoder.Held()...)
			r.unended = true
		}
		p = p[n:]
	}
	if !r.lost {
		r.dst = append(r.dst, p...)
	}
	return r.Out()
}

// Close says that the turn's stream has ended, whole or cut off: Block is called for what is left of it. More may go out then, until
// End.
func (r *Relay) Close(dst []byte) {
	r.dst = dst
	if !r.broken {
		_ = r.decoder.Close() // block returns no error, and Write has told of limits
	}
}

// End ends a turn: what is held back goes out, unless the turn has failed. It returns Close's dst with all that goes out.
func (r *Relay) End() []byte {
	if !r.failed {
		r.letGo()
	}
	r.last = nil
	return r.Out()
}

// Whole has the turn that begins held back until its end, when it is known what it comes to: Drop or End. Errors in it are failures.
func (r *Relay) Whole(whole bool) { r.whole = whole }

// HoldsWhole reports whether all of the turn is still held back.
func (r *Relay) HoldsWhole() bool { return r.whole && r.holding && !r.failed }

// Mark says that what came until now is for the client whatever the turn comes to.
func (r *Relay) Mark() {
	r.held = bytes.TrimPrefix(r.held, bom) // which must not come away later
	r.mark = len(r.held)
}

// Drop leaves out what came of a turn since Mark, which is held back whole.
func (r *Relay) Drop() {
	r.held, r.last, r.unended = r.held[:r.mark], nil, false
}

// block takes a block of the stream.
func (r *Relay) block(ev *sse.Event) error {
	if r.afterCR && len(ev.Raw) == 1 && ev.Raw[0] == '\n' {
		r.afterCR = false
		r.rest(ev.Raw)
		return nil
	}
	r.afterCR = ev.Raw[len(ev.Raw)-1] == '\r'
	r.last, r.keeper, r.cut, r.hurries = nil, nil, ev.Truncated, false
	if r.holding {
		if r.full() {
			if r.failed {
				return nil // whatever follows changes nothing
			}
			r.letGo()
		}
		if ev.Dispatched {
			r.events++
		}
	}
	if r.first && r.streams > 1 && len(ev.Raw) > len(bom) {
		ev.Raw = bytes.TrimPrefix(ev.Raw, bom)
	}
	r.first = false
	r.style.learn(ev)
	r.Mend() // the turn before may have left something
	r.reader.Block(ev)
	if r.last != nil {
		r.unended = ev.Truncated
	}
	return nil
}

// full reports whether no more is held back. Of a turn that is held back whole the client is told by signs.
func (r *Relay) full() bool {
	if !r.whole {
		return r.events >= WindowEvents || len(r.held) >= WindowBytes
	}
	if len(r.held)-r.told >= wholeSign && !r.failed {
		r.told = len(r.held)
		r.held = bytes.TrimPrefix(r.held, bom)
		r.dst = r.KeepAlive(r.dst, ": keyturn\n\n")
	}
	return len(r.held) >= wholeBytes
}

// rest takes the LF that belongs to the last block.
func (r *Relay) rest(lf []byte) {
	switch {
	case r.last != nil:
		*r.last = append(*r.last, lf...)
	case r.keeper != nil:
		r.keeper.Rest(lf)
	}
}

// Mend ends what went out last with a blank line, if it was cut off.
func (r *Relay) Mend() {
	if r.unended {
		r.dst = r.style.eol(r.style.eol(r.dst))
		r.last, r.unended = nil, false
	}
}

func (r *Relay) sink() *[]byte {
	if r.holding && (len(r.held) > 0 || !r.hurries) {
		return &r.held
	}
	return &r.dst
}

// Sink is where the current block is to be appended, changed but with its own end.
func (r *Relay) Sink() *[]byte {
	r.last, r.keeper = r.sink(), nil
	return r.last
}

// Own is where blocks are to be appended that end with a blank line of Keyturn's. It may be called between turns too, after To.
func (r *Relay) Own() *[]byte {
	r.seal()
	r.last, r.keeper, r.unended = nil, nil, false
	return r.sink()
}

// seal ends the current block, if it has gone out, since something follows it: a blank line where it was cut off, else the LF that
// may belong to its CR, which would come too late.
func (r *Relay) seal() {
	switch {
	case r.last == nil:
	case r.cut:
		*r.last = r.style.eol(r.style.eol(*r.last))
		r.unended = false
	case r.afterCR:
		*r.last = append(*r.last, '\n')
	}
	r.last = nil
}

// Put hands the current block on as it came.
func (r *Relay) Put(ev *sse.Event) {
	to := r.Sink()
	*to = append(*to, ev.Raw...)
}

// Hurry says that the current block shows nothing of the turn but that all is well: while nothing is held that it must come after, it
// need not wait.
func (r *Relay) Hurry() { r.hurries = true }

// Aside hands on the current block, which is no event, as it came. It need not wait, and a comment need not even come after what is held.
func (r *Relay) Aside(ev *sse.Event) {
	r.Hurry()
	if r.holding && !r.failed && !ev.Truncated && !ev.HasID && ev.Raw[0] == ':' {
		r.held = bytes.TrimPrefix(r.held, bom)
		r.dst = append(r.dst, ev.Raw...)
		r.last, r.keeper = &r.dst, nil
		return
	}
	r.Put(ev)
}

// Alive shows the client that the provider is at work, now that an event says so and nothing else: while others are held before it, it is held
// too, and a comment goes out. Not for the first, which many streams have right after their first event.
func (r *Relay) Alive() {
	if !r.holding || r.failed || len(r.held) == 0 {
		return
	}
	if r.signs++; r.signs > 1 {
		r.held = bytes.TrimPrefix(r.held, bom)
		r.dst = r.KeepAlive(r.dst, ": keyturn\n\n")
	}
}

// Elsewhere says who keeps the current block.
func (r *Relay) Elsewhere(k Keeper) { r.last, r.keeper = nil, k }

// Insert puts out a block that the dialect has kept. Truncated says that it lacks its blank line.
func (r *Relay) Insert(block []byte, truncated bool) {
	r.seal()
	if !r.holding { // or what was cut off is held too, and Release comes first
		r.Mend()
	}
	to := r.sink()
	*to = append(*to, block...)
	r.unended = truncated
}

// Event appends an event to Own, in the provider's way of writing them. It has an event field if the provider's have one.
func (r *Relay) Event(kind string, data []byte) {
	to := r.Own()
	*to = r.style.event(*to, kind, data)
}

// Holding reports whether the turn has shown nothing yet: if it fails now, it can be run again.
func (r *Relay) Holding() bool { return r.holding }

// Release hands out what is held back, and holds nothing back any more: the turn shows something. A turn that is held back whole stays so.
func (r *Relay) Release() {
	if !r.whole {
		r.letGo()
	}
}

// letGo does so in any case.
func (r *Relay) letGo() {
	r.whole = false
	if !r.holding {
		return
	}
	r.holding = false
	r.dst = append(r.dst, r.held...)
	r.held = r.held[:0]
	if r.last == &r.held {
		r.last = &r.dst
	}
}

// Fail says that the turn has failed before it showed anything. All that came stays held back, for HandOver; Begin drops it.
func (r *Relay) Fail() { r.failed = true }

// HandOver hands out what a turn that failed held back.
func (r *Relay) HandOver(dst []byte) []byte {
	r.dst, r.failed = dst, false
	r.letGo()
	return r.Out()
}

// Interrupt makes ready for an error of Keyturn's own, which ends the stream: what is held back goes out, unless the turn has failed, and
// what was cut off gets an end. The error goes to Own, and all of it is in Out.
func (r *Relay) Interrupt(dst []byte) {
	r.dst = dst
	if r.failed {
		r.held, r.last, r.failed, r.unended = r.held[:0], nil, false, false
	}
	r.letGo()
	r.Mend()
}

// To begins what goes to the client between the streams of two turns, after the end of what was cut off; Out returns it.
func (r *Relay) To(dst []byte) {
	r.dst = dst
	r.Mend()
}

// Out is what the client gets. It is the caller's.
func (r *Relay) Out() []byte {
	dst := r.dst
	r.dst = nil
	return dst
}

// KeepAlive appends a block that clients read over, unless it would stand within another. A comment beside ids lacks its blank line, and
// so belongs to what follows.
func (r *Relay) KeepAlive(dst []byte, block string) []byte {
	if r.unended {
		return dst
	}
	if r.style.ids && block[0] == ':' {
		block = block[:len(block)-1]
	}
	return append(dst, block...)
}
