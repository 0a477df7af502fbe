package dialect_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
)

func TestOf(t *testing.T) {
	for _, tc := range []struct {
		path string
		want dialect.Dialect
	}{
		{"/v1/responses", dialect.Responses},
		{"/v1/responses/", dialect.Responses},
		{"/v1/responses?stream=true", dialect.Responses},
		{"/v1/responses/resp_1", nil},
		{"/v1/chat/completions", dialect.Chat},
		{"/openai/deployments/gpt/chat/completions?api-version=1", dialect.Chat},
		{"/v1/completions", nil},
		{"/v1/messages", dialect.Messages},
		{"/v1/messages/count_tokens", nil},
		{"/v1/models?x=/v1/messages", nil},
		{"", nil},
		{"/", nil},
	} {
		require.Equal(t, tc.want, dialect.Of(tc.path), tc.path)
	}
}

func TestErrorBody(t *testing.T) {
	e := dialect.Error{Type: "rate_limit_error", Code: "rate_limit_exceeded", Message: "all configured keys are rate-limited"}
	const openAI = `{"error":{"code":"rate_limit_exceeded","message":"all configured keys are rate-limited","param":"","type":"rate_limit_error"}}`
	for _, d := range []dialect.Dialect{dialect.Responses, dialect.Chat, nil} {
		require.JSONEq(t, openAI, string(dialect.ErrorBody(d, e)), dialect.Name(d))
	}
	require.JSONEq(t, `{"type":"error","error":{"type":"rate_limit_error","message":"all configured keys are rate-limited"},"request_id":""}`,
		string(dialect.Messages.ErrorBody(e)))
}
