package responses

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// outcome is a call's result in the forms that Responses has for it.
type outcome struct {
	output []byte // value of function_call_output.output, for the model: a text, or a list of contents where there is more than text
	shown  []byte // value of mcp_call.output, for the client: the text, or null for an error
	err    []byte // value of mcp_call.error, or null
	rich   bool   // output has what shown cannot say
}

// outcomeOf gives a result its forms. What the model reads can be made again of what the client sees (replayedOutput), unless it
// is rich: so a client's next request continues the very conversation that the model had.
func outcomeOf(r turn.Result) outcome {
	var texts []string
	rich := false
	for _, p := range r.Parts {
		texts = append(texts, p.Text)
		rich = rich || contentType(p) != "input_text"
	}
	switch said := strings.Join(texts, "\n"); {
	case r.Error != nil:
		said = turn.ErrorPrefix + r.Error.Message
		return outcome{output: rawjson.AppendString(nil, said), shown: rawjson.Null, err: errorValue(*r.Error, []string{said})}
	case r.IsError:
		if said == "" {
			said = turn.ErrorPrefix + "the tool failed and does not say why"
			texts = []string{said}
		}
		o := outcome{output: rawjson.AppendString(nil, said), shown: rawjson.Null, err: errorValue(turn.ToolError{}, texts), rich: rich}
		if rich {
			o.output = contentList(r.Parts)
		}
		return o
	default:
		o := outcome{output: rawjson.AppendString(nil, said), err: rawjson.Null, rich: rich}
		o.shown = o.output
		if rich {
			o.output = contentList(r.Parts)
		}
		return o
	}
}

// errorValue is an mcp_call's error. Texts are the contents of one that comes from the tool's execution.
func errorValue(e turn.ToolError, texts []string) []byte {
	kind := ""
	switch e.Kind {
	case turn.ExecutionError:
		b := []byte(`{"type":"mcp_tool_execution_error","content":[`)
		for i, t := range texts {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(rawjson.AppendString(append(b, `{"type":"text","text":`...), t), '}')
		}
		return append(b, `]}`...)
	case turn.ProtocolError:
		kind = "mcp_protocol_error"
	case turn.HTTPError:
		kind = "http_error"
	}
	b := append([]byte(`{"type":"`), kind...)
	b = strconv.AppendInt(append(b, `","code":`...), int64(e.Code), 10)
	return append(rawjson.AppendString(append(b, `,"message":`...), e.Message), '}')
}

// replayedOutput is the value of function_call_output.output that a call of Keyturn's was answered with: what the client replays, or
// of what it leaves out, or never had whole, what memory has.
func (s *session) replayedOutput(b []byte, item *inputItem) []byte {
	v := rawjson.Values(b, item.at, "output", "error", "status")
	said, failure, status := v[0], v[1], v[2]
	var kept []byte
	if !item.again { // or a few bytes of the client's would cost any number of results
		kept = s.recall(ownKey(item.id), "output")
	}
	if said.Found() && b[said.Start] == '"' {
		if shown := s.recall(ownKey(item.id), "shown"); kept == nil || shown == nil || rawjson.Unquote(shown) != rawjson.Unquote(said.Of(b)) {
			return said.Of(b)
		}
		return kept
	}
	switch {
	case kept != nil:
		return kept
	case failure.Found() && !rawjson.IsNull(failure.Of(b)):
		return rawjson.AppendString(nil, errorText(b, failure))
	case rawjson.Unquote(status.Of(b)) == "incomplete":
		return rawjson.AppendString(nil, notCompleted)
	}
	return rawjson.AppendString(nil, notKept)
}

// What a model is told of a call that has no result.
const (
	notCompleted = turn.ErrorPrefix + "the call was not completed"
	notKept      = turn.ErrorPrefix + "the call's result is not available any more"
)

// errorText is what the model was told of an mcp_call's error. Older specifications have a string there.
func errorText(b []byte, at rawjson.Span) string {
	if b[at.Start] == '"' {
		return rawjson.Unquote(at.Of(b))
	}
	if content, ok := rawjson.Lookup(b, at, "content"); ok {
		var texts []byte
		for c := range rawjson.Elements(b, content) {
			texts = append(append(texts, rawjson.Text(b, c, "text")...), '\n')
		}
		return string(bytes.TrimSuffix(texts, []byte{'\n'}))
	}
	return turn.ErrorPrefix + rawjson.Text(b, at, "message")
}

// contentType is the type that a part has within function_call_output ("Function call output" in the API reference). What the
// model cannot read goes as its text.
func contentType(p turn.Part) string {
	switch kind, _, _ := strings.Cut(p.MIME, ";"); p.Kind {
	case turn.ImagePart:
		switch kind {
		case "image/png", "image/jpeg", "image/gif", "image/webp":
			return "input_image"
		}
	case turn.FilePart:
		if kind == "application/pdf" || kind == "application/json" || strings.HasPrefix(kind, "text/") ||
			strings.HasPrefix(kind, "application/vnd.openxmlformats-officedocument.") {
			return "input_file"
		}
	case turn.TextPart, turn.AudioPart:
	}
	return "input_text"
}

func contentList(parts []turn.Part) []byte {
	b := []byte{'['}
	for i, p := range parts {
		if i > 0 {
			b = append(b, ',')
		}
		switch contentType(p) {
		case "input_image":
			b = appendData(append(b, `{"type":"input_image","image_url":`...), p)
		case "input_file":
			name := p.Name
			if name == "" {
				name = "file"
			}
			b = rawjson.AppendString(append(b, `{"type":"input_file","filename":`...), name)
			b = appendData(append(b, `,"file_data":`...), p)
		default:
			b = rawjson.AppendString(append(b, `{"type":"input_text","text":`...), p.Text)
		}
		b = append(b, '}')
	}
	return append(b, ']')
}

// appendData appends a part's bytes as a data URL (RFC 2397).
func appendData(dst []byte, p turn.Part) []byte {
	dst = append(dst, `"data:`...)
	mime := rawjson.AppendString(nil, p.MIME)
	dst = append(dst, mime[1:len(mime)-1]...)
	dst = append(dst, ";base64,"...)
	return append(base64.StdEncoding.AppendEncode(dst, p.Data), '"')
}

// appendOutput appends a function_call_output item.
func appendOutput(dst []byte, callID string, output []byte) []byte {
	dst = rawjson.AppendString(append(dst, `{"type":"function_call_output","call_id":`...), callID)
	return append(append(append(dst, `,"output":`...), output...), '}')
}
