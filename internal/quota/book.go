package quota

import (
	"container/list"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/quartz"
)

// Bounds of what is kept.
const (
	maxAccounts = 16 << 10
	maxEntries  = 64 << 10
	maxShown    = 1000 // accounts of one answer

	// recordTime is how long a request's record is waited for: longer than the ledger waits.
	recordTime = 90 * time.Minute
	// nextTime is how long the next attempt of a request is waited for: it comes a millisecond later, or never.
	nextTime = time.Minute
)

// Book keeps the accounts. It is safe for concurrent use.
type Book struct {
	clock quartz.Clock
	began time.Time
	on    atomic.Bool // there are limits

	mu       sync.Mutex // protects the fields below
	settings map[string]*Limits
	accounts map[string]*account
	recent   *list.List // of *account, the one used last at the end
	entries  map[string]*entry
	waiting  *list.List // of *entry, for their records, the oldest first
	between  *list.List // of *entry, for their next attempts, the oldest first
	refused  [limits]int64
}

// New makes a Book without limits.
func New(clock quartz.Clock) *Book {
	return &Book{
		clock: clock, began: clock.Now(), settings: map[string]*Limits{}, accounts: map[string]*account{}, recent: list.New(),
		entries: map[string]*entry{}, waiting: list.New(), between: list.New(),
	}
}

// Set puts s, which is valid, in the place of the limits. What clients have used stays.
func (b *Book) Set(s Settings) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settings = make(map[string]*Limits, len(s))
	for name, l := range s {
		l.Pools, l.Models = slices.Clone(l.Pools), slices.Clone(l.Models)
		b.settings[name] = &l
	}
	for _, a := range b.accounts {
		a.limits = b.limitsOf(a.name)
	}
	b.on.Store(len(s) > 0)
}

func (b *Book) limitsOf(client string) *Limits {
	if l := b.settings[client]; l != nil && client != "" {
		return l
	}
	return b.settings[Default]
}

// On reports whether there are limits.
func (b *Book) On() bool { return b.on.Load() }

// Request is a request that a client sends.
type Request struct {
	ID     string // Envoy's, the same at each attempt
	Client string // its name, by Envoy's authentication; "" of those that have none
	Pool   string
	Body   int64 // bytes; negative: not known
	Again  bool  // an attempt of it was let in before
}

// Grant lets a request in.
type Grant struct {
	Models []string // that it may be for; nil: any, as for an attempt of a request that was let in
	Held   bool     // End has to be called when the attempt is over, or Next where another one follows it
	Whole  bool     // the attempt is over when the response has come to its end
}

// Refusal says which limit keeps a request out.
type Refusal struct {
	Limit Limit
	Most  int64         // that the limit allows; 0 where it counts nothing
	Retry time.Duration // until it may be tried again; 0: never
}

// Begin lets a request in, or says why not. One that was let in before stays so, and is not counted again.
func (b *Book) Begin(r Request) (Grant, *Refusal) {
	if !b.On() {
		return Grant{}, nil
	}
	now := b.clock.Now()
	at := now.Sub(b.began)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expireLocked(at)
	a := b.accountLocked(r.Client, now)
	l := a.limits
	if l == nil {
		return Grant{}, nil
	}
	a.turn(now)
	g := Grant{Whole: l.Parallel > 0, Held: (l.Parallel > 0 || l.settles()) && r.ID != ""}
	if !r.Again {
		if len(l.Pools) > 0 && !slices.Contains(l.Pools, r.Pool) {
			b.refused[Pools]++
			return Grant{}, &Refusal{Limit: Pools}
		}
		if refusal, over := a.over(at, now); over {
			b.refused[refusal.Limit]++
			return Grant{}, refusal
		}
		a.requests.add(at, 1)
		g.Models = l.Models
	}
	if g.Held {
		b.enterLocked(a, r, at)
	}
	return g, nil
}

// enterLocked notes an attempt of a request.
func (b *Book) enterLocked(a *account, r Request, at time.Duration) {
	e := b.entries[r.ID]
	if e == nil {
		e = &entry{id: r.ID, account: a, body: r.Body}
		b.entries[r.ID] = e
		a.open++
		e.reserve(a.expect(r.Body, 0))
		if len(b.entries) > maxEntries {
			b.crowdedLocked()
		}
	}
	if e.attempts == 0 && e.in != b.between {
		e.account.inFlight++
	}
	e.attempts++
	b.moveLocked(e, nil, 0)
	if e.account.limits == nil || e.account.limits.Parallel == 0 { // the end of its response is not told
		b.moveLocked(e, b.waiting, at+recordTime)
	}
}

// Expect says how many tokens a request lets the model write at most.
func (b *Book) Expect(id string, output int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.entries[id]; e != nil {
		e.reserve(e.account.expect(e.body, output))
	}
}

// Next ends an attempt that another one follows.
func (b *Book) Next(id string) {
	at := b.clock.Now().Sub(b.began)
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.entries[id]; e != nil && e.attempts > 0 {
		if e.attempts--; e.attempts == 0 {
			b.moveLocked(e, b.between, at+nextTime)
		}
	}
}

