package scripted_test

import (
	"encoding/json"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/responses"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
)

// parallel is a model that thinks, speaks and calls two functions.
func parallel() scripted.Answer {
	return scripted.Say(
		scripted.Think("A sum and a city."), scripted.Text("Let me see."),
		scripted.Call("add", `{"a":1,"b":2}`), scripted.Call("weather", `{"city":"Zürich"}`),
	).Usage(100, 40).UsageDetails(60, 8)
}

func requireParallel(t *testing.T, r *responses.Response) {
	t.Helper()
	requireComplete(t, r)
	require.EqualValues(t, "completed", r.Status)
	require.Len(t, r.Output, 4)
	reasoning := r.Output[0].AsReasoning()
	requireComplete(t, reasoning)
	require.Equal(t, "A sum and a city.", reasoning.Summary[0].Text)
	require.NotEmpty(t, reasoning.EncryptedContent)
	require.Equal(t, "Let me see.", r.OutputText())
	add, weather := r.Output[2].AsFunctionCall(), r.Output[3].AsFunctionCall()
	requireComplete(t, add)
	require.Equal(t, []string{"add", `{"a":1,"b":2}`}, []string{add.Name, add.Arguments})
	require.Equal(t, []string{"weather", `{"city":"Zürich"}`}, []string{weather.Name, weather.Arguments})
	require.NotEqual(t, add.CallID, weather.CallID)
	require.NotEqual(t, add.ID, weather.ID)
	require.EqualValues(t, 140, r.Usage.TotalTokens)
	require.EqualValues(t, 60, r.Usage.InputTokensDetails.CachedTokens)
	require.EqualValues(t, 8, r.Usage.OutputTokensDetails.ReasoningTokens)
}

func TestResponsesCallsWithTheSDK(t *testing.T) {
	_, srv := provider(t, parallel())
	got, err := openAIClient(t, srv).Responses.New(t.Context(), responseParams())
	require.NoError(t, err)
	requireParallel(t, got)

	_, srv = provider(t, parallel())
	stream := openAIClient(t, srv).Responses.NewStreaming(t.Context(), responseParams())
	var acc responses.ResponseAccumulator
	var check lifecycle
	var early string
	for stream.Next() {
		e := stream.Current()
		requireComplete(t, e.AsAny())
		check.event(t, e.RawJSON())
		var ws responses.ResponsesServerEventUnion
		require.NoError(t, json.Unmarshal([]byte(e.RawJSON()), &ws))
		require.NoError(t, acc.AddEvent(ws))
		if added, ok := e.AsAny().(responses.ResponseOutputItemAddedEvent); ok && added.Item.Type == "reasoning" {
			early = added.Item.AsReasoning().EncryptedContent
		}
	}
	require.NoError(t, stream.Err())
	require.NoError(t, stream.Close())
	check.end(t)
	rebuilt, err := acc.ReconstructedResponse()
	require.NoError(t, err)
	requireParallel(t, rebuilt)
	require.NotEqual(t, early, rebuilt.Output[0].AsReasoning().EncryptedContent, "only the finished item has it whole")
	require.JSONEq(t, rawOutput(t, got.RawJSON()), rawOutput(t, rebuilt.RawJSON()), "both ways of asking give the same")
}

func rawOutput(t *testing.T, response string) string {
	t.Helper()
	var r struct {
		Output json.RawMessage `json:"output"`
	}
	require.NoError(t, json.Unmarshal([]byte(response), &r))
	return string(r.Output)
}

func TestChatCallsWithTheSDK(t *testing.T) {
	params := openai.ChatCompletionNewParams{
		Model: "gpt-x", N: openai.Int(2), Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("hi")},
	}
	_, srv := provider(t, parallel())
	got, err := openAIClient(t, srv).Chat.Completions.New(t.Context(), params)
	require.NoError(t, err)
	requireComplete(t, got)

	_, srv = provider(t, parallel())
	params.StreamOptions = openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)}
	stream := openAIClient(t, srv).Chat.Completions.NewStreaming(t.Context(), params)
	var acc openai.ChatCompletionAccumulator
	last := -1 // choices come by turns
	for stream.Next() {
		chunk := stream.Current()
		requireComplete(t, chunk)
		require.True(t, acc.AddChunk(chunk))
		if len(chunk.Choices) > 0 {
			require.NotEqual(t, last, int(chunk.Choices[0].Index))
			last = int(chunk.Choices[0].Index)
		}
	}
	require.NoError(t, stream.Err())
	require.NoError(t, stream.Close())

	ids := map[string]bool{}
	for _, c := range []openai.ChatCompletion{*got, acc.ChatCompletion} {
		require.Len(t, c.Choices, 2)
		require.EqualValues(t, 180, c.Usage.TotalTokens, "both choices are paid for")
		require.EqualValues(t, 60, c.Usage.PromptTokensDetails.CachedTokens)
		require.EqualValues(t, 16, c.Usage.CompletionTokensDetails.ReasoningTokens)
		for _, choice := range c.Choices {
			require.Equal(t, "tool_calls", choice.FinishReason)
			require.Equal(t, "Let me see.", choice.Message.Content)
			require.Len(t, choice.Message.ToolCalls, 2)
			for i, want := range []string{`add {"a":1,"b":2}`, `weather {"city":"Zürich"}`} {
				call := choice.Message.ToolCalls[i]
				require.Equal(t, want, call.Function.Name+" "+call.Function.Arguments)
				ids[call.ID] = true
			}
		}
	}
	require.Len(t, ids, 4, "two calls in two choices, the same in the stream")
}

