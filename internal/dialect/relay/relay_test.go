package relay_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect/relay"
	"github.com/keyturn/keyturn/sse"
)

// puppet is a dialect whose events say themselves what is to become of them.
type puppet struct {
	r    relay.Relay
	kept []byte // blocks that were kept elsewhere
	cut  bool   // the last of them lacks its blank line
	ends bool   // giveUp lets the rest pass
}

func newPuppet() *puppet {
	p := &puppet{ends: true}
	p.r.Init(p)
	p.r.Begin()
	return p
}

func (p *puppet) GiveUp() bool { return p.ends }

func (p *puppet) Rest(lf []byte) { p.kept = append(p.kept, lf...) }

func (p *puppet) Block(ev *sse.Event) {
	if !ev.Dispatched {
		p.r.Aside(ev)
		return
	}
	switch word, _, _ := strings.Cut(strings.ReplaceAll(string(ev.Data), "\n", " "), " "); word {
	case "show":
		p.r.Release()
		p.r.Put(ev)
	case "drop":
	case "hurry":
		p.r.Hurry()
		p.r.Put(ev)
	case "change":
		at := relay.DataAt(ev)
		if at < 0 {
			p.r.Event(string(ev.Type), bytes.ToUpper(ev.Data))
			return
		}
		to := p.r.Sink()
		*to = append(append(append(*to, ev.Raw[:at]...), bytes.ToUpper(ev.Data)...), ev.Raw[at+len(ev.Data):]...)
	case "own":
		p.r.Event("own", []byte("mine"))
	case "before":
		p.r.Event("own", []byte("mine"))
		p.r.Put(ev)
	case "after":
		p.r.Put(ev)
		p.r.Event("own", []byte("mine"))
	case "keep":
		p.kept, p.cut = append(p.kept, ev.Raw...), ev.Truncated
		p.r.Elsewhere(p)
	case "insert":
		p.r.Insert(p.kept, p.cut)
		p.kept = nil
		p.r.Put(ev)
	case "fail":
		if p.r.Holding() {
			p.r.Put(ev)
			p.r.Fail()
			return
		}
		p.r.Put(ev)
	default:
		p.r.Put(ev)
	}
}

// play writes a stream in pieces of n bytes, or whole, and ends it.
func (p *puppet) play(stream string, n int) (out []byte) {
	for b := []byte(stream); len(b) > 0; {
		k := len(b)
		if n > 0 {
			k = min(n, k)
		}
		out = p.r.Write(out, b[:k:k])
		b = b[k:]
	}
	p.r.Close(out)
	return p.r.End()
}

func TestFateOfBlocks(t *testing.T) {
	const own = "event: own\ndata: mine\n\n"
	for _, tc := range []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"as it came", "event: a\ndata: show it\n\n: c\n\nid: 1\ndata:x\ndata:y\n\n", "event: a\ndata: show it\n\n: c\n\nid: 1\ndata:x\ndata:y\n\n"},
		{"dropped", "event: a\ndata: a\n\ndata: drop\n\ndata: b\n\n", "event: a\ndata: a\n\ndata: b\n\n"},
		{"changed where it stands", "id: 7\ndata: change it\nretry: 1\n\n", "id: 7\ndata: CHANGE IT\nretry: 1\n\n"},
		{"lines joined and written anew", "event: a\ndata: change\ndata: it\n\n", "event: a\ndata: CHANGE\ndata: IT\n\n"},
		{"an own block in its place", "event: a\ndata: own\n\ndata: x\n\n", own + "data: x\n\n"},
		{"an own block before", "event: a\ndata: before\n\n", own + "event: a\ndata: before\n\n"},
		{"an own block after", "event: a\ndata: after\n\n", "event: a\ndata: after\n\n" + own},
		{"kept and put in", "event: a\ndata: keep 1\n\ndata: keep 2\n\ndata: x\n\ndata: insert\n\n", "data: x\n\nevent: a\ndata: keep 1\n\ndata: keep 2\n\ndata: insert\n\n"},
		{"kept and forgotten", "event: a\ndata: keep 1\n\ndata: x\n\n", "data: x\n\n"},
		{"a provider without event fields", "data: x\n\ndata: own\n\n", "data: x\n\ndata: mine\n\n"},
		{"an own block after one that was cut off", "event: a\ndata: after", "event: a\ndata: after\n\n" + own},
		{"cut off", "event: a\ndata: a\n\ndata: b", "event: a\ndata: a\n\ndata: b"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, end := range []string{"\n", "\r\n", "\r"} {
				in := strings.ReplaceAll(tc.in, "\n", end)
				for n := range len(in) + 1 {
					got := string(newPuppet().play(in, n))
					require.Equal(t, tc.want, strings.ReplaceAll(strings.ReplaceAll(got, "\r\n", "\n"), "\r", "\n"), "%q in pieces of %d", end, n)
				}
			}
		})
	}
}

