package turn_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect/turn"
)

func TestReadError(t *testing.T) {
	for _, tc := range []struct {
		name   string
		status int
		body   string
		want   turn.Error
	}{
		{"OpenAI's", 400, `{"error":{"type":"a","code":"b","message":"c"}}`, turn.Error{Type: "a", Code: "b", Message: "c"}},
		{"Anthropic's", 529, `{"type":"error","error":{"type":"overloaded_error","message":"c"}}`, turn.Error{Type: "overloaded_error", Code: "server_error", Message: "c"}},
		{"Gemini's", 400, `[{"error":{"code":400,"status":"INVALID","message":"c"}},{"error":{"message":"other"}}]`, turn.Error{Type: "invalid_request_error", Code: "invalid_request", Message: "c"}},
		{"without an envelope", 404, `{"type":"error","code":"gone","message":"c"}`, turn.Error{Type: "invalid_request_error", Code: "gone", Message: "c"}},
		{"not even an error", 400, `{"error":"c"}`, turn.Error{Type: "invalid_request_error", Code: "invalid_request", Message: "the provider answered the next turn with status 400 and no error that can be read"}},
		{"a limit", 429, `{}`, turn.Error{Type: "rate_limit_error", Code: "rate_limit_exceeded", Message: "the provider answered the next turn with status 429 and no error that can be read"}},
		{"the last of the client's", 499, `[]`, turn.Error{Type: "invalid_request_error", Code: "invalid_request", Message: "the provider answered the next turn with status 499 and no error that can be read"}},
		{"the first of the server's", 500, ``, turn.Error{Type: "api_error", Code: "server_error", Message: "the provider answered the next turn with status 500 and no error that can be read"}},
		{"the last before", 399, `null`, turn.Error{Type: "api_error", Code: "server_error", Message: "the provider answered the next turn with status 399 and no error that can be read"}},
		{"the first of the client's", 400, `"text"`, turn.Error{Type: "invalid_request_error", Code: "invalid_request", Message: "the provider answered the next turn with status 400 and no error that can be read"}},
		{"broken JSON", 500, `{"error":{"message":"c"}`, turn.Error{Type: "api_error", Code: "server_error", Message: "the provider answered the next turn with status 500 and no error that can be read"}},
	} {
		require.Equal(t, tc.want, turn.ReadError(tc.status, []byte(tc.body)), tc.name)
	}
}
