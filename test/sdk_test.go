package test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	aoption "github.com/anthropics/anthropic-sdk-go/option"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/test/gateway"
)

// client is one way to ask a model something: an endpoint, and who speaks to it.
type client struct {
	name, provider, path string
	// ask says hi to the model with this credential and reads the whole answer.
	ask func(t *testing.T, gw *gateway.Gateway, pool, credential string, stream bool) reply
}

// reply is what a client understood of an answer.
type reply struct {
	status             int
	header             http.Header // of errors
	text               string      // what the model said
	typ, code, message string      // of the error
}

// clients are plain HTTP and the providers' SDKs, without retries of their own.
var clients = []client{
	{"http responses", "openai", "/v1/responses", askPlain("/v1/responses", `{"model":"gpt-4o-mini","input":"hi","stream":%t}`)},
	{"http chat", "openai", "/v1/chat/completions", askPlain("/v1/chat/completions",
		`{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}],"stream":%t}`)},
	{"http messages", "anthropic", "/v1/messages", askPlain("/v1/messages",
		`{"model":"claude-sonnet-4-5","max_tokens":64,"messages":[{"role":"user","content":"hi"}],"stream":%t}`)},
	{"openai-go responses", "openai", "/v1/responses", askResponses},
	{"openai-go chat", "openai", "/v1/chat/completions", askChat},
	{"anthropic-sdk-go messages", "anthropic", "/v1/messages", askMessages},
}

// askPlain is curl, more or less. Its reading of the dialects is of the simplest kind.
func askPlain(path, body string) func(*testing.T, *gateway.Gateway, string, string, bool) reply {
	return func(t *testing.T, gw *gateway.Gateway, pool, credential string, stream bool) reply {
		t.Helper()
		header := []string{"Authorization", "Bearer " + credential}
		if path == "/v1/messages" {
			header = []string{"X-Api-Key", credential, "Anthropic-Version", "2023-06-01"}
		}
		resp := gw.Post(t, "/"+pool+path, fmt.Sprintf(body, stream), header...)
		got := reply{status: resp.Status, header: resp.Header}
		kind := "application/json"
		if stream && resp.Status == http.StatusOK {
			kind = "text/event-stream"
			last := map[string]string{"/v1/responses": "event: response.completed\n", "/v1/chat/completions": "data: [DONE]\n\n", "/v1/messages": "event: message_stop\n"}[path]
			require.Contains(t, resp.Body, last)
		}
		require.Contains(t, resp.Header.Get("Content-Type"), kind)
		if resp.Status == http.StatusOK {
			got.text = textOf(t, resp.Body)
			return got
		}
		got.typ, got.code, got.message = problemOf(t, resp.Body, path == "/v1/messages")
		return got
	}
}

// textOf is what the model said, in a stream or in a whole answer of any dialect.
func textOf(t *testing.T, body string) string {
	t.Helper()
	if strings.HasPrefix(body, "{") {
		body = "data: " + body
	}
	var text strings.Builder
	lines := bufio.NewScanner(strings.NewReader(body))
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok || data == "[DONE]" {
			continue
		}
		var v struct {
			Type    string
			Delta   json.RawMessage
			Output  []struct{ Content []struct{ Text string } }
			Content []struct{ Text string }
			Choices []struct{ Delta, Message struct{ Content string } }
		}
		require.NoError(t, json.Unmarshal([]byte(data), &v), data)
		switch v.Type {
		case "response.output_text.delta":
			var s string
			require.NoError(t, json.Unmarshal(v.Delta, &s))
			text.WriteString(s)
		case "content_block_delta":
			var d struct{ Text string }
			require.NoError(t, json.Unmarshal(v.Delta, &d))
			text.WriteString(d.Text)
		}
		for _, o := range v.Output {
			text.WriteString(o.Content[0].Text)
		}
		for _, c := range v.Content {
			text.WriteString(c.Text)
		}
		for _, c := range v.Choices {
			text.WriteString(c.Delta.Content + c.Message.Content)
		}
	}
	return text.String()
}

// problemOf reads an error in OpenAI's shape or in Anthropic's. Envoy's own errors have both.
func problemOf(t *testing.T, body string, anthropics bool) (typ, code, message string) {
	t.Helper()
	var v struct {
		Type  *string
		Error struct{ Type, Code, Message string }
	}
	require.NoError(t, json.Unmarshal([]byte(body), &v), body)
	if anthropics {
		require.NotNil(t, v.Type, body)
	}
	if v.Type != nil {
		require.Equal(t, "error", *v.Type)
	}
	require.NotEmpty(t, v.Error.Message, body)
	return v.Error.Type, v.Error.Code, v.Error.Message
}