// TestHolds holds when the client gets what: out is after each piece.
func TestHolds(t *testing.T) {
	many := strings.Repeat("data: x\n\n", relay.WindowEvents)
	large := "data: " + strings.Repeat("x", relay.WindowBytes-len("data: \n\n")) + "\n\n"
	for _, tc := range []struct {
		name    string
		in, out []string
	}{
		{"until the turn shows something", []string{"data: x\n\n", "data: y\n\n", "data: show\n\n", "data: z\n\n"}, []string{"", "", "data: x\n\ndata: y\n\ndata: show\n\n", "data: z\n\n"}},
		{"a comment need not wait", []string{": a\n\n", "data: x\n\n", ": b\n\n", "data: show\n\n", ": c\n\n"}, []string{": a\n\n", "", ": b\n\n", "data: x\n\ndata: show\n\n", ": c\n\n"}},
		{"unless it is more than that", []string{"data: x\n\n", ": b\nid: 1\n\n", "data: show\n\n"}, []string{"", "", "data: x\n\n: b\nid: 1\n\ndata: show\n\n"}},
		{"nor the end of one", []string{"data: x\r\r", ": b\r\r", "\n"}, []string{"", ": b\r\r", "\n"}},
		{"nor need a ping", []string{"data: hurry\n\n", "data: x\n\n", "data: hurry\n\n", "data: show\n\n"}, []string{"data: hurry\n\n", "", "", "data: x\n\ndata: hurry\n\ndata: show\n\n"}},
		{"a LF goes where its CR went", []string{": a\r\r", "\ndata: x\r\n\r", "\ndata: drop\r\n\r", "\ndata: show\r\n\r", "\n"}, []string{": a\r\r", "\n", "", "data: x\r\n\r\ndata: show\r\n\r", "\n"}},
		{"a LF of its own", []string{"data: show\n\n", "\n", "data: drop\n\n", "\n"}, []string{"data: show\n\n", "\n", "", "\n"}},
		{"no more events than that", []string{many, "data: y\n\n"}, []string{"", many + "data: y\n\n"}},
		{"nor bytes", []string{large, "data: y\n\n"}, []string{"", large + "data: y\n\n"}},
		{"one byte less is held", []string{strings.Replace(large, "x", "", 1), "data: y\n\n"}, []string{"", ""}},
		{"comments do not count", []string{"data: x\n\n" + strings.Repeat(": c\n\n", relay.WindowEvents), "data: y\n\n"}, []string{strings.Repeat(": c\n\n", relay.WindowEvents), ""}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPuppet()
			for i, in := range tc.in {
				require.Equal(t, tc.out[i], string(p.r.Write(nil, []byte(in))), "after piece %d", i)
			}
		})
	}
}

