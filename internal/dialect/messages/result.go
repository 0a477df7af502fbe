package messages

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// toolResult is a call's result as the model gets it: a tool_result block, whose content is a text where that is all, else a list of
// texts, images and documents ("Handle tool calls" in Anthropic's documentation).
func toolResult(id string, r turn.Result) []byte {
	b := rawjson.AppendString([]byte(`{"type":"tool_result","tool_use_id":`), id)
	b = append(b, `,"content":`...)
	failed := r.IsError || r.Error != nil
	switch blocks := resultBlocks(r.Parts); {
	case r.Error != nil && r.Error.Message != "":
		b = rawjson.AppendString(b, r.Error.Message)
	case blocks == nil && failed: // the API wants an error to say something
		b = rawjson.AppendString(b, turn.ErrorPrefix+"the tool failed and does not say why")
	case blocks == nil:
		b = append(b, `""`...)
	case len(r.Parts) == 1 && resultType(r.Parts[0]) == "text":
		b = rawjson.AppendString(b, r.Parts[0].Text)
	default:
		b = append(append(append(b, '['), blocks...), ']')
	}
	if failed {
		b = append(b, `,"is_error":true`...)
	}
	return append(b, '}')
}

// resultType is the type of block that a part goes as. What the model cannot read goes as its text.
func resultType(p turn.Part) string {
	switch kind := mediaType(p); p.Kind {
	case turn.ImagePart, turn.FilePart:
		switch kind {
		case "image/jpeg", "image/png", "image/gif", "image/webp":
			return "image"
		case "application/pdf":
			return "document"
		}
		if p.Kind == turn.FilePart && strings.HasPrefix(kind, "text/") && utf8.Valid(p.Data) && !blankText(string(p.Data)) {
			return "document"
		}
	case turn.TextPart, turn.AudioPart:
	}
	return "text"
}

// mediaType is a part's without parameters.
func mediaType(p turn.Part) string {
	kind, _, _ := strings.Cut(p.MIME, ";")
	return strings.ToLower(strings.TrimSpace(kind))
}

func blankText(s string) bool { return strings.TrimSpace(s) == "" }

// resultBlocks are a result's parts, joined by commas; nil if there are none. A text without a letter has no block: the API does
// not take it.
func resultBlocks(parts []turn.Part) []byte {
	var b []byte
	for _, p := range parts {
		switch resultType(p) {
		case "image":
			b = append(appendSource(append(rawjson.Separate(b), `{"type":"image","source":`...), p), '}')
		case "document":
			b = appendSource(append(rawjson.Separate(b), `{"type":"document","source":`...), p)
			if p.Name != "" && len(p.Name) <= maxTitle {
				b = rawjson.AppendString(append(b, `,"title":`...), p.Name)
			}
			b = append(b, '}')
		default:
			if !blankText(p.Text) {
				b = append(rawjson.AppendString(append(rawjson.Separate(b), `{"type":"text","text":`...), p.Text), '}')
			}
		}
	}
	return b
}

// maxTitle is how long a document's title may be.
const maxTitle = 500

// appendSource appends a part's bytes as the source of a block.
func appendSource(dst []byte, p turn.Part) []byte {
	kind := mediaType(p)
	if strings.HasPrefix(kind, "text/") { // the API knows plain text only
		return append(rawjson.AppendString(append(dst, `{"type":"text","media_type":"text/plain","data":`...), p.Data), '}')
	}
	dst = rawjson.AppendString(append(dst, `{"type":"base64","media_type":`...), kind)
	dst = base64.StdEncoding.AppendEncode(append(dst, `,"data":"`...), p.Data)
	return append(dst, `"}`...)
}
