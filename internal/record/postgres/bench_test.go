package postgres

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/record/recordtest"
	server "github.com/keyturn/keyturn/test/postgres"
)

func BenchmarkPut(b *testing.B) { recordtest.BenchmarkPut(b, opened(b, server.Database(b))) }

func BenchmarkSteady(b *testing.B) { recordtest.BenchmarkSteady(b, opened(b, server.Database(b))) }

func BenchmarkMillion(b *testing.B) {
	s := opened(b, server.Database(b))
	recordtest.BenchmarkMillion(b, s, func(time.Time) {
		_, err := s.pool.Exec(b.Context(), "analyze") // as the server does by itself
		require.NoError(b, err)
	})
}