func TestFailure(t *testing.T) {
	const stream = "data: x\n\ndata: fail\n\ndata: y\n\n"
	many := strings.Repeat("data: z\n\n", 2*relay.WindowEvents)
	fail := func(t *testing.T, more string) *puppet {
		p := newPuppet()
		require.Empty(t, p.play(stream+more, 0), "all of it is held back")
		return p
	}
	t.Run("is handed over", func(t *testing.T) {
		require.Equal(t, "before "+stream, string(fail(t, "").r.HandOver([]byte("before "))))
	})
	t.Run("with no more than the window of what follows", func(t *testing.T) {
		require.Equal(t, relay.WindowEvents, strings.Count(string(fail(t, many).r.HandOver(nil)), "data:"))
	})
	t.Run("is forgotten, and the turn runs again", func(t *testing.T) {
		p := fail(t, "data: cut o")
		p.r.Begin()
		require.True(t, p.r.Holding())
		require.Equal(t, "data: show\n\n", string(p.play("data: show\n\n", 0)))
	})
	t.Run("gives way to an error of Keyturn's", func(t *testing.T) {
		p := fail(t, "data: cut o")
		p.r.Interrupt([]byte("before "))
		p.r.Event("", []byte("error"))
		require.Equal(t, "before data: error\n\n", string(p.r.Out()))
	})
	t.Run("is no failure once something was shown", func(t *testing.T) {
		require.Equal(t, "data: show\n\n"+stream, string(newPuppet().play("data: show\n\n"+stream, 0)))
	})
}

// TestUnended holds that nothing is put behind half a block: Keyturn ends what was cut off before it puts something out.
func TestUnended(t *testing.T) {
	for _, tc := range []struct{ name, in, mended string }{
		{"whole", "data: show\n\n", ""},
		{"cut in an event", "data: show\n\ndata: x", "\n\n"},
		{"cut before the blank line", "data: show\n", "\n\n"},
		{"cut in a comment", ": a", "\n\n"},
		{"cut, with CRLF", "data: show\r\n\r\ndata: x", "\r\n\r\n"},
		{"cut in what was left out", "data: show\n\ndata: drop", ""},
		{"cut in what was written anew", "data: show\n\ndata: change\ndata: it", ""},
		{"cut in what is kept", "data: show\n\ndata: keep", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPuppet()
			out := string(p.play(tc.in, 0))
			alive := p.r.KeepAlive(nil, ": alive\n\n")
			require.Equal(t, tc.mended == "", len(alive) > 0, "a keep-alive only between blocks")
			p.r.Interrupt([]byte(out))
			require.Equal(t, out+tc.mended, string(p.r.Out()))

			p = newPuppet()
			p.play(tc.in, 0)
			p.r.Begin()
			require.Equal(t, tc.mended+": b\n\n", string(p.r.Write(nil, []byte(": b\n\n"))), "the next turn's first bytes")
			require.NotEmpty(t, p.r.KeepAlive(nil, ": alive\n\n"))
		})
	}
	t.Run("beside ids", func(t *testing.T) { // a blank line would end an event of the id alone
		p := newPuppet()
		p.play("id: 1\ndata: show\n\n", 0)
		require.Equal(t, ": alive\n", string(p.r.KeepAlive(nil, ": alive\n\n")))
		require.Equal(t, "event: ping\ndata: {}\n\n", string(p.r.KeepAlive(nil, "event: ping\ndata: {}\n\n")))
	})
	t.Run("between turns", func(t *testing.T) {
		p := newPuppet()
		p.play("data: show\n\ndata: x", 0)
		p.r.To([]byte("before "))
		p.r.Event("", []byte("mine"))
		require.Equal(t, "before \n\ndata: mine\n\n", string(p.r.Out()), "between turns too it does not stand behind half a block")
		require.NotEmpty(t, p.r.KeepAlive(nil, ": alive\n\n"))
		p.r.Begin()
		require.Equal(t, ": b\n\n", string(p.r.Write(nil, []byte(": b\n\n"))))
	})
	t.Run("kept, put in, and followed by an own block", func(t *testing.T) {
		p := newPuppet()
		p.r.To(nil)
		p.r.Release()
		p.r.Insert([]byte("data: half"), true)
		p.r.Mend()
		p.r.Event("", []byte("mine"))
		require.Equal(t, "data: half\n\ndata: mine\n\n", string(p.r.Out()))
		require.NotEmpty(t, p.r.KeepAlive(nil, ": alive\n\n"))
	})
	t.Run("kept and put in, one after the other", func(t *testing.T) {
		p := newPuppet()
		p.r.To(nil)
		p.r.Release()
		p.r.Insert([]byte("data: half"), true)
		p.r.Insert([]byte("data: y\n\n"), false)
		require.Equal(t, "data: half\n\ndata: y\n\n", string(p.r.Out()))
	})
	t.Run("kept and put in", func(t *testing.T) {
		p := newPuppet()
		p.r.Release()
		p.play("data: keep", 0)
		p.r.To(nil)
		p.r.Insert(p.kept, p.cut)
		require.Equal(t, "data: keep", string(p.r.Out()))
		require.Empty(t, p.r.KeepAlive(nil, ": alive\n\n"))
	})
}

