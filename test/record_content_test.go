package test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// TestContent holds that what is new in a request is kept for the pools that say so, beside the records and nowhere else, once though the key was
// turned; that the request reaches the provider as it came; and that no other pool's is kept.
func TestContent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	gw := gateway.Start(t, gateway.Config{
		Pools: []gateway.Pool{
			{Keys: poolKeys[:2], Settings: map[string]any{"content": true}},
			{Name: "quiet", Keys: poolKeys[2:3]},
		},
		Top: map[string]any{"record": map[string]any{"sqlite": dir, "content": map[string]any{"prompts": true}}},
	})
	gw.Provider.Key(poolKeys[0], scripted.RateLimited(time.Minute)).Key(poolKeys[1], scripted.OK(said)).Key(poolKeys[2], scripted.OK(said))
	const body = `{"model":"gpt-4o-mini", "messages":[{"role":"user","content":"the-old-words"},{"role":"assistant","content":"the-models-words"},{"role":"user","content":"the-new-words"}]}`
	since := time.Now()
	require.Equal(t, http.StatusOK, gw.Post(t, "/v1/chat/completions", body).Status)
	require.Equal(t, http.StatusOK, gw.Post(t, "/quiet/v1/chat/completions", body).Status)
	for _, q := range gw.Provider.Requests() {
		require.Equal(t, body, string(q.Body))
	}
	turn := recorded(t, gw, "openai", since, 1)[0]
	require.Equal(t, "gpt-4o-mini", turn.Asked)
	require.Len(t, turn.Attempts, 2)
	gw.Eventually(t, "what was said", func() bool {
		return strings.Contains(gw.Admin(t, http.MethodGet, "/api/v1/turns/"+turn.ID).Body, `"the-new-words"`)
	})
	got := gw.Admin(t, http.MethodGet, "/api/v1/turns/"+turn.ID).Body
	require.Equal(t, 1, strings.Count(got, "-words"), got)
	quiet := recorded(t, gw, "quiet", since, 1)[0]
	require.NotContains(t, gw.Admin(t, http.MethodGet, "/api/v1/turns/"+quiet.ID).Body, "-words")
	require.NotContains(t, gw.Admin(t, http.MethodGet, "/api/v1/turns?limit=1000").Body, "-words")
	require.NotContains(t, gw.Metrics(t), "-words")
	for _, pattern := range []string{filepath.Join(dir, "*"), filepath.Join(gw.Dir, "*.log")} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, f := range files {
			b, err := os.ReadFile(f)
			require.NoError(t, err)
			require.NotContains(t, string(b), "the-old-words", f)
			if !strings.Contains(filepath.Base(f), "content") {
				require.NotContains(t, string(b), "the-new-words", f)
			}
		}
	}
}
