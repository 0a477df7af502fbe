package dialect_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
)

// What two parsers may read differently names no model.
func TestAsks(t *testing.T) {
	for body, want := range map[string]struct {
		model  string
		output int64
		ok     bool
	}{
		`{"model":"m","max_tokens":7}`:                           {"m", 7, true},
		`{"model":"m","max_tokens":7,"max_completion_tokens":9}`: {"m", 9, true},
		` {"input":{"model":"other"},"mod\u0065l":"m\u0031"} `:   {"m1", 0, true},
		`{"model":"a","model":"b"}`:                              {"b", 0, false},
		`{"model":"a","mod\u0065l":"b"}`:                         {"b", 0, false},
		`{"model":"a","Model":"b"}`:                              {"a", 0, false},
		`{"MODEL":"a"}`:                                          {"", 0, false},
		`{"model":1}`:                                            {"", 0, false},
		`{"model":null}`:                                         {"", 0, false},
		`{"model":""}`:                                           {"", 0, false},
		`{"input":"x","max_output_tokens":5}`:                    {"", 5, false},
		`{"model":"m","max_tokens":-1}`:                          {"m", 0, true},
		`{"model":"m","max_tokens":1e99}`:                        {"m", 0, true},
		`["model"]`:                                              {"", 0, false},
		`{"model":"m"`:                                           {"", 0, false},
		`{"model":"m"}{"model":"b"}`:                             {"", 0, false},
		"{\"model\":\"\xff\"}":                                   {"", 0, false},
		``:                                                       {"", 0, false},
	} {
		model, output, ok := dialect.Asks([]byte(body))
		require.Equal(t, want.ok, ok, body)
		require.Equal(t, want.output, output, body)
		if ok {
			require.Equal(t, want.model, model, body)
		}
	}
}

func FuzzAsks(f *testing.F) {
	f.Add([]byte(`{"model":"m","max_tokens":7}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if model, output, ok := dialect.Asks(body); ok {
			require.NotEmpty(t, model)
			require.GreaterOrEqual(t, output, int64(0))
		}
	})
}

func TestPromptCacheKey(t *testing.T) {
	for body, want := range map[string]string{
		`{"input":{"prompt_cache_key":"other"},"prompt_cache_k\u0065y":"a\u0062"}`: "ab",
		`{"prompt_cache_key":"a","prompt_cache_key":"b"}`:                          "",
		`{"prompt_cache_key":null}`:                                                "",
		`{"prompt_cache_key":7}`:                                                   "",
		`{"prompt_cache_key":"a"`:                                                  "",
		`["prompt_cache_key"]`:                                                     "",
		`{}`:                                                                       "",
		``:                                                                         "",
	} {
		require.Equal(t, want, dialect.PromptCacheKey([]byte(body)), body)
	}
}
