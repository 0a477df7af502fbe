package test

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// TestStateElsewhere: a request that names what another organisation's key holds goes to that key, and waits for it where it rests. No key is blamed.
func TestStateElsewhere(t *testing.T) {
	t.Parallel()
	const body = `{"model":"m","input":"hi","previous_response_id":"resp_1"}`
	keys := []string{"k0-long-key", "k1-long-key", "k2-long-key"}
	ok, resting := scripted.OK("hello"), scripted.RateLimited(90*time.Second)
	gone := scripted.Status(400, `{"error":{"message":"Previous response with id 'resp_1' not found.","type":"invalid_request_error","param":"previous_response_id","code":"previous_response_not_found"}}`)
	sealed := scripted.Status(400, `{"error":{"message":"The encrypted content gAAA...yg== could not be verified.","type":"invalid_request_error","param":null,"code":"invalid_encrypted_content"}}`)
	other := scripted.Status(400, `{"error":{"message":"Unknown parameter: 'x'.","type":"invalid_request_error","param":"x","code":"unknown_parameter"}}`)
	surface := map[string]any{"policy": map[string]any{"rules": []any{map[string]any{"code": "invalid_encrypted_content", "action": "surface"}}}}
	for _, tc := range []struct {
		name     string
		answers  [3]scripted.Answer
		groups   []string
		settings map[string]any
		status   int
		tried    int  // keys that the provider has seen
		wait     bool // the client reads when to come back
		states   []string
	}{
		{"the second key has it", [3]scripted.Answer{gone, ok, ok}, nil, nil, 200, 2, false, []string{"valid", "valid", "valid"}},
		{"the third has it", [3]scripted.Answer{sealed, sealed, ok}, nil, nil, 200, 3, false, []string{"valid", "valid", "valid"}},
		{"one organisation is asked once", [3]scripted.Answer{sealed, sealed, ok}, []string{"a", "a", "b"}, nil, 200, 2, false, []string{"valid", "valid", "valid"}},
		{"nobody has it", [3]scripted.Answer{gone, gone, gone}, nil, nil, 400, 3, false, []string{"valid", "valid", "valid"}},
		{"who has it rests", [3]scripted.Answer{resting, sealed, sealed}, nil, nil, 429, 3, true, []string{"temporary", "valid", "valid"}},
		{"who rests is of the same organisation", [3]scripted.Answer{resting, sealed, sealed}, []string{"a", "a", "a"}, nil, 400, 2, false, []string{"temporary", "valid", "valid"}},
		{"who had it is revoked", [3]scripted.Answer{scripted.Unauthorized(), sealed, sealed}, nil, nil, 400, 3, false, []string{"permanent", "valid", "valid"}},
		{"by policy", [3]scripted.Answer{resting, sealed, ok}, nil, surface, 400, 2, false, []string{"temporary", "valid", "valid"}},
		{"another fault", [3]scripted.Answer{resting, other, ok}, nil, nil, 400, 2, false, []string{"temporary", "valid", "valid"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for _, tools := range []bool{false, true} {
				gw := gateway.Start(t, gateway.Config{Tools: tools, Pools: []gateway.Pool{{Keys: keys, Groups: tc.groups, Settings: tc.settings}}})
				for i, k := range keys {
					gw.Provider.Key(k, tc.answers[i])
				}
				resp := gw.Post(t, "/v1/responses", body)
				require.Equal(t, tc.status, resp.Status, resp.Body)
				require.Len(t, gw.Provider.Keys(), tc.tried)
				require.Equal(t, tc.states, gw.States(t, "openai"))
				seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
				if !tc.wait {
					require.Error(t, err)
					continue
				}
				require.NoError(t, err)
				require.InDelta(t, 90, seconds, 30)
				require.Equal(t, "rate_limited", resp.Header.Get("x-keyturn-error"))
			}
		})
	}
}

// TestStatelessResponses: what stands in the place of a response's id and keeps nothing goes on with the keys of all organisations.
func TestStatelessResponses(t *testing.T) {
	t.Parallel()
	gw := gateway.Start(t, gateway.Config{Pools: []gateway.Pool{{Keys: []string{"k0-long-key", "k1-long-key"}}}})
	gw.Provider.Key("k0-long-key", scripted.RateLimited(time.Minute)).Key("k1-long-key", scripted.Status(200, "{}"))
	for path, status := range map[string]int{
		"/v1/responses/compact": 200, "/v1/responses/input_tokens": 200, "/v1/messages/count_tokens": 200, "/v1/responses/compact?x=1": 200,
		"/v1/responses/resp_1": 429, "/v1/responses/resp_1/cancel": 429, "/v1/files/compact": 429,
	} {
		require.Equal(t, status, gw.Post(t, path, `{"model":"m"}`).Status, path)
	}
	require.Equal(t, http.StatusOK, gw.Post(t, "/v1/audio/transcriptions", "--b--", "Content-Type", "multipart/form-data; boundary=b").Status)
}
