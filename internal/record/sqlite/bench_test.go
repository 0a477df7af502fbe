package sqlite_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/record/recordtest"
	"github.com/keyturn/keyturn/internal/record/sqlite"
)

func BenchmarkPut(b *testing.B) { recordtest.BenchmarkPut(b, open(b, b.TempDir(), nil)) }

func BenchmarkSteady(b *testing.B) {
	recordtest.BenchmarkSteady(b, open(b, b.TempDir(), func(o *sqlite.Options) { o.Now = nil }))
}

func BenchmarkMillion(b *testing.B) {
	s := open(b, b.TempDir(), nil)
	recordtest.BenchmarkMillion(b, s, func(now time.Time) { require.NoError(b, s.Maintain(b.Context(), now)) })
}