func TestMessagesCallsWithTheSDK(t *testing.T) {
	_, srv := provider(t, parallel())
	got, err := anthropicClient(t, srv).Messages.New(t.Context(), messageParams())
	require.NoError(t, err)
	requireComplete(t, got)

	_, srv = provider(t, parallel())
	stream := anthropicClient(t, srv).Messages.NewStreaming(t.Context(), messageParams())
	var m anthropic.Message
	for stream.Next() {
		requireComplete(t, stream.Current().AsAny())
		require.NoError(t, m.Accumulate(stream.Current()))
	}
	require.NoError(t, stream.Err())
	require.NoError(t, stream.Close())
	for _, m := range []anthropic.Message{*got, m} {
		require.EqualValues(t, "tool_use", m.StopReason)
		require.Len(t, m.Content, 4)
		require.Equal(t, "A sum and a city.", m.Content[0].AsThinking().Thinking)
		require.Equal(t, got.Content[0].AsThinking().Signature, m.Content[0].AsThinking().Signature)
		require.NotEmpty(t, m.Content[0].AsThinking().Signature)
		require.Equal(t, "Let me see.", m.Content[1].Text)
		for i, want := range []string{`add {"a":1,"b":2}`, `weather {"city":"Zürich"}`} {
			use := m.Content[2+i].AsToolUse()
			require.Equal(t, want, use.Name+" "+string(use.Input))
			require.Equal(t, got.Content[2+i].ID, use.ID)
		}
		require.EqualValues(t, 40, m.Usage.InputTokens, "cached tokens are counted beside")
		require.EqualValues(t, 60, m.Usage.CacheReadInputTokens)
		require.EqualValues(t, 40, m.Usage.OutputTokens)
		require.EqualValues(t, 8, m.Usage.OutputTokensDetails.ThinkingTokens)
	}
}

// lifecycle checks the rules of a Responses stream: numbers without a gap, each item begun and done once, the terminal event last.
type lifecycle struct {
	number, index int
	open          map[int]string // items that are not done, by index
	id, last      string
}

func (l *lifecycle) event(t *testing.T, raw string) {
	t.Helper()
	var e struct {
		Type           string
		SequenceNumber int    `json:"sequence_number"`
		OutputIndex    *int   `json:"output_index"`
		ItemID         string `json:"item_id"`
		Item           struct{ ID, Type string }
		Response       struct{ ID string }
	}
	require.NoError(t, json.Unmarshal([]byte(raw), &e))
	require.NotContains(t, []string{"response.completed", "response.failed", "response.incomplete"}, l.last, "nothing comes after the end")
	require.Equal(t, l.number, e.SequenceNumber, raw)
	l.number++
	if l.open == nil {
		l.open = map[int]string{}
		require.Equal(t, "response.created", e.Type)
		l.id = e.Response.ID
	}
	if e.Response.ID != "" {
		require.Equal(t, l.id, e.Response.ID)
	}
	switch {
	case e.Type == "response.output_item.added":
		require.Equal(t, l.index, *e.OutputIndex, raw)
		l.index++
		l.open[*e.OutputIndex] = e.Item.ID
	case e.Type == "response.output_item.done":
		require.Equal(t, l.open[*e.OutputIndex], e.Item.ID, raw)
		delete(l.open, *e.OutputIndex)
	case e.ItemID != "":
		require.Equal(t, l.open[*e.OutputIndex], e.ItemID, raw)
	}
	l.last = e.Type
}

func (l *lifecycle) end(t *testing.T) {
	t.Helper()
	require.Contains(t, []string{"response.completed", "response.failed", "response.incomplete"}, l.last)
	require.Empty(t, l.open, "every item is done")
}
