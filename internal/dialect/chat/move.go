package chat

import "github.com/keyturn/keyturn/internal/dialect/turn"

// Move implements turn.Mover.
func (Dialect) Move(body []byte, rename func(string) string) (moved []byte, model, bound string) {
	return turn.Move(body, rename, boundTo)
}

// boundTo knows what the provider has stored: a file by its id, and what a model has said, as sound, by its.
// https://platform.openai.com/docs/api-reference/chat/create
func boundTo(name string, value []byte, depth int) string {
	switch {
	case name == "file_id" && turn.Given(value):
		return name
	case name == "audio" && depth == 2 && value[0] == '{': // of a message of the assistant's: {"messages":[{"audio":{"id":…
		return "audio"
	}
	return ""
}