// sdkHTTP is the HTTP client of the SDKs: Go's own, which asks for gzip.
func sdkHTTP(t *testing.T) *http.Client {
	c := &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func openAIClient(t *testing.T, gw *gateway.Gateway, pool, credential string) openai.Client {
	return openai.NewClient(option.WithBaseURL(gw.URL+"/"+pool+"/v1/"), option.WithAPIKey(credential),
		option.WithHTTPClient(sdkHTTP(t)), option.WithMaxRetries(0))
}

func askResponses(t *testing.T, gw *gateway.Gateway, pool, credential string, stream bool) reply {
	t.Helper()
	c := openAIClient(t, gw, pool, credential)
	params := responses.ResponseNewParams{Model: "gpt-4o-mini", Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("hi")}}
	if !stream {
		r, err := c.Responses.New(t.Context(), params)
		if err != nil {
			return openAIError(t, err)
		}
		return reply{status: http.StatusOK, text: r.OutputText()}
	}
	s := c.Responses.NewStreaming(t.Context(), params)
	var text, last string
	for s.Next() {
		e := s.Current()
		last = e.Type
		if d, ok := e.AsAny().(responses.ResponseTextDeltaEvent); ok {
			text += d.Delta
		}
	}
	if s.Err() != nil {
		return openAIError(t, s.Err())
	}
	require.NoError(t, s.Close())
	require.Equal(t, "response.completed", last)
	return reply{status: http.StatusOK, text: text}
}

func askChat(t *testing.T, gw *gateway.Gateway, pool, credential string, stream bool) reply {
	t.Helper()
	c := openAIClient(t, gw, pool, credential)
	params := openai.ChatCompletionNewParams{Model: "gpt-4o-mini", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("hi")}}
	if !stream {
		r, err := c.Chat.Completions.New(t.Context(), params)
		if err != nil {
			return openAIError(t, err)
		}
		return reply{status: http.StatusOK, text: r.Choices[0].Message.Content}
	}
	s := c.Chat.Completions.NewStreaming(t.Context(), params)
	var whole openai.ChatCompletionAccumulator
	for s.Next() {
		require.True(t, whole.AddChunk(s.Current()))
	}
	if s.Err() != nil {
		return openAIError(t, s.Err())
	}
	require.NoError(t, s.Close())
	require.Equal(t, "stop", whole.Choices[0].FinishReason)
	return reply{status: http.StatusOK, text: whole.Choices[0].Message.Content}
}

func openAIError(t *testing.T, err error) reply {
	t.Helper()
	e, ok := errors.AsType[*openai.Error](err)
	require.True(t, ok, "%v", err)
	return reply{status: e.StatusCode, header: e.Response.Header, typ: e.Type, code: e.Code, message: e.Message}
}

func anthropicClient(t *testing.T, gw *gateway.Gateway, pool, credential string) anthropic.Client {
	return anthropic.NewClient(aoption.WithBaseURL(gw.URL+"/"+pool), aoption.WithAPIKey(credential),
		aoption.WithHTTPClient(sdkHTTP(t)), aoption.WithMaxRetries(0))
}

func askMessages(t *testing.T, gw *gateway.Gateway, pool, credential string, stream bool) reply {
	t.Helper()
	c := anthropicClient(t, gw, pool, credential)
	params := anthropic.MessageNewParams{
		Model: "claude-sonnet-4-5", MaxTokens: 64, Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("hi"))},
	}
	if !stream {
		m, err := c.Messages.New(t.Context(), params)
		if err != nil {
			return anthropicError(t, err)
		}
		return reply{status: http.StatusOK, text: m.Content[0].Text}
	}
	s := c.Messages.NewStreaming(t.Context(), params)
	var m anthropic.Message
	for s.Next() {
		require.NoError(t, m.Accumulate(s.Current()))
	}
	if s.Err() != nil {
		return anthropicError(t, s.Err())
	}
	require.NoError(t, s.Close())
	require.EqualValues(t, "end_turn", m.StopReason)
	return reply{status: http.StatusOK, text: m.Content[0].Text}
}

func anthropicError(t *testing.T, err error) reply {
	t.Helper()
	e, ok := errors.AsType[*anthropic.Error](err)
	require.True(t, ok, "%v", err)
	_, _, message := problemOf(t, e.RawJSON(), true)
	return reply{status: e.StatusCode, header: e.Response.Header, typ: string(e.Type()), message: message}
}
