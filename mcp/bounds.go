package mcp

import (
	"log/slog"
	"sync"
	"time"
)

// What one server may cost. Servers are somebody else's: what they send beyond this is not worked on, and the log says so.
const (
	maxCalls        = 512                     // calls of its tools at the same time; more wait for their turn
	maxAnswers      = 16                      // its own requests that are in work; more get no answer
	maxConns        = maxCalls + 2*maxAnswers // connections of one session: calls, and what goes beside them
	maxHeaders      = 256 << 10               // bytes of an answer's headers
	maxHeld         = 128 << 20               // bytes of answers that are being read; one answer of Server.MaxResultBytes always fits
	helloBytes      = 1 << 20                 // bytes of an answer to initialize
	eventBytes      = 1 << 20                 // bytes of one event on a stream that is not one call's
	listBytes       = 8 << 20                 // bytes of a list of tools, all its pages together
	maxCursor       = 4 << 10                 // bytes of the cursor that leads to a list's next page
	maxID           = 1 << 10                 // bytes of the id of a server's request
	maxName         = 256                     // bytes of a tool's name; the specification recommends 128
	maxInstructions = 8 << 10                 // bytes of what it says about the use of its tools
	maxTool         = 64 << 10                // bytes of one tool's definition
	answerTime      = 5 * time.Second         // for handing over the answer to a server's request, in real time
	burst           = 100                     // sessions that may follow each other at once; then one a second
	burstChild      = 10                      // the same, of a command, which is started each time
	minListPause    = time.Second             // between two lists, of which the second is due to a change
	maxListPause    = time.Minute
	tellAgain       = time.Hour // until the log says the same about the same server again
)

// limits tells the operator which server goes beyond which limit.
type limits struct {
	clock clock
	log   *slog.Logger

	mu   sync.Mutex // protects the field below
	told map[[2]string]time.Time
}

// beyond says that a server went beyond a limit: what was left undone. It is said once an hour.
func (l *limits) beyond(server, what string, attrs ...any) {
	if l.again(server, what) {
		l.log.Warn("MCP server goes beyond a limit", append([]any{slog.String("server", server), slog.String("limit", what)}, attrs...)...)
	}
}

// leftOut says what of a server cannot be used. It is said once an hour.
func (l *limits) leftOut(server, what string, attrs ...any) {
	if l.again(server, what) {
		l.log.Warn("MCP server sends what cannot be used", append([]any{slog.String("server", server), slog.String("left_out", what)}, attrs...)...)
	}
}

// again reports whether something about a server is to be said: it was not within the last hour.
func (l *limits) again(server, what string) bool {
	now := l.clock.Now()
	key := [2]string{server, what}
	l.mu.Lock()
	defer l.mu.Unlock()
	if last, known := l.told[key]; known && now.Sub(last) < tellAgain {
		return false
	}
	l.told[key] = now
	return true
}

// room is how many bytes of a server's answers may be in memory at the same time.
type room struct {
	mu   sync.Mutex // protects the field below
	left int64
}

// take reports whether n more bytes may be held.
func (r *room) take(n int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left < n {
		return false
	}
	r.left -= n
	return true
}

func (r *room) give(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left += n
}

// pace spaces the sessions that a server makes necessary: those that it ends at once.
type pace struct {
	burst float64 // sessions that may follow each other at once
	left  float64 // of them
	at    time.Time
}

// wait returns how long the next session has to wait.
func (p *pace) wait(now time.Time) time.Duration {
	if p.at.IsZero() {
		p.left = p.burst
	} else {
		p.left = min(p.burst, p.left+now.Sub(p.at).Seconds())
	}
	p.at = now
	p.left--
	return max(0, time.Duration(-p.left*float64(time.Second)))
}

// listPace spaces the lists that a server makes necessary by saying that its tools changed. The pause doubles while it does so again and again.
type listPace struct {
	pause   time.Duration // before the next list; 0: minListPause
	changed bool          // the next list is fetched because of a change
}

// change returns how long to wait with a list, after a change and so long after the last list.
func (p *listPace) change(since time.Duration) time.Duration {
	p.changed = true
	if p.pause == 0 || since >= maxListPause {
		p.pause = minListPause
	}
	return max(0, p.pause-since)
}

// listed notes that a list was fetched.
func (p *listPace) listed() {
	if p.changed {
		p.pause = min(2*p.pause, maxListPause)
	} else {
		p.pause = 0
	}
	p.changed = false
}
