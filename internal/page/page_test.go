package page

import (
	"bytes"
	"compress/gzip"
	"io/fs"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestWeight holds the page to 60 KB, compressed.
func TestWeight(t *testing.T) {
	var all bytes.Buffer
	out, err := gzip.NewWriterLevel(&all, gzip.BestCompression)
	require.NoError(t, err)
	n := 0
	require.NoError(t, fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		n++
		b, err := files.ReadFile(path)
		require.NoError(t, err)
		_, err = out.Write(b)
		return err
	}))
	require.NoError(t, out.Close())
	require.Greater(t, n, 10)
	require.Less(t, all.Len(), 60<<10)
}

func TestAssets(t *testing.T) {
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		Assets().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", path, nil))
		return w
	}
	for _, name := range assetNames {
		w := get(AssetPath + name + "?v=" + Build)
		require.Equal(t, 200, w.Code, name)
		require.Contains(t, w.Header().Get("Cache-Control"), "immutable", name)
		require.Equal(t, "no-cache", get(AssetPath+name+"?v=old").Header().Get("Cache-Control"), name)
	}
	for _, path := range []string{"", "nothing.js", "../templates/frame.html", "..%2fpage.go", "page", "./page.js"} {
		require.Equal(t, 404, get(AssetPath+path).Code, path)
	}
}

// TestNothingFromElsewhere has no file of ours name a script, a style or a font of another host, or script and style within the page.
func TestNothingFromElsewhere(t *testing.T) {
	for _, pattern := range []string{"templates/*.html", "static/page.*", "static/live.js", "static/chart.js"} {
		names, err := fs.Glob(files, pattern)
		require.NoError(t, err)
		require.NotEmpty(t, names)
		for _, name := range names {
			b, err := files.ReadFile(name)
			require.NoError(t, err)
			for _, bad := range []string{"https://", "src=\"//", "@import", "<style", " style=", "onclick", "eval("} {
				require.NotContains(t, strings.ReplaceAll(string(b), "2026-12-01T00:00:00Z", ""), bad, name)
			}
		}
	}
}

func TestWords(t *testing.T) {
	require.Equal(t, []string{"0", "999", "1 000", "-12 345 678"}, []string{count(0), count(int64(999)), count(uint64(1000)), count(-12345678)})
	require.Equal(t, []string{"$0", "<$0.0001", "$0.0015", "$12.35", "$0"}, []string{dollars("0"), dollars("0.000000005"), dollars("0.0015"), dollars("12.345"), dollars("x")})
	require.Equal(t, []string{"–", "1.5 ms", "250 ms", "1.5 s", "2m5s"}, []string{took(0), took(.0015), took(.25), took(1.5), took(125)})
	require.Equal(t, []string{"–", "33.3 %", "99.9 %"}, []string{percent(1, 0), percent(1, 3), percent(9999, 10000)})
	require.Equal(t, "abc…", short(4, "abcdef"))
	require.Equal(t, "M4 24v-24h2v24z", spark([]uint32{0, 0, 2}, []uint32{0, 0, 1}).Requests)
	require.Equal(t, "M4 24v-12h2v12z", spark([]uint32{0, 0, 2}, []uint32{0, 0, 1}).Failures)
	require.Equal(t, "curl -s 'http://h/x?a=%27'", curl(&Frame{Base: "http://h", Twin: "/x?a='"}))
}
