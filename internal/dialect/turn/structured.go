package turn

import "github.com/keyturn/keyturn/internal/dialect/rawjson"

// Structured reports whether a request wants a JSON document for an answer: response_format in Chat, text.format in Responses,
// output_config.format or output_format in Messages. What a model says before it calls a tool is another document, or none; of a response of
// several turns the client reads all as one. So the client gets what the last turn says alone, and each turn is held back until it is known
// whether it is the last.
func Structured(request []byte) bool {
	v := rawjson.Values(request, rawjson.Whole(request), "response_format", "text", "output_format", "output_config")
	is := func(of rawjson.Span) bool {
		kind := rawjson.Text(request, of, "type")
		return kind != "" && kind != "text"
	}
	within := func(of rawjson.Span) rawjson.Span {
		format, _ := rawjson.Lookup(request, of, "format")
		return format
	}
	return is(v[0]) || is(within(v[1])) || is(v[2]) || is(within(v[3]))
}
