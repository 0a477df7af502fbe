package ledger

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/record"
)

func TestSpoken(t *testing.T) {
	s, now := newSpoken(), time.Unix(1000, 0)
	s.put("a", record.Content{Text: "one"}, now)
	s.put("a", record.Content{Text: "two"}, now)
	s.put("b", record.Content{Text: "other"}, now)
	require.Equal(t, []record.Content{{Text: "one"}, {Text: "two"}}, s.take("a"))
	require.Nil(t, s.take("a"), "it was taken")
	s.expire(now.Add(saidTime - 1))
	require.Len(t, s.byID, 1)
	s.expire(now.Add(saidTime))
	require.Nil(t, s.take("b"), "no record was made for long")
	require.Zero(t, s.bytes)

	large := strings.Repeat("x", maxSaid/2)
	s.put("first", record.Content{Text: large}, now)
	s.put("second", record.Content{Text: large}, now)
	require.LessOrEqual(t, s.bytes, maxSaid)
	require.Nil(t, s.take("first"), "the oldest goes first")
	require.NotNil(t, s.take("second"))
}
