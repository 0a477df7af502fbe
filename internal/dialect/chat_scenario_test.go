package dialect_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/dialect/check"
	chatrules "github.com/keyturn/keyturn/internal/scripted/chat"
	"github.com/keyturn/keyturn/internal/scripted/talk"
	"github.com/keyturn/keyturn/sse"
)

func TestChatScenarios(t *testing.T) {
	runScenarios(t, scenarioDialect{
		dialect: dialect.Chat, check: check.Chat, valid: validChat, whole: wholeChat, final: finalChat, next: nextChat, without: withoutChat,
	})
}

// validChat says what the provider would refuse of a conversation.
func validChat(request []byte) error {
	told := talk.Hear(talk.Chat, request)
	return errors.Join(told.Err, refused(chatrules.RefuseConversation(told)))
}

// chatAnswer is what clients' libraries make of a stream, and what a provider answers without one.
type chatAnswer struct {
	ID          string            `json:"id"`
	Object      string            `json:"object"`
	Created     int64             `json:"created"`
	Model       string            `json:"model"`
	Fingerprint *string           `json:"system_fingerprint,omitempty"`
	Choices     [1]chatOnlyChoice `json:"choices"`
	Usage       json.RawMessage   `json:"usage,omitempty"`
}

type chatOnlyChoice struct {
	Index   int            `json:"index"`
	Message map[string]any `json:"message"`
	Finish  string         `json:"finish_reason"`
}

// assembled puts a stream together. It returns false when it has an error, a part that is no JSON, or no end.
func assembled(stream []byte) (a chatAnswer, ok bool) {
	message := map[string]any{"content": nil}
	var calls []map[string]any
	var events [][]byte
	d := sse.NewDecoder(sse.Limits{}, func(e *sse.Event) error {
		if e.Dispatched && string(e.Data) != "[DONE]" {
			events = append(events, bytes.Clone(e.Data))
		}
		return nil
	})
	if _, err := d.Write(stream); err != nil || d.Close() != nil {
		return a, false
	}
	for _, data := range events {
		var chunk struct {
			ID          string
			Created     int64
			Model       string
			Fingerprint *string `json:"system_fingerprint"`
			Error       json.RawMessage
			Usage       json.RawMessage
			Choices     []struct {
				Delta  map[string]any
				Finish string `json:"finish_reason"`
			}
		}
		if json.Unmarshal(data, &chunk) != nil || chunk.Error != nil {
			return a, false
		}
		if a.ID == "" {
			a.ID, a.Created, a.Model, a.Fingerprint = chunk.ID, chunk.Created, chunk.Model, chunk.Fingerprint
		}
		if len(chunk.Usage) > 0 && string(chunk.Usage) != "null" {
			a.Usage = chunk.Usage
		}
		for _, c := range chunk.Choices {
			if c.Finish != "" {
				a.Choices[0].Finish = c.Finish
			}
			for name, v := range c.Delta {
				if name == "tool_calls" {
					calls = assembledCalls(calls, v.([]any))
					continue
				}
				add(message, name, v)
			}
		}
	}
	if calls != nil {
		for _, c := range calls {
			delete(c, "index")
		}
		message["tool_calls"] = calls
	}
	a.Object, a.Choices[0].Message = "chat.completion", message
	return a, a.Choices[0].Finish != ""
}

// add joins strings, and takes the last of everything else.
func add(o map[string]any, name string, v any) {
	if v == nil {
		return
	}
	if s, ok := v.(string); ok {
		before, _ := o[name].(string)
		v = before + s
	}
	o[name] = v
}

func assembledCalls(calls []map[string]any, pieces []any) []map[string]any {
	for _, p := range pieces {
		piece := p.(map[string]any)
		n := int(piece["index"].(float64))
		for len(calls) <= n {
			calls = append(calls, map[string]any{"function": map[string]any{}})
		}
		for name, v := range piece {
			if name == "function" {
				for name, v := range v.(map[string]any) {
					add(calls[n]["function"].(map[string]any), name, v)
				}
				continue
			}
			add(calls[n], name, v)
		}
	}
	return calls
}

func wholeChat(stream []byte) ([]byte, bool) {
	a, ok := assembled(stream)
	b, err := json.Marshal(a)
	return b, ok && err == nil
}

func finalChat(stream []byte) []byte {
	b, _ := wholeChat(stream)
	return b
}

// nextChat is the client's request with the message that it made of the stream, and what it says to that.
func nextChat(t *testing.T, request, stream, then []byte) []byte {
	var r map[string]json.RawMessage
	var messages, more []json.RawMessage
	require.NoError(t, json.Unmarshal(request, &r))
	require.NoError(t, json.Unmarshal(r["messages"], &messages))
	require.NoError(t, json.Unmarshal(then, &more))
	a, ok := assembled(stream)
	require.True(t, ok)
	message, err := json.Marshal(a.Choices[0].Message)
	require.NoError(t, err)
	r["messages"], err = json.Marshal(append(append(messages, message), more...))
	require.NoError(t, err)
	b, err := json.Marshal(r)
	require.NoError(t, err)
	return b
}

func withoutChat(request []byte) []byte {
	var r map[string]json.RawMessage
	if json.Unmarshal(request, &r) != nil {
		return request
	}
	r["stream"] = []byte("false")
	delete(r, "stream_options")
	b, err := json.Marshal(r)
	if err != nil {
		return request
	}
	return b
}
