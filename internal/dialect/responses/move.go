package responses

import (
	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// Move implements turn.Mover.
func (Dialect) Move(body []byte, rename func(string) string) (moved []byte, model, bound string) {
	return turn.Move(body, rename, boundTo)
}

// boundTo knows what the provider has stored, or has encrypted: a response before this one, a conversation, a prompt, items, files and
// stores by their ids, and reasoning. A response in the background is fetched later, from the provider that makes it.
// https://platform.openai.com/docs/api-reference/responses/create
func boundTo(name string, value []byte, depth int) string {
	switch name {
	case "previous_response_id", "conversation", "prompt":
		if depth == 0 && !rawjson.IsNull(value) {
			return name
		}
	case "background":
		if depth == 0 && string(value) == "true" {
			return name
		}
	case "type":
		if depth > 0 && rawjson.Word(value) == "item_reference" {
			return "item_reference"
		}
	case "encrypted_content", "file_id":
		if turn.Given(value) {
			return name
		}
	case "vector_store_ids", "file_ids":
		if depth > 0 && len(value) > 2 && value[0] == '[' {
			return name
		}
	case "container":
		if depth > 0 && turn.Given(value) { // of the code interpreter: its id
			return name
		}
	}
	return ""
}
