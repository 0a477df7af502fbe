package scripted_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/anthropics/anthropic-sdk-go"
	aoption "github.com/anthropics/anthropic-sdk-go/option"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
)

// The real clients are the judges of the shapes here. Where they forgive what is missing, requireComplete does not.

const said = "Hello there, this is a scripted model. It says <b>this</b> & „that“ 🌍."

func openAIClient(t *testing.T, srv *scripted.Server) *openai.Client {
	t.Helper()
	return new(openai.NewClient(
		option.WithBaseURL(srv.URL+"/v1/"), option.WithAPIKey(good), option.WithHTTPClient(client(t)), option.WithMaxRetries(0),
	))
}

func anthropicClient(t *testing.T, srv *scripted.Server) *anthropic.Client {
	t.Helper()
	return new(anthropic.NewClient(
		aoption.WithBaseURL(srv.URL), aoption.WithAPIKey(good), aoption.WithHTTPClient(client(t)), aoption.WithMaxRetries(0),
	))
}

// requireComplete finds members that the API's schema requires and the answer lacks: the clients' types carry the schema in
// their tags, and beside each object which of its members were there.
func requireComplete(t *testing.T, v any) {
	t.Helper()
	var missing []string
	lacking(reflect.ValueOf(v), reflect.TypeOf(v).String(), &missing)
	require.Empty(t, missing)
}

func lacking(v reflect.Value, path string, missing *[]string) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			lacking(v.Elem(), path, missing)
		}
	case reflect.Slice:
		for i := range v.Len() {
			lacking(v.Index(i), path, missing)
		}
	case reflect.Struct:
		meta := v.FieldByName("JSON")
		if !meta.IsValid() || strings.HasSuffix(v.Type().Name(), "Union") {
			return
		}
		for i := range v.NumField() {
			field := v.Type().Field(i)
			state := meta.FieldByName(field.Name)
			if field.Name == "JSON" || !state.IsValid() {
				continue
			}
			raw := state.Interface().(interface{ Raw() string }).Raw()
			if _, always := field.Tag.Lookup("default"); raw == "" && (always || field.Tag.Get("api") == "required") {
				*missing = append(*missing, path+"."+field.Name)
			}
			if raw != "" && raw != "null" {
				lacking(v.Field(i), path+"."+field.Name, missing)
			}
		}
	default:
	}
}

func responseParams() responses.ResponseNewParams {
	return responses.ResponseNewParams{
		Model: "gpt-x", Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("hi")},
		Instructions: openai.String("be brief"), Store: openai.Bool(false), Temperature: openai.Float(0.5),
		Tools: []responses.ToolUnionParam{responses.ToolParamOfFunction("f", map[string]any{"type": "object"}, true)},
	}
}

func TestResponsesWithTheSDK(t *testing.T) {
	_, srv := provider(t, scripted.OK(said).Usage(11, 22))
	got, err := openAIClient(t, srv).Responses.New(t.Context(), responseParams())
	require.NoError(t, err)
	requireCompleted(t, got)
}

func requireCompleted(t *testing.T, r *responses.Response) {
	t.Helper()
	requireComplete(t, r)
	require.Equal(t, said, r.OutputText())
	require.EqualValues(t, "completed", r.Status)
	require.Equal(t, "gpt-x", r.Model)
	require.Equal(t, "be brief", r.Instructions.OfString)
	require.InDelta(t, 0.5, r.Temperature, 0)
	require.Len(t, r.Tools, 1, "the settings come back as they were sent")
	require.Equal(t, "null", r.JSON.Error.Raw())
	require.EqualValues(t, 33, r.Usage.TotalTokens)
	message := r.Output[0].AsMessage()
	requireComplete(t, message)
	requireComplete(t, message.Content[0].AsOutputText())
}

