package keypool_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/keyturn/keyturn/keypool"
)

// client asks a provider with the keys of a pool.
type client struct {
	pool     *keypool.Pool
	provider string // base URL
}

// maxError bounds how much of an error is read, in bytes.
const maxError = 1 << 20

// post sends a request with one key after another, until an answer is the caller's: a good one, or one that no other key would change. The model
// is for limits that concern it alone; "" when it is not known.
func (c *client) post(path, model string, body []byte) (*http.Response, error) {
	walker := c.pool.Walker().For(model)
	defer walker.Release()
	weak := false // a key of this request was retired on weak evidence
	for {
		key, none := walker.Next()
		if none != nil {
			return nil, none // every key rests, or was refused
		}
		req, err := http.NewRequest(http.MethodPost, c.provider+path, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+key.Secret())
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, err // nobody's fault that a key could change
		}
		if resp.StatusCode < 400 {
			key.MarkSuccess()
			return resp, nil
		}
		said, err := io.ReadAll(io.LimitReader(resp.Body, maxError))
		resp.Body.Close()
		if err != nil {
			return nil, err
		}
		verdict := keypool.Classify(c.pool.Policy(), keypool.Answer{
			Status: resp.StatusCode, Body: said, Now: time.Now(), Path: path, Model: model,
			Header: func(name string) string { return strings.Join(resp.Header.Values(name), ", ") },
		})
		if weak {
			verdict = verdict.Spare()
		}
		weak = weak || verdict.Weak
		c.pool.Mark(key, verdict, model)
		if verdict.Action == keypool.Surface {
			resp.Body = io.NopCloser(bytes.NewReader(said))
			return resp, nil
		}
	}
}

// A plain HTTP client that fails over: the first key is rate-limited, the second one disabled, and the third serves.
func Example_httpClient() {
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("Authorization") {
		case "Bearer sk-first-key-0123456789":
			w.Header().Set("Retry-After", "20")
			w.WriteHeader(http.StatusTooManyRequests)
		case "Bearer sk-second-key-0123456789":
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"error":{"message":"This API key has been disabled."}}`)
		default:
			_, _ = io.WriteString(w, "hello")
		}
	}))
	defer provider.Close()
	pool, err := keypool.New([]string{"sk-first-key-0123456789", "sk-second-key-0123456789", "sk-third-key-0123456789"}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	c := &client{pool: pool, provider: provider.URL}

	resp, err := c.post("/v1/chat/completions", "", []byte(`{"model":"m"}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(resp.Body)
	fmt.Println(resp.StatusCode, string(said))
	for _, s := range pool.Snapshot() {
		fmt.Println(s.Name, s.State, s.Reason)
	}

	// Output:
	// 200 hello
	// key-1 temporary rate_limit
	// key-2 permanent credential
	// key-3 valid none
}
