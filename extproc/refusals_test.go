package extproc

import (
	"fmt"
	"testing"

	"github.com/coder/quartz"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
)

func TestRefusals(t *testing.T) {
	clock := quartz.NewMock(t)
	r := newRefusals(clock)
	body := []byte(`{"model":"m","stream":true}`)
	w := r.of("p", "", body)
	require.True(t, w.None())
	learned := &refused{likeness{"p", "m", dialect.Form(body)}, dialect.Without{Named: []string{"a"}}}
	require.True(t, r.remember(learned))
	require.False(t, r.remember(learned), "no news")
	require.Equal(t, dialect.Without{Named: []string{"a"}}, r.of("p", "", body))
	require.Equal(t, dialect.Without{Named: []string{"a"}}, r.of("p", "m", []byte(`{"stream":true}`)), "the path names the model")
	for _, other := range []dialect.Without{r.of("q", "", body), r.of("p", "n", body), r.of("p", "", []byte(`{"model":"m"}`))} {
		require.True(t, other.None())
	}
	require.True(t, r.remember(&refused{learned.of, dialect.Without{Usage: true}}))
	require.Equal(t, dialect.Without{Usage: true, Named: []string{"a"}}, r.of("p", "", body))
	clock.Advance(refusalTime)
	w = r.of("p", "", body)
	require.True(t, w.None(), "it is tried again")
	require.Empty(t, r.known)
	require.Empty(t, r.pools)
	for i := range 3 * maxRefusals {
		r.remember(&refused{likeness{"p", fmt.Sprint("m", i), "---"}, dialect.Without{Tools: true}})
	}
	require.LessOrEqual(t, len(r.known), maxRefusals)
	require.Equal(t, len(r.known), r.pools["p"])
	for i := range 2 * maxNamed {
		r.remember(&refused{likeness{"p", "many", "---"}, dialect.Without{Named: []string{fmt.Sprint("tool", i)}}})
	}
	require.True(t, r.of("p", "many", nil).Tools, "so many: all")
}