func TestResponsesStreamWithTheSDK(t *testing.T) {
	_, srv := provider(t, scripted.OK(said).Usage(11, 22))
	stream := openAIClient(t, srv).Responses.NewStreaming(t.Context(), responseParams())
	var types []string
	var final responses.Response
	var acc responses.ResponseAccumulator
	text, id, item := "", "", ""
	for n := 0; stream.Next(); n++ {
		e := stream.Current()
		require.EqualValues(t, n, e.SequenceNumber)
		require.Zero(t, e.OutputIndex)
		if types = append(types, e.Type); len(types) > 1 && types[n] == types[n-1] {
			types = types[:n] // deltas are counted once
			types = append(types, e.Type)
		}
		requireComplete(t, e.AsAny())
		var ws responses.ResponsesServerEventUnion
		require.NoError(t, json.Unmarshal([]byte(e.RawJSON()), &ws))
		require.NoError(t, acc.AddEvent(ws))
		switch e := e.AsAny().(type) {
		case responses.ResponseCreatedEvent:
			id = e.Response.ID
		case responses.ResponseOutputItemAddedEvent:
			item = e.Item.ID
			requireComplete(t, e.Item.AsMessage())
		case responses.ResponseTextDeltaEvent:
			text += e.Delta
			require.Equal(t, item, e.ItemID)
		case responses.ResponseTextDoneEvent:
			require.Equal(t, said, e.Text)
		case responses.ResponseContentPartDoneEvent:
			require.Equal(t, said, e.Part.Text)
		case responses.ResponseOutputItemDoneEvent:
			require.Equal(t, item, e.Item.ID)
		case responses.ResponseCompletedEvent:
			final = e.Response
			require.Equal(t, id, e.Response.ID)
			require.Equal(t, item, e.Response.Output[0].ID)
		}
	}
	require.NoError(t, stream.Err())
	require.NoError(t, stream.Close())
	require.Equal(t, said, text)
	require.Equal(t, "response.created", types[0])
	require.Equal(t, "response.completed", types[len(types)-1])
	requireCompleted(t, &final)
	rebuilt, err := acc.ReconstructedResponse()
	require.NoError(t, err)
	require.Equal(t, said, rebuilt.OutputText())
}

func TestChatWithTheSDK(t *testing.T) {
	_, srv := provider(t, scripted.OK(said).Usage(11, 22))
	got, err := openAIClient(t, srv).Chat.Completions.New(t.Context(), openai.ChatCompletionNewParams{
		Model: "gpt-x", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("hi")},
	})
	require.NoError(t, err)
	requireComplete(t, got)
	require.Equal(t, said, got.Choices[0].Message.Content)
	require.Equal(t, "stop", got.Choices[0].FinishReason)
	require.Equal(t, "gpt-x", got.Model)
	require.EqualValues(t, 33, got.Usage.TotalTokens)
}

func TestChatStreamWithTheSDK(t *testing.T) {
	for _, usage := range []bool{false, true} {
		_, srv := provider(t, scripted.OK(said).Usage(11, 22))
		params := openai.ChatCompletionNewParams{
			Model: "gpt-x", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("hi")},
		}
		if usage {
			params.StreamOptions = openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)}
		}
		stream := openAIClient(t, srv).Chat.Completions.NewStreaming(t.Context(), params)
		var acc openai.ChatCompletionAccumulator
		chunks, roles, withUsage := 0, 0, 0
		for stream.Next() {
			chunk := stream.Current()
			requireComplete(t, chunk)
			require.True(t, acc.AddChunk(chunk))
			if len(chunk.Choices) > 0 && chunk.Choices[0].Delta.Role != "" {
				require.Zero(t, chunks, "the role comes first")
				roles++
			}
			if raw := chunk.JSON.Usage.Raw(); usage {
				require.NotEmpty(t, raw, "null until the last chunk")
				if raw != "null" {
					require.Empty(t, chunk.Choices)
					withUsage++
				}
			} else {
				require.Empty(t, raw)
			}
			chunks++
		}
		require.NoError(t, stream.Err())
		require.NoError(t, stream.Close())
		require.Equal(t, said, acc.Choices[0].Message.Content)
		require.Equal(t, "stop", acc.Choices[0].FinishReason)
		require.Equal(t, 1, roles)
		if usage {
			require.Equal(t, 1, withUsage)
			require.EqualValues(t, 33, acc.Usage.TotalTokens)
		}
	}
}

func messageParams() anthropic.MessageNewParams {
	return anthropic.MessageNewParams{
		Model: "claude-x", MaxTokens: 100, Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("hi"))},
	}
}

func requireMessage(t *testing.T, m *anthropic.Message) {
	t.Helper()
	require.Equal(t, said, m.Content[0].Text)
	require.EqualValues(t, "end_turn", m.StopReason)
	require.EqualValues(t, "claude-x", m.Model)
	require.EqualValues(t, 11, m.Usage.InputTokens)
	require.EqualValues(t, 22, m.Usage.OutputTokens)
}

func TestMessagesWithTheSDK(t *testing.T) {
	_, srv := provider(t, scripted.OK(said).Usage(11, 22))
	got, err := anthropicClient(t, srv).Messages.New(t.Context(), messageParams())
	require.NoError(t, err)
	requireMessage(t, got)
	requireComplete(t, got)
	// The schema requires citations of a text; the API's own examples leave it out, and so does this.
	require.Equal(t, "text", string(got.Content[0].AsText().Type))
}

