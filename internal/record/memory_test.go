package record_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/record"
	"github.com/keyturn/keyturn/internal/record/recordtest"
)

func TestMemoryAnswers(t *testing.T) {
	turns := recordtest.Turns(3000, 1)
	said := recordtest.Said(turns)
	of := map[string][]record.Content{}
	for _, c := range said {
		of[c.ID] = append(of[c.ID], c)
	}
	m := record.NewMemory()
	for _, turn := range turns {
		m.Write(turn, of[turn.ID])
	}
	recordtest.TestReader(t, m, turns, said)
}

func TestMemoryForgetsTheOldest(t *testing.T) {
	m := record.NewMemory()
	turns := recordtest.Turns(record.MemoryTurns+100, 2)
	for _, turn := range turns {
		m.Write(turn, nil)
	}
	_, err := m.Turn(t.Context(), turns[99].ID)
	require.ErrorIs(t, err, record.ErrNotFound)
	_, err = m.Turn(t.Context(), turns[100].ID)
	require.NoError(t, err)
}

func TestMemoryIsBoundedInBytes(t *testing.T) {
	m := record.NewMemory()
	text := strings.Repeat("x", record.MaxText)
	turns := recordtest.Turns(2000, 3)
	for _, turn := range turns {
		m.Write(turn, []record.Content{{ID: turn.ID, Text: text}})
	}
	spend, err := m.Spend(t.Context(), record.SpendQuery{})
	require.NoError(t, err)
	require.InDelta(t, record.MemoryBytes/record.MaxText, spend[0].Turns, 30)
	// What alone is larger than all that there is room for loses what it said.
	m.Write(turns[0], make([]record.Content, record.MemoryBytes/50))
	_, err = m.Turn(t.Context(), turns[0].ID)
	require.NoError(t, err)
}

func TestFollowing(t *testing.T) {
	m := record.NewMemory()
	turns := recordtest.Turns(1000, 4)
	f := m.Follow(record.Query{Client: "ann"})
	var want []*record.Turn
	for _, turn := range turns {
		m.Write(turn, nil)
		if turn.Client == "ann" {
			want = append(want, turn)
		}
		if len(want) == 200 {
			break
		}
	}
	for _, turn := range want {
		require.Same(t, turn, <-f.Turns)
	}
	require.Zero(t, f.Lost())
	ann := *turns[0]
	ann.Client = "ann"
	for range 300 { // nobody reads
		m.Write(&ann, nil)
	}
	require.Equal(t, int64(300-256), f.Lost())
	f.Close()
	m.Write(&ann, nil)
	require.Equal(t, int64(300-256), f.Lost())
}

func TestBound(t *testing.T) {
	long := strings.Repeat("é", 1000)
	turn := &record.Turn{
		ID: "a\x00b", Client: "\xff\xfe", Session: "x" + long, UserAgent: long, Start: time.Date(2026, 1, 1, 0, 0, 0, 1999, time.FixedZone("", 3600)),
		Status: -4, BytesIn: -1, Attempts: make([]record.Attempt, 300), Calls: make([]record.Call, 2000),
		Usage: record.Usage{Input: -1, Output: 1 << 62}, FirstByte: -time.Second,
	}
	turn.Attempts[0].Hint, turn.Calls[0].Tool = long, long
	turn.Bound()
	require.Equal(t, "a?b", turn.ID)
	require.Equal(t, "?", turn.Client)
	require.Equal(t, "x"+strings.Repeat("é", 127), turn.Session, "no half rune")
	require.Equal(t, strings.Repeat("é", 128), turn.UserAgent)
	require.Equal(t, time.Date(2025, 12, 31, 23, 0, 0, 1000, time.UTC), turn.Start)
	require.Zero(t, turn.Status)
	require.Zero(t, turn.BytesIn)
	require.Zero(t, turn.FirstByte)
	require.Equal(t, record.Usage{Output: 1 << 40}, turn.Usage)
	require.Len(t, turn.Attempts, record.MaxAttempts)
	require.Len(t, turn.Calls, record.MaxCalls)
	require.Equal(t, 300-record.MaxAttempts+2000-record.MaxCalls, turn.Cut)
	require.Len(t, turn.Attempts[0].Hint, record.MaxName)
	require.Len(t, turn.Calls[0].Tool, record.MaxName)

	c := record.Content{Text: strings.Repeat("€", record.MaxText)}
	c.Bound()
	require.True(t, c.Cut)
	require.Equal(t, strings.Repeat("€", record.MaxText/3), c.Text)
}
