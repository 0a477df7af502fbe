package openai_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect/openai"
	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

func TestReadFailure(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		status   int
		e        turn.Error
		body     string
	}{
		{
			"a code that tells", `{"type":"requests","code":"rate_limit_exceeded","message":"Slow down.","param":null}`, 429,
			turn.Error{Type: "requests", Code: "rate_limit_exceeded", Message: "Slow down."},
			`{"error":{"type":"requests","code":"rate_limit_exceeded","message":"Slow down.","param":null}}`,
		},
		{
			"a type that tells", `{"type":"invalid_api_key","message":"No."}`, 401,
			turn.Error{Type: "invalid_api_key", Message: "No."},
			`{"error":{"type":"invalid_api_key","code":null,"message":"No.","param":null}}`,
		},
		{
			"a status for a code (OpenRouter)", `{"code":503,"message":"Busy."}`, 503,
			turn.Error{Type: "api_error", Code: "503", Message: "Busy."},
			`{"error":{"type":"api_error","code":503,"message":"Busy.","param":null}}`,
		},
		{
			"a number that is no status", `{"code":7,"message":"Odd."}`, 0,
			turn.Error{Type: "api_error", Code: "7", Message: "Odd."},
			`{"error":{"type":"api_error","code":7,"message":"Odd.","param":null}}`,
		},
		{"the event's own type says nothing", `{"type":"error","code":"insufficient_quota"}`, 429, turn.Error{Type: "rate_limit_error", Code: "insufficient_quota"}, ""},
		{"401", `{"code":401}`, 401, turn.Error{Type: "authentication_error", Code: "401"}, ""},
		{"403", `{"code":"forbidden"}`, 403, turn.Error{Type: "permission_error", Code: "forbidden"}, ""},
		{"500", `{"code":"server_error"}`, 500, turn.Error{Type: "api_error", Code: "server_error"}, ""},
		{"nothing", `{}`, 0, turn.Error{Type: "api_error"}, `{"error":{"type":"api_error","code":null,"message":null,"param":null}}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := []byte("x " + tc.in)
			f := openai.ReadFailure(in, rawjson.Span{Start: 2, End: len(in)})
			require.Equal(t, tc.e, f.Error)
			require.Equal(t, tc.status, f.Status)
			if tc.body != "" {
				require.Equal(t, tc.body, string(f.Body))
			}
		})
	}
}

func TestContentText(t *testing.T) {
	for in, want := range map[string]string{
		`"a\n"`: "a\n", `null`: "", `[]`: "", `[{"type":"text","text":"a"},{"type":"image_url"},{"text":"b"}]`: "ab", `{}`: "",
	} {
		require.Equal(t, want, openai.ContentText([]byte(in), rawjson.Whole([]byte(in))), in)
	}
	require.Empty(t, openai.ContentText(nil, rawjson.Span{}))
}