// TestTooLong holds that a stream that cannot be read any more passes as it comes, unless the turn has failed or has ended.
func TestTooLong(t *testing.T) {
	long := "data: " + strings.Repeat("x", sse.DefaultLimitBytes)
	const rest = "xx\n\ndata: drop\n\n"
	pieces := func(p *puppet, first string) string {
		var out []byte
		for _, s := range []string{first, long, rest} {
			out = p.r.Write(out, []byte(s))
		}
		p.r.Close(out)
		return string(p.r.End())
	}
	p := newPuppet()
	require.Equal(t, "data: y\n\n"+long+rest, pieces(p, "data: y\n\ndata: drop\n\n"))
	require.Empty(t, p.r.KeepAlive(nil, ": alive\n\n"), "nobody knows where it stopped")
	p.r.Interrupt(nil)
	require.Equal(t, "\n\n", string(p.r.Out()))

	p = newPuppet()
	require.Empty(t, pieces(p, "data: y\n\ndata: fail\n\n"), "the turn has failed")
	require.Equal(t, "data: y\n\ndata: fail\n\n", string(p.r.HandOver(nil)))

	p = newPuppet()
	p.ends = false
	require.Equal(t, "data: show\n\n", pieces(p, "data: show\n\n"), "the turn has ended")
	require.NotEmpty(t, p.r.KeepAlive(nil, ": alive\n\n"))
	p.r.Begin()
	require.Equal(t, "data: show\n\n", string(p.play("data: show\n\n", 0)), "the next turn is read again")
}

func TestIsEventStream(t *testing.T) {
	for kind, want := range map[string]bool{
		"text/event-stream": true, "Text/Event-Stream; charset=utf-8": true, "text/event-strea": false, "application/json": false, "": false,
	} {
		require.Equal(t, want, relay.IsEventStream(kind), kind)
	}
}

// passer lets all pass.
type passer struct{ relay.Relay }

func (p *passer) Block(ev *sse.Event) { p.Put(ev) }
func (p *passer) GiveUp() bool        { return true }

// FuzzCuts holds that what the client gets does not depend on where the stream was cut, and that a block whose fate is to pass goes out
// byte for byte.
func FuzzCuts(f *testing.F) {
	for _, s := range []string{
		"data: x\n\ndata: show\r\n\r\n: c\r\rdata: drop\r\n\r\ndata: change it\r\n\r\n", "\xef\xbb\xbfdata: own\r\r\ndata: keep\r\n\r\ndata: insert\n\n",
		"data: after\r\n\r\n\ndata: before\r\rdata: hurry", "data: fail\r\n\r\ndata: x\r\n\r\n", ": a\r\n\r\n\r\n\rdata\n\n",
	} {
		f.Add(s, 1)
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, stream string, n int) {
		n = 1 + n&63
		whole, cut := newPuppet(), newPuppet()
		want, got := whole.play(stream, 0), cut.play(stream, n)
		require.Equal(t, string(want), string(got))
		require.Equal(t, string(whole.r.HandOver(nil)), string(cut.r.HandOver(nil)))
		require.Equal(t, whole.r.KeepAlive(nil, "k"), cut.r.KeepAlive(nil, "k"))

		var passed []byte
		var all passer
		all.Init(&all)
		all.Begin()
		for b := []byte(stream); len(b) > 0; b = b[min(n, len(b)):] {
			passed = all.Write(passed, b[:min(n, len(b))])
		}
		all.Close(passed)
		require.Equal(t, stream, string(all.End()))
	})
}
