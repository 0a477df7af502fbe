package turn_test

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect/turn"
)

func TestNames(t *testing.T) {
	var n turn.Names
	require.Zero(t, n.Declared())
	require.False(t, n.Offered())
	n.Declare("look_up")
	n.Declare("bmcp_mine")
	require.Equal(t, 2, n.Declared())
	weather := turn.Tool{Name: "weather_get", Server: "weather", Tool: "get"}
	require.True(t, n.Offer("weather_get", weather, 2))
	require.True(t, n.Offer("bmcp_gone", turn.Tool{}, 2), "one that its server has no more")
	require.False(t, n.Offer("bmcp_mine", turn.Tool{Name: "bmcp_mine"}, 2), "the client's own")
	require.True(t, n.Offered())
	got, ok := n.Own("weather_get")
	require.True(t, ok)
	require.Equal(t, weather, got)
	_, ok = n.Own("bmcp_mine")
	require.False(t, ok)

	for _, tc := range []struct {
		name        string
		whole, some turn.Owner // of the name, and of a name that begins so
	}{
		{"weather_get", turn.Keyturn, turn.Keyturn},
		{"weather_g", turn.Client, turn.Undecided},
		{"weather_gets", turn.Client, turn.Client},
		{"bmcp_gone", turn.Keyturn, turn.Keyturn},
		{"bmcp_other", turn.Keyturn, turn.Keyturn},
		{"bmcp_", turn.Client, turn.Undecided},
		{"bm", turn.Client, turn.Undecided},
		{"", turn.Client, turn.Undecided},
		{"bmcp_mine", turn.Client, turn.Client},
		{"look_up", turn.Client, turn.Client},
		{"unknown", turn.Client, turn.Client},
	} {
		require.Equal(t, tc.whole, n.Owner(tc.name), tc.name)
		require.Equal(t, tc.some, n.OwnerSoFar(tc.name), tc.name)
	}
	n.Withdraw()
	require.False(t, n.Offered())
	require.Equal(t, turn.Client, n.Owner("weather_get"))
}

// TestNamesAreNoMoreThanProvidersTake holds the limit for the client's tools and Keyturn's together.
func TestNamesAreNoMoreThanProvidersTake(t *testing.T) {
	for _, clients := range []int{0, 100, 127, 128, 200} {
		var n turn.Names
		taken := 0
		for i := range 200 {
			if n.Offer("tool"+strconv.Itoa(i), turn.Tool{}, clients) {
				taken++
			}
		}
		require.Equal(t, max(0, 128-clients), taken, "beside %d", clients)
	}
}