func TestMessagesStreamWithTheSDK(t *testing.T) {
	_, srv := provider(t, scripted.OK(said).Usage(11, 22))
	stream := anthropicClient(t, srv).Messages.NewStreaming(t.Context(), messageParams())
	var m anthropic.Message
	var types []string
	for stream.Next() {
		e := stream.Current()
		requireComplete(t, e.AsAny())
		require.NoError(t, m.Accumulate(e))
		if n := len(types); n == 0 || types[n-1] != e.Type {
			types = append(types, e.Type)
		}
	}
	require.NoError(t, stream.Err())
	require.NoError(t, stream.Close())
	requireMessage(t, &m)
	require.Equal(t, []string{
		"message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop",
	}, types)
}

func TestErrorsWithTheSDKs(t *testing.T) {
	for _, tc := range []struct {
		name                 string
		answer               scripted.Answer
		openAI               int
		typ, code            string
		anthropic            int
		anthropicType        string
		openAIRetry, retryAt string // of Anthropic
	}{
		{"rate limited", scripted.RateLimited(1500 * time.Millisecond), 429, "requests", "rate_limit_exceeded", 429, "rate_limit_error", "2 1500", "2"},
		{"rate limited, no hint", scripted.RateLimited(0), 429, "requests", "rate_limit_exceeded", 429, "rate_limit_error", " ", ""},
		{"unauthorized", scripted.Unauthorized(), 401, "invalid_request_error", "invalid_api_key", 401, "authentication_error", " ", ""},
		{"forbidden", scripted.Forbidden(), 403, "invalid_request_error", "", 403, "permission_error", " ", ""},
		{"quota", scripted.Quota(), 429, "insufficient_quota", "insufficient_quota", 402, "billing_error", " ", ""},
		{"server error", scripted.ServerError(500), 500, "server_error", "", 500, "api_error", " ", ""},
		{"overloaded", scripted.Overloaded(0), 503, "service_unavailable_error", "server_is_overloaded", 529, "overloaded_error", " ", ""},
		{"overloaded with 529", scripted.Overloaded(529), 529, "service_unavailable_error", "server_is_overloaded", 529, "overloaded_error", " ", ""},
		{"of the test's choice", scripted.Fail(scripted.Problem{Status: 404, Type: "not_found_error", Code: "model_not_found", Message: "no"}), 404, "not_found_error", "model_not_found", 404, "not_found_error", " ", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, srv := provider(t, tc.answer)
			_, err := openAIClient(t, srv).Responses.New(t.Context(), responseParams())
			var oe *openai.Error
			require.ErrorAs(t, err, &oe)
			require.Equal(t, tc.openAI, oe.StatusCode)
			require.Equal(t, tc.typ, oe.Type)
			require.Equal(t, tc.code, oe.Code)
			require.NotEmpty(t, oe.Message)
			require.Equal(t, tc.openAIRetry, oe.Response.Header.Get("Retry-After")+" "+oe.Response.Header.Get("Retry-After-Ms"))
			require.NotEmpty(t, oe.Response.Header.Get("X-Request-Id"))

			stream := openAIClient(t, srv).Chat.Completions.NewStreaming(t.Context(), openai.ChatCompletionNewParams{Model: "m"})
			require.False(t, stream.Next())
			require.ErrorAs(t, stream.Err(), &oe)
			require.Equal(t, tc.openAI, oe.StatusCode)

			_, err = anthropicClient(t, srv).Messages.New(t.Context(), messageParams())
			var ae *anthropic.Error
			require.ErrorAs(t, err, &ae)
			require.Equal(t, tc.anthropic, ae.StatusCode)
			require.EqualValues(t, tc.anthropicType, ae.Type())
			require.NotEmpty(t, ae.RequestID)
			require.Contains(t, ae.RawJSON(), ae.RequestID)
			require.Equal(t, tc.retryAt, ae.Response.Header.Get("Retry-After"))
		})
	}
}

