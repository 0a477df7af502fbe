package record

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// trail is how stores keep a turn's attempts and calls: JSON, without what is zero.
type trail struct {
	Attempts []trailAttempt `json:"attempts"`
	Calls    []trailCall    `json:"calls"`
}

type trailAttempt struct {
	Number     int           `json:"number"`
	Turn       int           `json:"turn"`
	Pool       string        `json:"pool"`
	Key        string        `json:"key"`
	Hint       string        `json:"hint"`
	Start      time.Duration `json:"start_ns"`
	Duration   time.Duration `json:"duration_ns"`
	Status     int           `json:"status"`
	Class      string        `json:"class"`
	Outcome    string        `json:"outcome"`
	Wait       time.Duration `json:"wait_ns"`
	Model      string        `json:"model"`
	Input      int64         `json:"input"`
	CacheRead  int64         `json:"cache_read"`
	CacheWrite int64         `json:"cache_write"`
	Output     int64         `json:"output"`
	Reasoning  int64         `json:"reasoning"`
	Usage      UsageState    `json:"usage"`
}

type trailCall struct {
	ID       string        `json:"id"`
	Server   string        `json:"server"`
	Tool     string        `json:"tool"`
	Turn     int           `json:"turn"`
	Start    time.Duration `json:"start_ns"`
	Duration time.Duration `json:"duration_ns"`
	Outcome  string        `json:"outcome"`
}

// AppendTrail appends the attempts and the calls of t, which is bounded, to b as JSON, for ReadTrail. It appends nothing for none.
func AppendTrail(b []byte, t *Turn) []byte {
	if len(t.Attempts)+len(t.Calls) == 0 {
		return b
	}
	o := object{append(b, `{"attempts":[`...)}
	for i := range t.Attempts {
		a := &t.Attempts[i]
		o.open(i)
		o.number("number", int64(a.Number))
		o.number("turn", int64(a.Turn))
		o.text("pool", a.Pool)
		o.text("key", a.Key)
		o.text("hint", a.Hint)
		o.number("start_ns", int64(a.Start))
		o.number("duration_ns", int64(a.Duration))
		o.number("status", int64(a.Status))
		o.text("class", a.Class)
		o.text("outcome", a.Outcome)
		o.number("wait_ns", int64(a.Wait))
		o.text("model", a.Model)
		o.number("input", a.Usage.Input)
		o.number("cache_read", a.Usage.CacheRead)
		o.number("cache_write", a.Usage.CacheWrite)
		o.number("output", a.Usage.Output)
		o.number("reasoning", a.Usage.Reasoning)
		o.number("usage", int64(a.Usage.State))
		o.b = append(o.b, '}')
	}
	o.b = append(o.b, `],"calls":[`...)
	for i := range t.Calls {
		c := &t.Calls[i]
		o.open(i)
		o.text("id", c.ID)
		o.text("server", c.Server)
		o.text("tool", c.Tool)
		o.number("turn", int64(c.Turn))
		o.number("start_ns", int64(c.Start))
		o.number("duration_ns", int64(c.Duration))
		o.text("outcome", c.Outcome)
		o.b = append(o.b, '}')
	}
	return append(o.b, `]}`...)
}

// object writes members of a JSON object.
type object struct{ b []byte }

func (o *object) open(i int) {
	if i > 0 {
		o.b = append(o.b, ',')
	}
	o.b = append(o.b, '{')
}

func (o *object) name(name string) {
	if o.b[len(o.b)-1] != '{' {
		o.b = append(o.b, ',')
	}
	o.b = append(append(append(o.b, '"'), name...), `":`...)
}

func (o *object) number(name string, n int64) {
	if n != 0 {
		o.name(name)
		o.b = strconv.AppendInt(o.b, n, 10)
	}
}

func (o *object) text(name, s string) {
	if s != "" {
		o.name(name)
		o.b, _ = jsontext.AppendQuote(o.b, s) // it is UTF-8: Turn.Bound saw to it
	}
}

// ReadTrail sets the attempts and the calls of t from what AppendTrail wrote.
func ReadTrail(b []byte, t *Turn) error {
	if len(b) == 0 {
		return nil
	}
	var all trail
	if err := json.Unmarshal(b, &all); err != nil {
		return err
	}
	for _, a := range all.Attempts {
		t.Attempts = append(t.Attempts, Attempt{
			Number: a.Number, Turn: a.Turn, Pool: a.Pool, Key: a.Key, Hint: a.Hint, Start: a.Start, Duration: a.Duration, Status: a.Status,
			Class: a.Class, Outcome: a.Outcome, Wait: a.Wait, Model: a.Model,
			Usage: Usage{
				Input: a.Input, CacheRead: a.CacheRead, CacheWrite: a.CacheWrite, Output: a.Output, Reasoning: a.Reasoning, State: a.Usage,
			},
		})
	}
	for _, c := range all.Calls {
		t.Calls = append(t.Calls, Call(c))
	}
	return nil
}

// Odd says whether t is one of those that people look for when something is wrong: with an error, or without a status of success.
func (t *Turn) Odd() bool { return t.ErrorClass != "" || t.Status < 200 || t.Status > 299 }

// Odd says whether q selects odd turns only.
func (q Query) Odd() bool {
	from, to := q.StatusRange()
	return q.ErrorClass != "" || q.Failed || from != 0 && (to < 200 || from > 299)
}

// HourGroup is a group within an hour.
type HourGroup struct {
	Hour time.Time
	Group
}

// Sums sums turns up by the hour: by group without the session, and with it.
func Sums(turns []*Turn) (groups, sessions map[HourGroup]Sum) {
	groups, sessions = map[HourGroup]Sum{}, make(map[HourGroup]Sum, len(turns))
	add := func(to map[HourGroup]Sum, g HourGroup, one Sum) {
		sum := to[g]
		sum.Add(one)
		to[g] = sum
	}
	for _, t := range turns {
		g := HourGroup{Hour.Begin(t.Start), GroupOf(t)}
		one := SumOf(t)
		add(sessions, g, one)
		g.Session = ""
		add(groups, g, one)
	}
	return groups, sessions
}
