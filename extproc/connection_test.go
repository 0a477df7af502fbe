package extproc

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestConnections(t *testing.T) {
	var c connections
	require.False(t, c.ended(nil))
	c.answered(nil)
	require.False(t, c.ended(nil), "an unknown address is nobody's")
	c.answered([]byte("127.0.0.1:1"))
	c.answered([]byte("127.0.0.1:1"))
	require.False(t, c.ended([]byte("127.0.0.1:2")))
	require.True(t, c.ended([]byte("127.0.0.1:1")))
	require.False(t, c.ended([]byte("127.0.0.1:1")), "it has ended")
	c.answered(make([]byte, maxAddress+1))
	require.Empty(t, c.now)
	for n := range 5 * maxConnections {
		c.answered(fmt.Append(nil, n))
	}
	require.LessOrEqual(t, len(c.now)+len(c.old), 2*maxConnections)
	require.True(t, c.ended(fmt.Append(nil, 5*maxConnections-1)))
	require.True(t, c.ended(fmt.Append(nil, 4*maxConnections-1)))
	require.False(t, c.ended([]byte("0")), "the oldest go first")
}

// TestCrossed: only a connection that was used before and that the provider has closed, and where sending twice may cost, only at once.
func TestCrossed(t *testing.T) {
	left := time.Unix(1000, 0)
	closed, other := &local{closed: true}, &local{}
	for _, tc := range []struct {
		local              *local
		reused, idempotent bool
		after              time.Duration
		want               bool
	}{
		{closed, true, false, 0, true},
		{closed, true, false, crossing, true},
		{closed, true, false, crossing + 1, false},
		{closed, true, true, time.Hour, true},
		{closed, false, true, 0, false},
		{other, true, true, 0, false},
	} {
		x := &exchange{local: tc.local, reused: tc.reused, idempotent: tc.idempotent, left: left}
		require.Equal(t, tc.want, x.crossed(left.Add(tc.after)), "%+v", tc)
	}
}