func TestErrorInTheStreamWithTheSDKs(t *testing.T) {
	p, srv := provider(t, scripted.ErrorAfter(2, scripted.Problem{Status: 429, Type: "insufficient_quota", Code: "insufficient_quota", Message: "pay first"}))
	rs := openAIClient(t, srv).Responses.NewStreaming(t.Context(), responseParams())
	for rs.Next() {
	}
	require.ErrorContains(t, rs.Err(), "pay first")
	require.NoError(t, rs.Close())

	cs := openAIClient(t, srv).Chat.Completions.NewStreaming(t.Context(), openai.ChatCompletionNewParams{Model: "m"})
	chunks := 0
	for cs.Next() {
		chunks++
	}
	require.Equal(t, 3, chunks)
	require.ErrorContains(t, cs.Err(), "pay first")
	require.NoError(t, cs.Close())

	p.Key(good, scripted.ErrorAfter(0, scripted.Problem{Status: 529, Type: "overloaded_error", Message: "Overloaded"}))
	ms := anthropicClient(t, srv).Messages.NewStreaming(t.Context(), messageParams())
	for ms.Next() {
	}
	require.ErrorContains(t, ms.Err(), "Overloaded")
	require.NoError(t, ms.Close())
	_, err := anthropicClient(t, srv).Messages.New(t.Context(), messageParams())
	var ae *anthropic.Error
	require.ErrorAs(t, err, &ae)
	require.Equal(t, 529, ae.StatusCode, "without a stream it is the answer itself")
}

func TestOtherEndpointsWithTheSDKs(t *testing.T) {
	p, srv := provider(t, scripted.OK(said))
	oc, ac := openAIClient(t, srv), anthropicClient(t, srv)

	models, err := oc.Models.List(t.Context())
	require.NoError(t, err)
	require.Len(t, models.Data, 2)
	requireComplete(t, models.Data)
	amodels, err := ac.Models.List(t.Context(), anthropic.ModelListParams{})
	require.NoError(t, err)
	require.Equal(t, "scripted-1", amodels.Data[0].ID)
	require.Equal(t, 2023, amodels.Data[0].CreatedAt.Year())

	tokens, err := ac.Messages.CountTokens(t.Context(), anthropic.MessageCountTokensParams{
		Model: "claude-x", Messages: messageParams().Messages,
	})
	require.NoError(t, err)
	require.Positive(t, tokens.InputTokens)

	embedded, err := oc.Embeddings.New(t.Context(), openai.EmbeddingNewParams{
		Model: "e", Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"a", "b"}}, Dimensions: openai.Int(4),
	})
	require.NoError(t, err)
	requireComplete(t, embedded)
	require.Equal(t, []float64{0, 1, 0, 0}, embedded.Data[1].Embedding)

	content := bytes.Repeat([]byte("12345"), 100_000)
	file, err := oc.Files.New(t.Context(), openai.FileNewParams{
		File: openai.File(bytes.NewReader(content), "batch.jsonl", "application/jsonl"), Purpose: openai.FilePurposeBatch,
	})
	require.NoError(t, err)
	requireComplete(t, file)
	require.EqualValues(t, len(content), file.Bytes)
	require.Equal(t, "batch.jsonl", file.Filename)
	require.EqualValues(t, "batch", file.Purpose)
	seen := p.Requests()[len(p.Requests())-1]
	require.Greater(t, seen.BodySize, file.Bytes, "the body has the parts' heads too")
	require.EqualValues(t, seen.BodySize, len(seen.Body))
	sum := sha256.Sum256(seen.Body)
	require.Equal(t, hex.EncodeToString(sum[:]), seen.SHA256)
	afile, err := ac.Files.Upload(t.Context(), anthropic.FileUploadParams{File: anthropic.File(bytes.NewReader(content), "a.bin", "")})
	require.NoError(t, err)
	requireComplete(t, afile)
	require.EqualValues(t, len(content), afile.SizeBytes)

	p.Key(good, scripted.Download(1_000_000))
	res, err := oc.Files.Content(t.Context(), "file-1")
	require.NoError(t, err)
	require.Equal(t, "1000000", res.Header.Get("Content-Length"))
	got, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	want, err := io.ReadAll(scripted.Content(1_000_000))
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))
}

func TestResponsesOverWebSocketWithTheSDK(t *testing.T) {
	p, srv := provider(t, scripted.OK(""))
	conn, err := openAIClient(t, srv).Responses.Connect(t.Context(), responses.ResponseConnectionOptions{})
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.NoError(t, p.WaitIdle(t.Context()))
	require.Equal(t, []string{good}, p.Keys())

	p.Key(good, scripted.RateLimited(time.Second))
	_, err = openAIClient(t, srv).Responses.Connect(t.Context(), responses.ResponseConnectionOptions{})
	require.Error(t, err)
	require.Equal(t, http.MethodGet, p.Requests()[1].Method)
}
