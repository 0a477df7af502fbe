package dialect

import (
	"bytes"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// This file finds out what of the things that Keyturn put into a request a provider has refused it for. Nothing that the client sent itself is
// ever among them.

// Without is what is left out of a request.
type Without struct {
	Tools bool     // all of Keyturn's
	Usage bool     // asking for the count of tokens
	Named []string // some of Keyturn's, by the names that models know
}

// None reports whether nothing is.
func (w *Without) None() bool { return !w.Tools && !w.Usage && len(w.Named) == 0 }

// And is what is left out by either.
func (w Without) And(o Without) Without {
	named := slices.Clone(w.Named)
	for _, name := range o.Named {
		if !slices.Contains(named, name) {
			named = append(named, name)
		}
	}
	return Without{Tools: w.Tools || o.Tools, Usage: w.Usage || o.Usage, Named: named}
}

// From is the tools that are left.
func (w *Without) From(tools []Tool) []Tool {
	switch {
	case w.Tools:
		return nil
	case len(w.Named) == 0:
		return tools
	}
	return slices.DeleteFunc(slices.Clone(tools), func(t Tool) bool { return slices.Contains(w.Named, t.Name) })
}

// The words of providers.
var (
	aboutUsage = regexp.MustCompile(`stream_options|include_usage`) // Mistral 422, Azure: "Unrecognized request argument supplied: stream_options"
	// Ollama: "does not support tools", Gemini: "Function calling with a response mime type", Groq: "json mode cannot be combined with tool/function
	// calling", OpenRouter: "No endpoints found that support tool use", vLLM: "auto" tool choice requires --enable-auto-tool-choice, Bedrock: "This
	// model doesn't support tool use", llama.cpp: "tools param requires --jinja flag".
	aboutTools = regexp.MustCompile(`\btools?\b|tool[ _-]?(?:use|choice|calling)|function[ _-]?call|\bfunctions?\b`)
	// What is about the conversation, which is the client's, or about its size.
	aboutTalk = regexp.MustCompile(`tool_calls?\b|tool output|call_id|function_call_output|function call (?:call|fc)_|tool_use_id|tool_use.? ids|tool_result|tool messages?|role\W{1,4}tool|messages[.\[]|context[ _](?:length|window)|\btokens\b|too long`)
	// OpenAI: "array too long. Expected an array with maximum length 128", Anthropic: "List should have at most 128 items".
	tooMany = regexp.MustCompile(`array too long|at most \d+ (?:items|tools|functions)|too many (?:tools|functions)|maximum (?:length|number)|number of (?:tools|functions)`)
	// OpenAI: tools[0].function.parameters, Anthropic: tools.0.custom.input_schema, Gemini: tools[0].function_declarations[3].
	atDeclaration = regexp.MustCompile(`function_?declarations\W{1,2}(\d{1,5})`)
	atTool        = regexp.MustCompile(`\btools\W{1,3}(\d{1,5})\b`)
	words         = regexp.MustCompile(`[a-z0-9_-]{1,128}`)
)

// maxRefusal is how much of an error is read, in bytes.
const maxRefusal = 16 << 10

// RefusedOf is what of the things that were put into a session's request a provider's error is about; offered are the tools that were to go in.
func RefusedOf(s Session, offered []Tool, answer []byte) (w Without) {
	text := bytes.ToLower(answer[:min(len(answer), maxRefusal)])
	if c, ok := s.(turn.Counter); ok && c.CountsUnasked() && aboutUsage.Match(text) {
		w.Usage = true
		return w
	}
	own := map[string]string{} // names of Keyturn's tools, by themselves in lower case
	for _, t := range offered {
		own[strings.ToLower(t.Name)] = t.Name
	}
	names := toolNames(s.Request())
	isOwn := func(name string) bool { return own[strings.ToLower(name)] != "" }
	if !slices.ContainsFunc(names, isOwn) {
		return w // none went in
	}
	for _, word := range words.FindAll(text, -1) {
		if name := own[string(word)]; name != "" && !slices.Contains(w.Named, name) {
			w.Named = append(w.Named, name)
		}
	}
	at := atDeclaration
	if !at.Match(text) {
		at = atTool
	}
	for _, m := range at.FindAllSubmatch(text, -1) {
		n, _ := strconv.Atoi(string(m[1]))
		switch {
		case n >= len(names):
		case own[strings.ToLower(names[n])] == "":
			return Without{} // one of the client's
		case !slices.Contains(w.Named, names[n]):
			w.Named = append(w.Named, names[n])
		}
	}
	switch {
	case len(w.Named) > 0:
	case tooMany.Match(text) && aboutTools.Match(text):
		w.Tools = true
	case !slices.ContainsFunc(names, func(name string) bool { return !isOwn(name) }) && aboutTools.Match(text) && !aboutTalk.Match(text):
		w.Tools = true
	}
	return w
}

// toolNames are the names of a request's tools, in order; "" of those that have none.
func toolNames(request []byte) (names []string) {
	list, _ := rawjson.Lookup(request, rawjson.Whole(request), "tools")
	for t := range rawjson.Elements(request, list) {
		name := rawjson.Text(request, t, "name")
		if name == "" {
			name = rawjson.Text(request, t, "function", "name")
		}
		names = append(names, name)
	}
	return names
}

// Form is what of a request may rule out what Keyturn puts in, for one that is like it: structured output, a prediction, a stream.
func Form(request []byte) string {
	at := rawjson.Whole(request)
	v := rawjson.Values(request, at, "prediction", "stream")
	form := []byte("---")
	if turn.Structured(request) {
		form[0] = 'o'
	}
	if v[0].Found() && !rawjson.IsNull(v[0].Of(request)) {
		form[1] = 'p'
	}
	if string(v[1].Of(request)) == "true" {
		form[2] = 's'
	}
	return string(form)
}

// ModelOf is the model that a request's body names; "" if it names none.
func ModelOf(request []byte) string { return rawjson.Text(request, rawjson.Whole(request), "model") }
