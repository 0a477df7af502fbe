package ledger

import (
	"encoding/json"
	"testing"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/wire"
)

// TestRecordsHaveNoSecrets: whatever a client or a provider writes into a field that is recorded, no credential is in the record.
func TestRecordsHaveNoSecrets(t *testing.T) {
	const pool, own = "sk-the-pools-own-key-0001", "AIzaSyTheClientsOwnKey0123456789"
	for name, text := range map[string]string{
		"a pool's key": pool, "in a word": "x" + pool + "x", "escaped": "%73k-the-pools-own-key-0001", "a key of somebody's": own, "another": "sk-proj-abcdefghijkl", "bearer": "Bearer abcdefgh12345", "query": "api_key=hidden-value&x=1",
		"escaped query": "api_key%3Dhidden-value", "jwt": "eyJhbGciOiJIUzI1NiJ9.e30.abcdefg",
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			d.SetSecrets([]string{pool})
			d.tell(wire.RequestLog, requestEntry(id1, func(e *accesslogv3.HTTPAccessLogEntry) {
				e.Request.OriginalPath, e.Request.UserAgent = "/v1/"+text+"/x", "agent/1 ("+text+")"
				e.Request.RequestHeaders["session_id"] = text
				e.CommonProperties.Metadata.FilterMetadata["keyturn"] = noted(map[string]any{"client": text})
			}))
			usage := tokens(1, 1)
			usage.Model = text
			d.tell(wire.AttemptLog, attemptEntry(id1, map[string]any{"model": text, "calls": `[["` + text + `","demo","` + text + `",1,0,0,"ok"]]`}, spent(usage)))
			turns := d.made()
			require.Len(t, turns, 1)
			require.Len(t, turns[0].Calls, 1)
			b, err := json.Marshal(turns[0])
			require.NoError(t, err)
			for _, secret := range []string{"pools-own", "ClientsOwn", "abcdefgh", "hidden", "eyJhbGci"} {
				require.NotContains(t, string(b), secret)
			}
		})
	}
	d := newDesk(t)
	d.tell(wire.RequestLog, requestEntry(id1, func(e *accesslogv3.HTTPAccessLogEntry) {
		e.Request.OriginalPath = "/v1/models/gpt-5%253Fkey=hidden"
		e.Request.UserAgent = "codex-cli/1.2 (monkey; token-counter)"
	}))
	d.tell(wire.AttemptLog, attemptEntry(id1, nil, nil))
	turns := d.made()
	require.Equal(t, []string{"/v1/models/gpt-5", "codex-cli/1.2 (monkey; token-counter)"}, []string{turns[0].Path, turns[0].UserAgent}, "what is none stays")
}
