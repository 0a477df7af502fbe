package admin_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/admin"
	"github.com/keyturn/keyturn/internal/record"
	"github.com/keyturn/keyturn/internal/record/recordtest"
)

const (
	adminToken  = "the-admins-own-token"
	viewerToken = "the-viewers-own-token"
)

func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

// recording is an endpoint that has records, one of them with what was said.
func recording(t *testing.T, n int) (*fixture, []*record.Turn) {
	t.Helper()
	f, kept := newFixture(t), record.NewMemory()
	turns := recordtest.Turns(n, 1)
	for i, turn := range turns {
		var said []record.Content
		if i == 0 {
			said = []record.Content{{ID: turn.ID, Kind: record.Prompt, Text: "the-prompt"}}
		}
		kept.Write(turn, said)
	}
	f.Token, f.Viewers, f.Records = adminToken, []string{viewerToken}, &admin.Records{Reader: kept, Follow: kept.Follow}
	return f, turns
}

// TestViewers holds that viewers see records and no word of what was said, and change nothing.
func TestViewers(t *testing.T) {
	f, turns := recording(t, 3)
	for token, sees := range map[string]bool{adminToken: true, viewerToken: false} {
		w := f.do(t, http.MethodGet, "/api/v1/turns/"+turns[0].ID, bearer(token))
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		if sees {
			require.Contains(t, w.Body.String(), "the-prompt")
		} else {
			require.NotContains(t, w.Body.String(), "the-prompt")
		}
		for _, path := range []string{"/api/v1/turns", "/api/v1/spend", "/api/v1/pools", "/metrics"} {
			w := f.do(t, http.MethodGet, path, bearer(token))
			require.Equal(t, http.StatusOK, w.Code, path)
			require.NotContains(t, w.Body.String(), "the-prompt")
		}
	}
	for _, path := range []string{"/api/v1/reload", "/api/v1/pools/openai/keys/a/disable"} {
		w := f.do(t, http.MethodPost, path, bearer(viewerToken))
		require.Equal(t, http.StatusForbidden, w.Code, path)
		code, _ := errorOf(t, w)
		require.Equal(t, "viewer", code)
	}
	require.Equal(t, http.StatusUnauthorized, f.do(t, http.MethodGet, "/api/v1/turns", bearer(viewerToken+"x")).Code)
	require.Equal(t, http.StatusUnauthorized, f.do(t, http.MethodGet, "/api/v1/turns", nil).Code)
}

// TestPages holds that the pages of a list have each record once, the newest first, and that the last page says that it is.
func TestPages(t *testing.T) {
	f, turns := recording(t, 120)
	for _, limit := range []int{1, 7, 50, 120, 1000} {
		seen, pages, after := map[string]bool{}, 0, ""
		last := ""
		for {
			q := url.Values{"limit": {fmt.Sprint(limit)}}
			if after != "" {
				q.Set("after", after)
			}
			w := f.do(t, http.MethodGet, "/api/v1/turns?"+q.Encode(), bearer(viewerToken))
			require.Equal(t, http.StatusOK, w.Code, w.Body)
			var page struct {
				Turns []admin.Turn
				Next  string
			}
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &page))
			require.LessOrEqual(t, len(page.Turns), limit)
			for _, one := range page.Turns {
				require.False(t, seen[one.ID], "twice")
				seen[one.ID] = true
				start := one.Start.Format("2006-01-02T15:04:05.000000")
				require.True(t, last == "" || start <= last, "%s after %s", start, last)
				last = start
			}
			if pages++; page.Next == "" {
				break
			}
			require.LessOrEqual(t, pages, 120)
			after = page.Next
		}
		require.Len(t, seen, len(turns))
	}
	for _, query := range []string{"limit=0x", "limit=1001", "limit=-1", "after=nonsense", "status=9999", "from=yesterday", "clinet=ann", "failed=perhaps"} {
		w := f.do(t, http.MethodGet, "/api/v1/turns?"+query, bearer(adminToken))
		require.Equal(t, http.StatusBadRequest, w.Code, query)
		errorOf(t, w)
	}
	w := f.do(t, http.MethodGet, "/api/v1/turns/nobody's", bearer(adminToken))
	require.Equal(t, http.StatusNotFound, w.Code)
}
