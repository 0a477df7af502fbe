package agent

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLaterTurnsTakeMemory: the answers of later turns take memory before they are read, whatever length they announce.
func TestLaterTurnsTakeMemory(t *testing.T) {
	for _, tc := range []struct {
		name         string
		length, size int64
		room         int64
		want         error
		asked        []int64
	}{
		{"small", -1, 1000, 0, nil, nil},
		{"announced", 3 << 20, 3 << 20, 3 << 20, nil, []int64{3 << 20}},
		{"announced, and none", 3 << 20, 3 << 20, 2 << 20, errNoMemory, []int64{3 << 20}},
		{"in chunks", -1, 3<<20 + 5, 3 << 20, nil, []int64{1 << 20, 1 << 20, 1 << 20}},
		{"in chunks, and none", -1, 30 << 20, 2 << 20, errNoMemory, []int64{1 << 20, 1 << 20, 1 << 20}},
		{"too large", 100 << 20, 100 << 20, 8 << 20, nil, []int64{8 << 20}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var asked []int64
			left := tc.room
			body, err := readWithin(io.LimitReader(zeros{}, tc.size), tc.length, 8<<20, Limits{Room: func(n int64) bool {
				asked = append(asked, n)
				left -= n
				return left >= 0
			}})
			require.Equal(t, tc.want, err)
			require.Equal(t, tc.asked, asked)
			if err == nil {
				require.Len(t, body, int(min(tc.size, 8<<20)))
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
