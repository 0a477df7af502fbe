package scripted

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/internal/scripted/openai"
	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// itemPath takes the path of an object apart: /v1/responses/resp_1/cancel is resp_1 and cancel.
func itemPath(p, collection string) (id, action string) {
	_, rest, _ := strings.Cut(path.Clean(p), "/"+collection+"/")
	id, action, _ = strings.Cut(rest, "/")
	return id, action
}

func absent(what, id string) talk.Problem {
	return talk.Problem{
		Status: http.StatusNotFound, Type: "invalid_request_error", Message: fmt.Sprintf("%s with id '%s' not found.", what, id),
	}
}

// stored answers for a response that was stored: GET, DELETE, POST …/cancel, GET …/input_items ("Responses" in OpenAI's API
// reference).
func (x *exchange) stored(talk.Turn) response {
	id, action := itemPath(x.r.URL.Path, "responses")
	x.p.mu.Lock()
	defer x.p.mu.Unlock()
	k := x.p.ledger.responses[id]
	if k == nil || !k.Stored {
		return x.failure(absent("Response", id))
	}
	switch x.req.Method + " " + action {
	case "GET ":
		if x.r.URL.Query().Get("stream") == "true" {
			return x.failure(*talk.Invalid("stream", "", "This response cannot be streamed because it was not created with background=true."))
		}
		return jsonResponse(http.StatusOK, nil, k.Object)
	case "DELETE ":
		x.p.ledger.forget(id)
		x.p.ledger.order = slices.DeleteFunc(x.p.ledger.order, func(other string) bool { return other == id })
		return jsonResponse(http.StatusOK, nil, talk.Encode(map[string]any{"id": id, "object": "response", "deleted": true}))
	case "POST cancel":
		if !k.Background {
			return x.failure(*talk.Invalid("", "", "Cannot cancel a synchronous response."))
		}
		return jsonResponse(http.StatusOK, nil, k.Object)
	case "GET input_items":
		input, _ := x.p.ledger.chain(k.Previous)
		return listOf(slices.Concat(input, k.Input), id)
	}
	return x.failure(notFound(x))
}

// listOf is a list of items, the newest first. Those that have no id get one.
func listOf(items []json.RawMessage, of string) response {
	data := make([]json.RawMessage, len(items))
	ids := make([]string, len(items))
	for i, raw := range items {
		at := len(items) - 1 - i
		data[at], ids[at] = withID(raw, fmt.Sprintf("%s_%d", of, i))
	}
	list := map[string]any{"object": "list", "data": data, "first_id": nil, "last_id": nil, "has_more": false}
	if len(ids) > 0 {
		list["first_id"], list["last_id"] = ids[0], ids[len(ids)-1]
	}
	return jsonResponse(http.StatusOK, nil, talk.Encode(list))
}

// withID is an item as it is listed: with an id, and a message with its type, status and parts.
func withID(raw json.RawMessage, of string) (item json.RawMessage, id string) {
	var members map[string]any
	if json.Unmarshal(raw, &members) != nil {
		return raw, ""
	}
	if id, _ = members["id"].(string); id != "" {
		return raw, id
	}
	prefix := "item_"
	if role, _ := members["role"].(string); role != "" {
		prefix, members["type"], members["status"] = "msg_", "message", "completed"
		if text, ok := members["content"].(string); ok {
			members["content"] = []any{map[string]any{"type": "input_text", "text": text}}
		}
	}
	id = prefix + of
	members["id"] = id
	return talk.Encode(members), id
}

// conversations answers for conversation objects: POST and GET, DELETE, GET …/items ("Conversations" in OpenAI's API reference).
func (x *exchange) conversations(talk.Turn) response {
	id, action := itemPath(x.r.URL.Path, "conversations")
	if !x.p.cfg.Strict {
		return x.failure(notFound(x))
	}
	x.p.mu.Lock()
	defer x.p.mu.Unlock()
	l := &x.p.ledger
	if id == "" && x.req.Method == http.MethodPost {
		var asked struct {
			Items    json.RawMessage `json:"items"`
			Metadata json.RawMessage `json:"metadata"`
		}
		if err := json.Unmarshal(x.body, &asked); err != nil && len(x.body) > 0 {
			return x.failure(*openai.Unparsed())
		}
		items, err := talk.Items(asked.Items)
		if err != nil {
			return x.failure(*openai.Unparsed())
		}
		t := &thread{created: x.req.Time.Unix(), metadata: asked.Metadata}
		for _, i := range items {
			t.items = append(t.items, i.Raw)
		}
		id = x.ID("conv_")
		l.open(id, t, x.p.cfg.KeepRequests)
		return jsonResponse(http.StatusOK, nil, t.object(id))
	}
	t := l.threads[id]
	if t == nil {
		return x.failure(absent("Conversation", id))
	}
	switch x.req.Method + " " + action {
	case "GET ":
		return jsonResponse(http.StatusOK, nil, t.object(id))
	case "DELETE ":
		l.end(id)
		return jsonResponse(http.StatusOK, nil, talk.Encode(map[string]any{"id": id, "object": "conversation.deleted", "deleted": true}))
	case "GET items":
		return listOf(t.items, id)
	}
	return x.failure(notFound(x))
}

func (t *thread) object(id string) json.RawMessage {
	metadata := t.metadata
	if len(metadata) == 0 {
		metadata = json.RawMessage("{}")
	}
	return talk.Encode(map[string]any{"id": id, "object": "conversation", "created_at": t.created, "metadata": metadata})
}
