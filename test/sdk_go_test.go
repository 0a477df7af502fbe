package test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	aoption "github.com/anthropics/anthropic-sdk-go/option"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/responses"

	"github.com/keyturn/keyturn/test/sdks"
)

// goClient is a Go SDK in this process, in the place of a program of test/clients. Its function hands out the answers of a
// conversation, one for each request that it sent.
type goClient func(ctx context.Context, c *http.Client, r sdks.Request, answered func(sdks.Answer)) error

func (converse goClient) Ask(t testing.TB, r sdks.Request) (reply sdks.Reply) {
	t.Helper()
	c := &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}
	defer c.CloseIdleConnections()
	err := converse(t.Context(), c, r, func(a sdks.Answer) { reply.Answers = append(reply.Answers, a) })
	if err != nil {
		reply.Error = &sdks.Error{Class: fmt.Sprintf("%T", err), Message: err.Error(), Trace: err.Error()}
		if e, ok := errors.AsType[*openai.Error](err); ok {
			reply.Error.Status, reply.Error.Type, reply.Error.Code, reply.Error.Message = e.StatusCode, e.Type, e.Code, e.Message
		}
		if e, ok := errors.AsType[*anthropic.Error](err); ok {
			reply.Error.Status, reply.Error.Type = e.StatusCode, string(e.Type())
		}
	}
	return reply
}

// resultOf is the result of the client's own function.
func resultOf(r sdks.Request, name string) string {
	i := slices.IndexFunc(r.Tools, func(t sdks.Tool) bool { return t.Name == name })
	return r.Tools[i].Result
}

func goOpenAI(ctx context.Context, c *http.Client, r sdks.Request, answered func(sdks.Answer)) error {
	opts := []option.RequestOption{option.WithBaseURL(r.BaseURL), option.WithAPIKey(r.Key), option.WithHTTPClient(c), option.WithMaxRetries(0)}
	for _, name := range slices.Sorted(maps.Keys(r.Options)) {
		opts = append(opts, option.WithJSONSet(name, r.Options[name]))
	}
	if r.API == "chat" {
		return goChat(ctx, openai.NewClient(opts...), r, answered)
	}
	return goResponses(ctx, openai.NewClient(opts...), r, answered)
}

func goResponses(ctx context.Context, c openai.Client, r sdks.Request, answered func(sdks.Answer)) error {
	params := responses.ResponseNewParams{Model: r.Model}
	for _, t := range r.Tools {
		params.Tools = append(params.Tools, responses.ToolParamOfFunction(t.Name, t.Parameters, true))
	}
	var history []responses.ResponseInputItemUnionParam
	for _, user := range r.Users {
		fresh := []responses.ResponseInputItemUnionParam{responses.ResponseInputItemParamOfMessage(user, responses.EasyInputMessageRoleUser)}
		for len(fresh) > 0 {
			history = append(history, fresh...)
			params.Input.OfInputItemList = history
			if params.PreviousResponseID.Valid() {
				params.Input.OfInputItemList = fresh
			}
			last, events, err := goResponse(ctx, c, params, r.Mode)
			if err != nil {
				return err
			}
			answered(sdks.Answer{Object: json.RawMessage(last.RawJSON()), Text: last.OutputText(), Events: events})
			if r.Previous {
				params.PreviousResponseID = openai.String(last.ID)
			}
			fresh = nil
			for _, item := range last.Output {
				history = append(history, param.Override[responses.ResponseInputItemUnionParam](json.RawMessage(item.RawJSON())))
				if item.Type != "function_call" {
					continue
				}
				result := responses.ResponseInputItemParamOfFunctionCallOutput(resultOf(r, item.Name))
				result.OfFunctionCallOutput.CallID = openai.String(item.CallID)
				fresh = append(fresh, result)
			}
		}
	}
	return nil
}

// goResponse has one answer. In the stream the SDK's accumulator, which is made for WebSockets, has to agree to each event.
func goResponse(ctx context.Context, c openai.Client, params responses.ResponseNewParams, mode string) (*responses.Response, []string, error) {
	if mode == "plain" {
		r, err := c.Responses.New(ctx, params)
		return r, nil, err
	}
	s := c.Responses.NewStreaming(ctx, params)
	defer s.Close()
	var events []string
	var whole responses.ResponseAccumulator
	for s.Next() {
		e := s.Current()
		events = append(events, e.Type)
		var again responses.ResponsesServerEventUnion
		if err := json.Unmarshal([]byte(e.RawJSON()), &again); err != nil {
			return nil, nil, err
		}
		if err := whole.AddEvent(again); err != nil {
			return nil, nil, err
		}
	}
	if err := s.Err(); err != nil {
		return nil, nil, err
	}
	r, err := whole.ReconstructedResponse()
	if err != nil {
		return nil, nil, err
	}
	if texts := whole.Snapshot().OutputText(); texts != r.OutputText() {
		return nil, nil, fmt.Errorf("the deltas say %q, the response %q", texts, r.OutputText())
	}
	return r, events, nil
}

