package messages

import "github.com/keyturn/keyturn/internal/dialect/turn"

// Move implements turn.Mover.
func (Dialect) Move(body []byte, rename func(string) string) (moved []byte, model, bound string) {
	return turn.Move(body, rename, boundTo)
}

// boundTo knows what the provider has stored, or has encrypted: a container and a file by their ids, and what a search has found. The signatures
// of thoughts hold at each of the providers that have the models.
// https://platform.claude.com/docs/en/build-with-claude/extended-thinking
func boundTo(name string, value []byte, depth int) string {
	switch name {
	case "container":
		if depth == 0 && (turn.Given(value) || len(value) > 2 && value[0] == '{') {
			return name
		}
	case "file_id", "encrypted_content":
		if turn.Given(value) {
			return name
		}
	}
	return ""
}
