package test

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
	"github.com/keyturn/keyturn/test/postgres"
)

// TestRequestsWithoutARecord holds that with record.required nothing reaches a provider while the store does not take that it begins, that the
// client reads so in the dialect, that all goes well again once the store is back, and that what left is among the starts.
func TestRequestsWithoutARecord(t *testing.T) {
	server := postgres.Start(t)
	database, secret := server.Database(t), filepath.Join(t.TempDir(), "url")
	require.NoError(t, os.WriteFile(secret, []byte(database), 0o600))
	folder := filepath.Join(t.TempDir(), "records")
	for _, store := range []struct {
		name       string
		settings   map[string]any
		gone, back func(t *testing.T)
		starts     func(t *testing.T) int
	}{
		{name: "sqlite", settings: map[string]any{"sqlite": folder}, starts: func(t *testing.T) (n int) {
			withStarts(t, folder, "select count(*) from starts", func(stmt *sqlite.Stmt) { n = stmt.ColumnInt(0) })
			return n
		}},
		{
			name: "postgres", settings: map[string]any{"postgres": map[string]any{"url": map[string]any{"file": secret}}},
			gone: func(*testing.T) { server.Kill() }, back: func(t *testing.T) { server.Restart(t) },
			starts: func(t *testing.T) (n int) {
				conn, err := pgx.Connect(t.Context(), database)
				require.NoError(t, err)
				defer func() { _ = conn.Close(context.Background()) }()
				require.NoError(t, conn.QueryRow(t.Context(), "select count(*) from keyturn.starts").Scan(&n))
				return n
			},
		},
	} {
		t.Run(store.name, func(t *testing.T) {
			store.settings["required"] = true
			gw := gateway.Start(t, gateway.Config{Tools: true, Pools: []gateway.Pool{{Keys: poolKeys[:2]}}, Top: map[string]any{"record": store.settings}})
			gw.Provider.Key(poolKeys[0], scripted.RateLimited(time.Minute)).
				Key(poolKeys[1], scripted.Seq(scripted.Say(scripted.Call("bmcp_demo_echo", `{"text":"a"}`)), scripted.OK("done")))
			const body = `{"model":"m","input":"hi"}`
			require.Equal(t, http.StatusOK, gw.Post(t, "/v1/responses", body).Status)
			require.Equal(t, 1, store.starts(t), "attempts and turns are no starts")
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() { gw.Post(t, "/v1/responses", body) })
			}
			all.Wait()
			require.Equal(t, 21, store.starts(t))

			release := func() {}
			if store.gone == nil { // another process has the file
				release = lock(t, folder)
			} else {
				store.gone(t)
			}
			before := gw.Provider.Count()
			got := gw.Post(t, "/v1/chat/completions", `{"model":"m","messages":[{"role":"user","content":"hi"}]}`)
			require.Equal(t, http.StatusServiceUnavailable, got.Status, got.Body)
			require.Equal(t, "1", got.Header.Get("Retry-After"))
			var e struct{ Error struct{ Message, Type, Code string } }
			require.NoError(t, json.Unmarshal([]byte(got.Body), &e), got.Body)
			require.Equal(t, "server_error", e.Error.Code)
			require.Contains(t, e.Error.Message, "cannot record")
			require.Equal(t, before, gw.Provider.Count(), "nothing was sent")
			require.Contains(t, gw.Log(), "record.required")

			release()
			if store.back != nil {
				store.back(t)
			}
			gw.Eventually(t, "requests pass again", func() bool { return gw.Post(t, "/v1/responses", body).Status == http.StatusOK })
		})
	}
}

// withStarts asks the file of SQLite that has today's starts.
func withStarts(t *testing.T, folder, query string, row func(*sqlite.Stmt)) {
	t.Helper()
	found := 0
	files, err := filepath.Glob(filepath.Join(folder, "*.starts.db"))
	require.NoError(t, err)
	for _, name := range files {
		if strings.HasSuffix(name, ".db") {
			found++
			conn, err := sqlite.OpenConn(name, sqlite.OpenReadOnly)
			require.NoError(t, err)
			require.NoError(t, sqlitex.Execute(conn, query, &sqlitex.ExecOptions{ResultFunc: func(stmt *sqlite.Stmt) error { row(stmt); return nil }}))
			require.NoError(t, conn.Close())
		}
	}
	require.NotZero(t, found)
}

// lock holds the files of starts as a process does that writes them, until release.
func lock(t *testing.T, folder string) (release func()) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.starts.db"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	var conns []*sqlite.Conn
	for _, name := range files {
		conn, err := sqlite.OpenConn(name, sqlite.OpenReadWrite)
		require.NoError(t, err)
		require.NoError(t, sqlitex.ExecuteTransient(conn, "begin immediate", nil))
		conns = append(conns, conn)
	}
	return sync.OnceFunc(func() {
		for _, conn := range conns {
			require.NoError(t, conn.Close())
		}
	})
}
