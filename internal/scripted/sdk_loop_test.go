package scripted_test

import (
	"encoding/json"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/responses"
	"github.com/openai/openai-go/v3/shared"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
)

// The real clients hold whole conversations with a strict provider: what they replay is what it accepts.

func TestResponsesConversationWithTheSDK(t *testing.T) {
	_, srv := strict(t, scripted.Config{}, caller())
	c := openAIClient(t, srv)
	params := responses.ResponseNewParams{Model: "m", Store: openai.Bool(false), Reasoning: shared.ReasoningParam{Effort: "low"}}
	input := responses.ResponseInputParam{responses.ResponseInputItemParamOfMessage("hi", "user")}
	for n := range 3 {
		params.Input.OfInputItemList = input
		r, err := c.Responses.New(t.Context(), params)
		require.NoError(t, err)
		calls := 0
		for _, item := range r.Output {
			input = append(input, param.Override[responses.ResponseInputItemUnionParam](json.RawMessage(item.RawJSON())))
		}
		for _, item := range r.Output {
			if item.Type == "function_call" {
				calls++
				input = append(input, responses.ResponseInputItemUnionParam{OfFunctionCallOutput: &responses.ResponseInputItemFunctionCallOutputParam{
					CallID: openai.String(item.CallID),
					Output: responses.ResponseInputItemFunctionCallOutputOutputUnionParam{OfString: openai.String("42")},
				}})
			}
		}
		require.Equal(t, []int{2, 0, 2}[n], calls)
		if calls == 0 {
			require.Equal(t, "done: 42", r.OutputText())
			input = append(input, responses.ResponseInputItemParamOfMessage("again", "user"))
		}
	}
}

func TestChatConversationWithTheSDK(t *testing.T) {
	_, srv := strict(t, scripted.Config{}, caller())
	c := openAIClient(t, srv)
	messages := []openai.ChatCompletionMessageParamUnion{openai.UserMessage("hi")}
	for n := range 3 {
		r, err := c.Chat.Completions.New(t.Context(), openai.ChatCompletionNewParams{Model: "m", Messages: messages})
		require.NoError(t, err)
		said := r.Choices[0].Message
		messages = append(messages, said.ToParam())
		for _, call := range said.ToolCalls {
			messages = append(messages, openai.ToolMessage("42", call.ID))
		}
		require.Len(t, said.ToolCalls, []int{2, 0, 2}[n])
		if n == 1 {
			require.Equal(t, "done: 42", said.Content)
			messages = append(messages, openai.UserMessage("again"))
		}
	}
}

func TestMessagesConversationWithTheSDK(t *testing.T) {
	_, srv := strict(t, scripted.Config{BindThinking: true}, caller())
	c := anthropicClient(t, srv)
	schema := anthropic.ToolInputSchemaParam{Properties: map[string]any{}}
	messages := []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("hi"))}
	for n := range 3 {
		stream := c.Messages.NewStreaming(t.Context(), anthropic.MessageNewParams{
			Model: "m", MaxTokens: 4096, Messages: messages, Thinking: anthropic.ThinkingConfigParamOfEnabled(1024),
			System: []anthropic.TextBlockParam{{Text: "be brief", CacheControl: anthropic.NewCacheControlEphemeralParam()}},
			Tools:  []anthropic.ToolUnionParam{{OfTool: &anthropic.ToolParam{Name: "add", InputSchema: schema}}, {OfTool: &anthropic.ToolParam{Name: "weather", InputSchema: schema}}},
		})
		var m anthropic.Message
		for stream.Next() {
			require.NoError(t, m.Accumulate(stream.Current()))
		}
		require.NoError(t, stream.Err())
		require.NoError(t, stream.Close())
		messages = append(messages, m.ToParam())
		var results []anthropic.ContentBlockParamUnion
		for _, b := range m.Content {
			if b.Type == "tool_use" {
				results = append(results, anthropic.NewToolResultBlock(b.ID, "42", false))
			}
		}
		require.Len(t, results, []int{2, 0, 2}[n])
		if n == 1 {
			require.Equal(t, "done: 42", m.Content[1].Text)
			results = append(results, anthropic.NewTextBlock("again"))
		}
		messages = append(messages, anthropic.NewUserMessage(results...))
	}
}
