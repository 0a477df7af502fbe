package dialect

import (
	"encoding/base64"
	"strconv"
	"strings"
)

// outcome is a call's result in the forms that Responses has for it.
type outcome struct {
	output []byte // value of function_call_output.output, for the model: a text, or a list of contents where there is more than text
	shown  []byte // value of mcp_call.output, for the client: the text, or null for an error
	err    []byte // value of mcp_call.error, or null
	rich   bool   // output has what shown cannot say
}

var null = []byte("null")

// outcomeOf gives a result its forms. What the model reads can be made again of what the client sees (replayedOutput), unless it
// is rich: so a client's next request continues the very conversation that the model had.
func outcomeOf(r Result) outcome {
	var texts []string
	rich := false
	for _, p := range r.Parts {
		texts = append(texts, p.Text)
		rich = rich || contentType(p) != "input_text"
	}
	switch said := strings.Join(texts, "\n"); {
	case r.Error != nil:
		said = errorPrefix + r.Error.Message
		return outcome{output: appendString(nil, said), shown: null, err: errorValue(*r.Error, []string{said})}
	case r.IsError:
		if said == "" {
			said = errorPrefix + "the tool failed and does not say why"
			texts = []string{said}
		}
		o := outcome{output: appendString(nil, said), shown: null, err: errorValue(ToolError{}, texts), rich: rich}
		if rich {
			o.output = contentList(r.Parts)
		}
		return o
	default:
		o := outcome{output: appendString(nil, said), err: null, rich: rich}
		o.shown = o.output
		if rich {
			o.output = contentList(r.Parts)
		}
		return o
	}
}

const errorPrefix = "Error: "

// errorValue is an mcp_call's error. Texts are the contents of one that comes from the tool's execution.
func errorValue(e ToolError, texts []string) []byte {
	kind := ""
	switch e.Kind {
	case ExecutionError:
		b := []byte(`{"type":"mcp_tool_execution_error","content":[`)
		for i, t := range texts {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(append(b, `{"type":"text","text":`...), t), '}')
		}
		return append(b, `]}`...)
	case ProtocolError:
		kind = "mcp_protocol_error"
	case HTTPError:
		kind = "http_error"
	}
	b := append([]byte(`{"type":"`), kind...)
	b = strconv.AppendInt(append(b, `","code":`...), int64(e.Code), 10)
	return append(appendString(append(b, `,"message":`...), e.Message), '}')
}

// replayedOutput is the value of function_call_output.output that a call of Keyturn's was answered with: what the client replays, or
// of what it leaves out, or never had whole, what memory has.
func (s *responses) replayedOutput(b []byte, item *inputItem) []byte {
	v := find(b, item.at, "output", "error", "status")
	said, failure, status := v[0], v[1], v[2]
	kept := s.recall(ownKey(item.id), "output")
	if said.found() && b[said.start] == '"' {
		if shown := s.recall(ownKey(item.id), "shown"); shown == nil || unquote(shown) != unquote(said.of(b)) {
			return said.of(b)
		}
		return kept
	}
	switch {
	case kept != nil:
		return kept
	case failure.found() && !isNull(failure.of(b)):
		return appendString(nil, errorText(b, failure))
	case unquote(status.of(b)) == "incomplete":
		return appendString(nil, notCompleted)
	}
	return appendString(nil, notKept)
}

// What a model is told of a call that has no result.
const (
	notCompleted = errorPrefix + "the call was not completed"
	notKept      = errorPrefix + "the call's result is not available any more"
)

// errorText is what the model was told of an mcp_call's error. Older specifications have a string there.
func errorText(b []byte, at span) string {
	if b[at.start] == '"' {
		return unquote(at.of(b))
	}
	if content, ok := lookup(b, at, "content"); ok {
		var texts []string
		for c := range elements(b, content) {
			texts = append(texts, text(b, c, "text"))
		}
		return strings.Join(texts, "\n")
	}
	return errorPrefix + text(b, at, "message")
}

// contentType is the type that a part has within function_call_output ("Function call output" in the API reference). What the
// model cannot read goes as its text.
func contentType(p Part) string {
	switch kind, _, _ := strings.Cut(p.MIME, ";"); p.Kind {
	case ImagePart:
		switch kind {
		case "image/png", "image/jpeg", "image/gif", "image/webp":
			return "input_image"
		}
	case FilePart:
		if kind == "application/pdf" || kind == "application/json" || strings.HasPrefix(kind, "text/") ||
			strings.HasPrefix(kind, "application/vnd.openxmlformats-officedocument.") {
			return "input_file"
		}
	case TextPart, AudioPart:
	}
	return "input_text"
}

func contentList(parts []Part) []byte {
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
			b = appendString(append(b, `{"type":"input_file","filename":`...), name)
			b = appendData(append(b, `,"file_data":`...), p)
		default:
			b = appendString(append(b, `{"type":"input_text","text":`...), p.Text)
		}
		b = append(b, '}')
	}
	return append(b, ']')
}

// appendData appends a part's bytes as a data URL (RFC 2397).
func appendData(dst []byte, p Part) []byte {
	dst = append(dst, `"data:`...)
	mime := appendString(nil, p.MIME)
	dst = append(dst, mime[1:len(mime)-1]...)
	dst = append(dst, ";base64,"...)
	return append(base64.StdEncoding.AppendEncode(dst, p.Data), '"')
}

// appendOutput appends a function_call_output item.
func appendOutput(dst []byte, callID string, output []byte) []byte {
	dst = appendString(append(dst, `{"type":"function_call_output","call_id":`...), callID)
	return append(append(append(dst, `,"output":`...), output...), '}')
}
