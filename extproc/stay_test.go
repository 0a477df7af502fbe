package extproc

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseStay(t *testing.T) {
	for _, text := range []string{"session", "client", "none", "header:x-team"} {
		s, ok := ParseStay(text)
		require.True(t, ok, text)
		require.Equal(t, text, s.String())
	}
	s, ok := ParseStay("header:X-Team")
	require.True(t, ok)
	require.Equal(t, "x-team", s.Header)
	for _, text := range []string{
		"", "Session", "header:", "header:a b", "header::path", "header:authorization", "header:X-Api-Key", "header:cookie", "header:x-keyturn-id",
		"header:" + strings.Repeat("a", 101),
	} {
		_, ok := ParseStay(text)
		require.False(t, ok, text)
	}
}

// TestConversation holds what makes two requests one conversation, and that clients cannot join another's.
func TestConversation(t *testing.T) {
	of := func(s Stay, f front, headers ...string) (uint64, bool) {
		m := &message{}
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			m.headers = append(m.headers, header{name: []byte(name), value: []byte(value)})
		}
		x := &exchange{pool: &bound{stay: s}, front: f}
		return x.conversation(m)
	}
	alice, bob := front{client: []byte("alice"), id: []byte("1")}, front{client: []byte("bob"), id: []byte("2")}
	hash := func(s Stay, f front, headers ...string) uint64 {
		h, named := of(s, f, headers...)
		require.True(t, named)
		return h
	}
	bySession := Stay{}
	require.Equal(t, hash(bySession, alice, "session_id: a"), hash(bySession, alice, "other: b", "session_id: a"))
	require.NotEqual(t, hash(bySession, alice, "session_id: a"), hash(bySession, alice, "session_id: b"))
	require.NotEqual(t, hash(bySession, alice, "session_id: a"), hash(bySession, bob, "session_id: a"))
	require.NotEqual(t, hash(bySession, front{client: []byte("ab")}, "session_id: c"), hash(bySession, front{client: []byte("a")}, "session_id: bc"))

	byClient := Stay{By: StayByClient}
	require.Equal(t, hash(byClient, alice), hash(byClient, alice, "session_id: a"))
	require.NotEqual(t, hash(byClient, alice), hash(byClient, bob))

	for _, s := range []Stay{bySession, {By: StayByHeader, Header: "x-team"}, {By: StayByNothing}} {
		one, named := of(s, alice)
		require.False(t, named)
		other, _ := of(s, bob)
		require.NotEqual(t, one, other, "each request is one of its own")
		turn := front{client: []byte("alice"), id: []byte("3"), turn: []byte("2"), parent: []byte("1")}
		later, _ := of(s, turn)
		require.Equal(t, one, later, "all turns of a response have one key")
	}
}