func goChat(ctx context.Context, c openai.Client, r sdks.Request, answered func(sdks.Answer)) error {
	params := openai.ChatCompletionNewParams{Model: r.Model}
	for _, t := range r.Tools {
		params.Tools = append(params.Tools, openai.ChatCompletionFunctionTool(openai.FunctionDefinitionParam{
			Name: t.Name, Parameters: t.Parameters, Strict: openai.Bool(true),
		}))
	}
	for _, user := range r.Users {
		fresh := []openai.ChatCompletionMessageParamUnion{openai.UserMessage(user)}
		for len(fresh) > 0 {
			params.Messages = append(params.Messages, fresh...)
			last, events, err := goCompletion(ctx, c, params, r.Mode)
			if err != nil {
				return err
			}
			message := last.Choices[0].Message
			object, err := json.Marshal(last)
			if err != nil {
				return err
			}
			answered(sdks.Answer{Object: object, Text: message.Content, Events: events})
			params.Messages = append(params.Messages, message.ToParam())
			fresh = nil
			for _, call := range message.ToolCalls {
				fresh = append(fresh, openai.ToolMessage(resultOf(r, call.Function.Name), call.ID))
			}
		}
	}
	return nil
}

// goCompletion has one answer. In the stream the SDK's accumulator has to agree to each chunk.
func goCompletion(ctx context.Context, c openai.Client, params openai.ChatCompletionNewParams, mode string) (*openai.ChatCompletion, []string, error) {
	if mode == "plain" {
		r, err := c.Chat.Completions.New(ctx, params)
		return r, nil, err
	}
	params.StreamOptions.IncludeUsage = openai.Bool(true)
	s := c.Chat.Completions.NewStreaming(ctx, params)
	defer s.Close()
	var events []string
	var whole openai.ChatCompletionAccumulator
	for s.Next() {
		chunk := s.Current()
		events = append(events, string(chunk.Object))
		if !whole.AddChunk(chunk) {
			return nil, nil, fmt.Errorf("the accumulator refuses the chunk %s", chunk.RawJSON())
		}
	}
	return &whole.ChatCompletion, events, s.Err()
}

func goAnthropic(ctx context.Context, hc *http.Client, r sdks.Request, answered func(sdks.Answer)) error {
	opts := []aoption.RequestOption{aoption.WithBaseURL(r.BaseURL), aoption.WithAPIKey(r.Key), aoption.WithHTTPClient(hc), aoption.WithMaxRetries(0)}
	for _, name := range slices.Sorted(maps.Keys(r.Options)) {
		opts = append(opts, aoption.WithJSONSet(name, r.Options[name]))
	}
	c := anthropic.NewClient(opts...)
	params := anthropic.MessageNewParams{Model: r.Model, MaxTokens: 1024}
	for _, t := range r.Tools {
		schema := anthropic.ToolInputSchemaParam{Properties: t.Parameters["properties"], Required: t.Parameters["required"].([]string)}
		params.Tools = append(params.Tools, anthropic.ToolUnionParamOfTool(schema, t.Name))
	}
	for _, user := range r.Users {
		fresh := []anthropic.ContentBlockParamUnion{anthropic.NewTextBlock(user)}
		for len(fresh) > 0 {
			params.Messages = append(params.Messages, anthropic.NewUserMessage(fresh...))
			last, events, err := goMessage(ctx, c, params, r.Mode)
			if err != nil {
				return err
			}
			object, err := json.Marshal(last)
			if err != nil {
				return err
			}
			fresh = nil
			var text strings.Builder
			for _, block := range last.Content {
				text.WriteString(block.Text)
				if block.Type == "tool_use" {
					fresh = append(fresh, anthropic.NewToolResultBlock(block.ID, resultOf(r, block.Name), false))
				}
			}
			answered(sdks.Answer{Object: object, Text: text.String(), Events: events})
			params.Messages = append(params.Messages, last.ToParam())
		}
	}
	return nil
}

// goMessage has one answer. In the stream the SDK's accumulator must not fail on any event.
func goMessage(ctx context.Context, c anthropic.Client, params anthropic.MessageNewParams, mode string) (*anthropic.Message, []string, error) {
	if mode == "plain" {
		m, err := c.Messages.New(ctx, params)
		return m, nil, err
	}
	s := c.Messages.NewStreaming(ctx, params)
	defer s.Close()
	var events []string
	var m anthropic.Message
	for s.Next() {
		events = append(events, s.Current().Type)
		if err := m.Accumulate(s.Current()); err != nil {
			return nil, nil, err
		}
	}
	return &m, events, s.Err()
}
