package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/extproc"
	"github.com/keyturn/keyturn/internal/record"
	"github.com/keyturn/keyturn/internal/record/recorder"
)

// What nobody has counted costs what its size says, and what did not cost anything costs nothing.
func TestSpent(t *testing.T) {
	one := record.Rate(1_000_000) // a dollar a million tokens
	kept, err := recorder.Open(t.Context(), recorder.Options{Settings: record.Settings{Prices: []record.PriceRule{{Model: "m", Input: one, Output: one}}}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, kept.Close(t.Context())) })
	c := &counting{kept: kept}
	known := record.Usage{Input: 30, Output: 20, State: record.Complete}
	for _, tc := range []struct {
		name                string
		turn                record.Turn
		input, output, nano int64
	}{
		{"counted", record.Turn{Usage: known, Price: record.Price{Nano: 7}, BytesIn: 4000, BytesOut: 4000, Dialect: "chat", Status: 200}, 30, 20, 7},
		{"not counted", record.Turn{BytesIn: 4000, BytesOut: 800, Dialect: "chat", Status: 200}, 1000, 200, 1_200_000},
		{"a stream", record.Turn{BytesIn: 4000, BytesOut: 800, Dialect: "chat", Status: 200, Stream: true}, 1000, 8, 1_008_000},
		{"cut, with a part counted", record.Turn{Usage: record.Usage{Input: 2000, State: record.Partial}, BytesIn: 4000, BytesOut: 800, Dialect: "chat", Status: 200, Stream: true}, 2000, 8, 2_008_000},
		{"the client left", record.Turn{BytesIn: 4000, Dialect: "chat", Ending: record.Cancelled}, 1000, 0, 1_000_000},
		{"an error", record.Turn{BytesIn: 4000, BytesOut: 800, Dialect: "chat", Status: 500}, 0, 0, 0},
		{"refused", record.Turn{BytesIn: 4000, Dialect: "chat", Status: 429, Ending: record.Refused}, 0, 0, 0},
		{"an upload", record.Turn{BytesIn: 1 << 30, Status: 200}, 0, 0, 0},
		{"a picture", record.Turn{BytesIn: 1 << 30, Dialect: "chat", Status: 200}, mostGuessedInput, 0, mostGuessedInput * 1000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.turn.ID, tc.turn.Client, tc.turn.Asked = "1", "ann", "m"
			require.Equal(t, extproc.Spent{ID: "1", Client: "ann", Input: tc.input, Output: tc.output, Nano: tc.nano}, c.spent(&tc.turn))
		})
	}
}
