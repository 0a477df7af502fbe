package test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/test/gateway"
	"github.com/keyturn/keyturn/test/postgres"
)

// TestRecordsOutliveTheProcess holds that each store has what was recorded when keyturn starts again.
func TestRecordsOutliveTheProcess(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "url")
	require.NoError(t, os.WriteFile(secret, []byte(postgres.Start(t).Database(t)), 0o600))
	for name, settings := range map[string]map[string]any{
		"sqlite": {"sqlite": filepath.Join(t.TempDir(), "records")}, "postgres": {"postgres": map[string]any{"url": map[string]any{"file": secret}}},
	} {
		t.Run(name, func(t *testing.T) {
			gw := gateway.Start(t, gateway.Config{Top: map[string]any{"record": settings}})
			gw.Provider.Default(good)
			since := time.Now()
			gw.Post(t, "/v1/responses", `{"model":"m"}`)
			before := recorded(t, gw, "openai", since, 1)
			gw.StopProcessor(t)
			gw.StartProcessor(t)
			require.Equal(t, before, recorded(t, gw, "openai", since, 1))
			resp := gw.Admin(t, http.MethodGet, "/api/v1/turns/"+before[0].ID)
			require.Equal(t, http.StatusOK, resp.Status, resp.Body)
		})
	}
}