// End ends an attempt that no other follows. What it has reserved stays so until its record comes. Unsent says that nothing went to a provider.
func (b *Book) End(id string, unsent bool) {
	at := b.clock.Now().Sub(b.began)
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[id]
	if e == nil || e.attempts == 0 {
		return
	}
	if e.attempts--; e.attempts > 0 {
		return
	}
	e.account.inFlight--
	if l := e.account.limits; unsent || e.settled || l == nil || !l.settles() {
		b.forgetLocked(e)
		return
	}
	b.moveLocked(e, b.waiting, at+recordTime)
}

// forgetLocked takes out an entry that is not in flight.
func (b *Book) forgetLocked(e *entry) {
	b.moveLocked(e, nil, 0)
	e.reserve(0)
	e.account.open--
	delete(b.entries, e.id)
}

// dropLocked takes out an entry.
func (b *Book) dropLocked(e *entry) {
	if e.attempts > 0 || e.in == b.between {
		e.account.inFlight--
	}
	b.forgetLocked(e)
}

// expireLocked gives up what is waited for no longer.
func (b *Book) expireLocked(at time.Duration) {
	for _, l := range []*list.List{b.waiting, b.between} {
		for first := l.Front(); first != nil && first.Value.(*entry).until <= at; first = l.Front() {
			e := first.Value.(*entry)
			if l == b.between && e.account.limits != nil && e.account.limits.settles() {
				e.account.inFlight--
				b.moveLocked(e, b.waiting, at+recordTime)
				continue
			}
			b.dropLocked(e)
		}
	}
}

// Spent is what a request has used, all of its turns and attempts together.
type Spent struct {
	ID, Client    string
	Input, Output int64 // tokens
	Nano          int64 // billionths of a US dollar
}

// Spend counts a request's record in the place of what it has reserved.
func (b *Book) Spend(s Spent) {
	now := b.clock.Now()
	at := now.Sub(b.began)
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[s.ID]
	if e == nil {
		if s.Input+s.Output+s.Nano > 0 {
			b.accountLocked(s.Client, now).use(at, now, &s)
		}
		return
	}
	e.account.use(at, now, &s)
	if e.attempts == 0 || e.in == b.waiting {
		b.dropLocked(e)
		return
	}
	e.reserve(0) // it goes once its stream has ended
	e.settled = true
}

// accountLocked is the account of a client. Where there is no room for another one, the one goes that was not used for longest.
func (b *Book) accountLocked(client string, now time.Time) *account {
	if a := b.accounts[client]; a != nil {
		b.recent.MoveToBack(a.place)
		return a
	}
	a := newAccount(client, now)
	a.limits = b.limitsOf(client)
	b.accounts[client] = a
	a.place = b.recent.PushBack(a)
	for e := b.recent.Front(); len(b.accounts) > maxAccounts && e != nil; {
		old := e.Value.(*account)
		e = e.Next()
		if old.open == 0 {
			b.recent.Remove(old.place)
			delete(b.accounts, old.name)
		}
	}
	return a
}

// Used is what was used in a day and in a month, by the clients' names.
type Used struct {
	At     time.Time        // when that was known
	Tokens map[string]int64 // of that day, in UTC
	Nano   map[string]int64 // of that month: billionths of a US dollar
}

// Restore counts what the records of this day and month say, where that is more than the book knows.
func (b *Book) Restore(u Used) {
	now := b.clock.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	for client, n := range u.Tokens {
		a := b.accountLocked(client, now)
		if a.turn(now); dayOf(u.At) == a.day {
			a.dayTokens = max(a.dayTokens, n)
		}
	}
	for client, n := range u.Nano {
		a := b.accountLocked(client, now)
		if a.turn(now); monthOf(u.At) == a.month {
			a.monthNano = max(a.monthNano, n)
		}
	}
}

// Standing is what a client has of its limits; false where none hold for it.
func (b *Book) Standing(client string) (Standing, bool) {
	if !b.On() {
		return Standing{}, false
	}
	now := b.clock.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.accounts[client]
	if a == nil || a.limits == nil {
		return Standing{}, false
	}
	return a.standing(now.Sub(b.began), now), true
}

// Standings are those of the clients that have limits of their own and of those that came last, by name: at most 1,000 of these.
func (b *Book) Standings() []Standing {
	now := b.clock.Now()
	at := now.Sub(b.began)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expireLocked(at)
	var all []Standing
	shown := 0
	for e := b.recent.Back(); e != nil; e = e.Prev() {
		a := e.Value.(*account)
		own := a.name != "" && b.settings[a.name] != nil
		if !own && (a.limits == nil || shown == maxShown) {
			continue
		}
		if !own {
			shown++
		}
		s := a.standing(at, now)
		s.Own = own
		all = append(all, s)
	}
	for name, l := range b.settings {
		if b.accounts[name] == nil && name != Default {
			all = append(all, Standing{Client: name, Limits: *l, Own: true})
		}
	}
	slices.SortFunc(all, func(a, b Standing) int { return strings.Compare(a.Client, b.Client) })
	return all
}

// Refuse counts a refusal that Begin has left to its caller: that of a model.
func (b *Book) Refuse(l Limit) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refused[l]++
}

// Refused is how many requests a limit has kept out.
func (b *Book) Refused(l Limit) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.refused[l]
}
