// Command older has conversations by openai-go 1. They come in as lines of JSON (sdks.Request), what came of each goes out as a
// line of JSON (sdks.Reply).
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/openai/openai-go"
	"github.com/openai/openai-go/option"
	"github.com/openai/openai-go/packages/param"
	"github.com/openai/openai-go/responses"
)

type request struct {
	API, Mode, Key, Model string
	BaseURL               string `json:"base_url"`
	Users                 []string
	Tools                 []struct {
		Name, Result string
		Parameters   map[string]any
	}
	Previous bool
	Options  map[string]any
}

// result is the result of the client's own function.
func (r request) result(name string) string {
	for _, t := range r.Tools {
		if t.Name == name {
			return t.Result
		}
	}
	return ""
}

type answer struct {
	Object json.RawMessage `json:"object"`
	Text   string          `json:"text"`
	Events []string        `json:"events"`
}

type failure struct {
	Class   string `json:"class"`
	Status  int    `json:"status"`
	Type    string `json:"type"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Trace   string `json:"trace"`
}

type reply struct {
	Answers []answer `json:"answers"`
	Error   *failure `json:"error"`
}

func main() {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var r request
		if err := in.Decode(&r); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if err := out.Encode(converse(context.Background(), r)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func converse(ctx context.Context, r request) (all reply) {
	opts := []option.RequestOption{option.WithBaseURL(r.BaseURL), option.WithAPIKey(r.Key), option.WithMaxRetries(0)}
	for name, value := range r.Options {
		opts = append(opts, option.WithJSONSet(name, value))
	}
	have := haveResponses
	if r.API == "chat" {
		have = haveChat
	}
	if err := have(ctx, openai.NewClient(opts...), r, func(a answer) { all.Answers = append(all.Answers, a) }); err != nil {
		all.Error = &failure{Class: fmt.Sprintf("%T", err), Message: err.Error(), Trace: err.Error()}
		var e *openai.Error
		if errors.As(err, &e) {
			all.Error.Status, all.Error.Type, all.Error.Code, all.Error.Message = e.StatusCode, e.Type, e.Code, e.Message
		}
	}
	return all
}

func haveResponses(ctx context.Context, c openai.Client, r request, answered func(answer)) error {
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
			last, events, err := askResponses(ctx, c, params, r.Mode)
			if err != nil {
				return err
			}
			answered(answer{Object: json.RawMessage(last.RawJSON()), Text: last.OutputText(), Events: events})
			if r.Previous {
				params.PreviousResponseID = openai.String(last.ID)
			}
			fresh = nil
			for _, item := range last.Output {
				history = append(history, param.Override[responses.ResponseInputItemUnionParam](json.RawMessage(item.RawJSON())))
				if item.Type == "function_call" {
					fresh = append(fresh, responses.ResponseInputItemParamOfFunctionCallOutput(item.CallID, r.result(item.Name)))
				}
			}
		}
	}
	return nil
}

// askResponses has one answer. This SDK has no accumulator for Responses: the answer is the one of the last event, and the deltas
// must have said the same.
func askResponses(ctx context.Context, c openai.Client, params responses.ResponseNewParams, mode string) (*responses.Response, []string, error) {
	if mode == "plain" {
		r, err := c.Responses.New(ctx, params)
		return r, []string{}, err
	}
	s := c.Responses.NewStreaming(ctx, params)
	defer s.Close()
	var events []string
	var texts string
	var last *responses.Response
	for s.Next() {
		e := s.Current()
		events = append(events, e.Type)
		switch e := e.AsAny().(type) {
		case responses.ResponseTextDeltaEvent:
			texts += e.Delta
		case responses.ResponseCompletedEvent:
			last = &e.Response
		case responses.ResponseIncompleteEvent:
			last = &e.Response
		}
	}
	switch {
	case s.Err() != nil:
		return nil, nil, s.Err()
	case last == nil:
		return nil, nil, fmt.Errorf("no last event after %v", events)
	case texts != last.OutputText():
		return nil, nil, fmt.Errorf("the deltas say %q, the response %q", texts, last.OutputText())
	}
	return last, events, nil
}

func haveChat(ctx context.Context, c openai.Client, r request, answered func(answer)) error {
	params := openai.ChatCompletionNewParams{Model: r.Model}
	for _, t := range r.Tools {
		params.Tools = append(params.Tools, openai.ChatCompletionToolParam{Function: openai.FunctionDefinitionParam{
			Name: t.Name, Parameters: t.Parameters, Strict: openai.Bool(true),
		}})
	}
	for _, user := range r.Users {
		fresh := []openai.ChatCompletionMessageParamUnion{openai.UserMessage(user)}
		for len(fresh) > 0 {
			params.Messages = append(params.Messages, fresh...)
			last, events, err := askChat(ctx, c, params, r.Mode)
			if err != nil {
				return err
			}
			message := last.Choices[0].Message
			object, err := json.Marshal(last)
			if err != nil {
				return err
			}
			answered(answer{Object: object, Text: message.Content, Events: events})
			params.Messages = append(params.Messages, message.ToParam())
			fresh = nil
			for _, call := range message.ToolCalls {
				fresh = append(fresh, openai.ToolMessage(r.result(call.Function.Name), call.ID))
			}
		}
	}
	return nil
}

// askChat has one answer. In the stream the SDK's accumulator has to agree to each chunk.
func askChat(ctx context.Context, c openai.Client, params openai.ChatCompletionNewParams, mode string) (*openai.ChatCompletion, []string, error) {
	if mode == "plain" {
		r, err := c.Chat.Completions.New(ctx, params)
		return r, []string{}, err
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
