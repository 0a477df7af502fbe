package agent

import (
	"container/list"
	"sync"
	"time"

	"github.com/coder/quartz"

	"github.com/keyturn/keyturn/internal/dialect"
)

// Memory keeps what clients' later requests need, in this process: bounded in bytes and by age. What was kept or asked for last
// goes last.
type Memory struct {
	clock quartz.Clock

	mu      sync.Mutex // protects the fields below
	age     time.Duration
	limit   int64
	size    int64
	entries map[string]*list.Element
	order   *list.List // of *entry; the front was used last
}

type entry struct {
	key   string
	value []byte
	until time.Time
}

// overhead is about what an entry costs beside its bytes.
const overhead = 200

// NewMemory keeps values for age and at most limit bytes of them.
func NewMemory(age time.Duration, limit int64, clock quartz.Clock) *Memory {
	return &Memory{clock: clock, age: age, limit: limit, entries: map[string]*list.Element{}, order: list.New()}
}

// SetLimits changes the bounds; what no longer fits is forgotten.
func (m *Memory) SetLimits(age time.Duration, limit int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.age, m.limit = age, limit
	m.shrinkLocked()
}

// For is the part of the memory that belongs to one client, so that no conversation reads another's.
func (m *Memory) For(client string) dialect.Memory { return share{m, client + "\x00"} }

type share struct {
	m      *Memory
	prefix string
}

func (p share) Get(key string) ([]byte, bool) { return p.m.get(p.prefix + key) }
func (p share) Put(key string, value []byte)  { p.m.put(p.prefix+key, value) }

func (m *Memory) get(key string) ([]byte, bool) {
	now := m.clock.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entries[key]
	if e == nil {
		return nil, false
	}
	v := e.Value.(*entry)
	if !now.Before(v.until) {
		m.removeLocked(e)
		return nil, false
	}
	m.order.MoveToFront(e)
	return v.value, true
}

func (m *Memory) put(key string, value []byte) {
	now := m.clock.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.entries[key]; e != nil {
		m.removeLocked(e)
	}
	v := &entry{key, value, now.Add(m.age)}
	if m.age <= 0 || v.size() > m.limit {
		return
	}
	m.entries[key] = m.order.PushFront(v)
	m.size += v.size()
	m.shrinkLocked()
	// The oldest go when their time is over, not only when room is needed.
	for e := m.order.Back(); e != nil && !now.Before(e.Value.(*entry).until); e = m.order.Back() {
		m.removeLocked(e)
	}
}

func (m *Memory) shrinkLocked() {
	for m.size > m.limit {
		m.removeLocked(m.order.Back())
	}
}

func (m *Memory) removeLocked(e *list.Element) {
	v := m.order.Remove(e).(*entry)
	delete(m.entries, v.key)
	m.size -= v.size()
}

func (v *entry) size() int64 { return int64(len(v.key) + len(v.value) + overhead) }

// Size is how many bytes are kept now, and in how many values.
func (m *Memory) Size() (bytes int64, values int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.size, len(m.entries)
}
