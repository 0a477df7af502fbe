package dialect

import (
	"bytes"
	"unicode/utf8"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
)

// outputNames are the members in which requests say how many tokens the model may write at most.
var outputNames = [...]string{"max_output_tokens", "max_completion_tokens", "max_tokens"}

// Asks reads the model of a request, and how many tokens it may write at most; 0: the request does not say. Where parsers may not agree which
// model is meant, ok is false.
func Asks(body []byte) (model string, output int64, ok bool) {
	if !rawjson.Valid(body) || !utf8.Valid(body) {
		return "", 0, false
	}
	found := 0
	for member := range rawjson.Members(body, rawjson.Whole(body)) {
		value := member.Val.Of(body)
		if bytes.EqualFold(member.Name, []byte("model")) {
			found++
			if string(member.Name) == "model" && len(value) > 0 && value[0] == '"' {
				model = rawjson.Unquote(value)
			}
			continue
		}
		for _, name := range outputNames {
			if string(member.Name) == name {
				if n, isInt := rawjson.ParseInt(value); isInt {
					output = max(output, n)
				}
			}
		}
	}
	return model, output, found == 1 && model != ""
}

// PromptCacheKey reads what a request of Responses says to bring it where its prompt is cached (prompt_cache_key, OpenAI's API reference: requests that
// begin alike); "" where it says nothing, or is no JSON object in which that stands once.
func PromptCacheKey(body []byte) string {
	var at rawjson.Span
	if !rawjson.ReadFields(body, func(name string) *rawjson.Span {
		if name == "prompt_cache_key" {
			return &at
		}
		return nil
	}) || !at.Found() || body[at.Start] != '"' {
		return ""
	}
	return rawjson.Unquote(at.Of(body))
}
