package extproc

import (
	"testing"
	"time"

	"github.com/coder/quartz"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/agent"
)

// TestNamelessClients: where clients are asked who they are, nothing is remembered of one whose token names nobody, since it could not be told
// from another.
func TestNamelessClients(t *testing.T) {
	x := &exchange{home: &bound{memory: agent.NewMemory(time.Hour, 1<<20, quartz.NewMock(t))}}
	require.NotNil(t, x.memory(nil), "nobody is asked")
	x.front = front{asked: true}
	require.Nil(t, x.memory(nil))
	require.NotNil(t, x.memory([]byte("own")), "its own credential names it")
	x.front.client = []byte("alice")
	require.NotNil(t, x.memory(nil))
	m := &message{headers: []header{{name: []byte("x-keyturn-asked"), value: []byte("1")}}}
	require.True(t, readFront(m).asked)
}
