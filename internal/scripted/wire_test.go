package scripted_test

import (
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
)

var rewrite = flag.Bool("rewrite", false, "write the answers into testdata instead of comparing with it")

// TestOnTheWire holds the exact bytes of the answers, to be read beside the APIs' references. In each file the comment is the
// path, "request" the body, "whole" the answer to it and "stream" the answer with "stream": true.
func TestOnTheWire(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	times := regexp.MustCompile(`("(?:created|created_at|completed_at)":)\d+`)
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			require.NoError(t, err)
			require.Len(t, a.Files, 3)
			request := strings.TrimSpace(string(a.Files[0].Data))
			for i, body := range []string{request, strings.Replace(request, "{", `{"stream":true,`, 1)} {
				_, srv := provider(t, scripted.OK("Hello, world"))
				r := post(t, srv, strings.TrimSpace(string(a.Comment)), body)
				require.Equal(t, http.StatusOK, r.status)
				got := strings.TrimSpace(times.ReplaceAllString(r.body, "${1}0")) + "\n"
				if *rewrite {
					a.Files[i+1].Data = []byte(got)
				}
				require.Equal(t, string(a.Files[i+1].Data), got)
			}
			if *rewrite {
				require.NoError(t, os.WriteFile(name, txtar.Format(a), 0o600))
			}
		})
	}
}
