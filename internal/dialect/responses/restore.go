package responses

import (
	"crypto/sha256"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// maxRestored bounds how many calls of Keyturn's of one request are translated: each becomes two items, and neither costs the client a
// byte.
const maxRestored = 4096

// inputItem is an item of a request's input.
type inputItem struct {
	at        rawjson.Span
	kind      string // its type; "" for messages without one
	role      string
	id        string
	callID    string
	tools     rawjson.Span // it brings tools
	reference bool         // it only names an item that the provider has stored
	function  string       // of Keyturn's calls: the id of the function_call item
	more      bool         // of Keyturn's calls: the turn has an earlier one
	own       bool         // it is a call of Keyturn's that an earlier response showed
	again     bool         // likewise, and an item before it is the same call
}

// isCall reports whether the item is a call that the client answers itself, or names one: OpenAI's ids tell the type.
func (i *inputItem) isCall() bool {
	if !i.reference {
		return clientCall(i.kind)
	}
	kind, _, _ := strings.Cut(i.id, "_")
	return kind == "fc" || kind == "ctc" || kind == "cu" || kind == "mcpr"
}

// isMessage reports whether the item is a message, whoever it is from.
func (i *inputItem) isMessage() bool { return i.kind == "message" || i.kind == "" && !i.reference }

// isModels reports whether the item is something that a model made, and not the client.
func (i *inputItem) isModels() bool {
	if i.isMessage() {
		return i.role == "assistant"
	}
	return !strings.HasSuffix(i.kind, "_output") && i.kind != "mcp_approval_response"
}

// readInput reads the items of the input, which may be a text. It returns false for a list that no client sends.
func readInput(b []byte, input rawjson.Span, o *turn.Options) ([]inputItem, bool) {
	n := rawjson.Count(b, input)
	if n < 0 {
		return nil, false
	}
	items := make([]inputItem, 0, n)
	own := 0
	for at := range rawjson.Elements(b, input) {
		if o.Left(len(items)) {
			return nil, false
		}
		item := readItem(b, at)
		if item.own {
			own++
		}
		items = append(items, item)
	}
	return items, own <= maxRestored
}

func readItem(b []byte, at rawjson.Span) inputItem {
	item := inputItem{at: at}
	for m := range rawjson.Members(b, at) {
		switch string(m.Name) {
		case "type":
			item.kind = typeName(m.Val.Of(b))
		case "id":
			item.id = rawjson.Word(m.Val.Of(b))
		case "role":
			item.role = typeName(m.Val.Of(b))
		case "call_id":
			item.callID = rawjson.Word(m.Val.Of(b))
		case "tools":
			item.tools = m.Val
		}
	}
	item.reference = item.kind == "item_reference" || item.kind == "" && item.role == "" && item.id != ""
	if (item.kind == "mcp_call" || item.reference) && rawjson.Once(b, at, "type", "id", "name", "server_label", "arguments", "output", "error") {
		if function, call, more, ok := ownID(item.id); ok {
			item.function, item.callID, item.more, item.own = function, call, more, true
		}
	}
	return item
}

// typeName is rawjson.Word, without an allocation for the types and roles that nearly all items have.
func typeName(raw []byte) string {
	for _, name := range [...]string{
		"message", "user", "assistant", "item_reference", "function_call", "function_call_output", "reasoning", "mcp_call", "developer", "system",
	} {
		if len(raw) == len(name)+2 && string(raw[1:len(raw)-1]) == name {
			return name
		}
	}
	return rawjson.Word(raw)
}

// restore notes what makes the client's request again one that the provider understands: calls that were shown as mcp_call become
// function_call and function_call_output, and what was hidden or is waited for comes back from memory.
func (s *session) restore(e *rawjson.Edits, b []byte, f *requestFields, items []inputItem) {
	s.referTo(e, b, f, items)
	s.restoreCalls(e, b, items)
	if s.opts.Memory == nil {
		return
	}
	s.restoreHidden(e, b, f, items)
	s.restoreState(e, b, f, items)
}

// translate is a request, to any endpoint that takes items, with those of Keyturn's calls as the provider knows them; nil where there are none.
func translate(body []byte, o turn.Options) []byte {
	var f requestFields
	if !f.read(body) {
		return nil
	}
	if v, ok := rawjson.Lookup(body, rawjson.Whole(body), "items"); ok && !f.input.Found() { // of a conversation
		f.input = v
	}
	items, ok := readInput(body, f.input, &o)
	if !ok {
		return nil
	}
	s := &session{opts: o}
	var e rawjson.Edits
	if s.restore(&e, body, &f, items); e.None() {
		return nil
	}
	return e.Apply(make([]byte, 0, len(body)+e.Growth()), body)
}

// referTo looks at references to calls of Keyturn's, which the provider knows as other items. One that names a call for the second
// time, as some clients do for its result, is left out. One that nothing can be made of stays, and Explain knows of it.
func (s *session) referTo(e *rawjson.Edits, b []byte, f *requestFields, items []inputItem) {
	named := map[string]bool{}
	for i := range items {
		item := &items[i]
		switch {
		case !item.own:
			continue
		case item.reference && named[item.id]:
			e.Drop(b, f.input, item.at)
			item.own = false
		case named[item.id]:
			item.again = true
		case item.reference && item.function == "" && s.recall(ownKey(item.id), "call") == nil:
			s.unknown = append(s.unknown, item.id)
			item.own = false
		}
		named[item.id] = true
	}
}

// restoreCalls translates mcp_call items and references to such. Each stays where it is; the results come after the last item of
// their turn.
func (s *session) restoreCalls(e *rawjson.Edits, b []byte, items []inputItem) {
	for i := 0; i < len(items) && !s.opts.Left(i); i++ {
		if !items[i].own {
			continue
		}
		last := s.turnEnd(items, i)
		var outputs []byte
		for ; i <= last; i++ {
			item := &items[i]
			if !item.own {
				continue
			}
			e.Replace(item.at, s.functionCall(b, item))
			outputs = appendOutput(append(outputs, ','), item.callID, s.replayedOutput(b, item))
		}
		i = last
		e.Insert(items[last].at.End, outputs)
	}
}

// turnEnd is the index of the last item of the turn that the call items[first] is of. What else the model made may stand between
// calls. After them, where memory does not know better, only the client's own calls count: nothing says of other items whether
// the model made them before or after it had the results, and either order is a conversation.
func (s *session) turnEnd(items []inputItem, first int) int {
	own, last := first, first
	for i := first + 1; i < len(items) && items[i].isModels() && !(items[i].own && !items[i].more); i++ {
		if items[i].own {
			own, last = i, i
		}
		if items[i].isCall() && i == last+1 {
			last = i
		}
	}
	if id := rawjson.Unquote(s.recall(endKey(items[own].id), "id")); id != "" {
		for i := own; i < len(items) && items[i].isModels() && (i == own || !items[i].own || items[i].more); i++ {
			if items[i].id == id {
				return i
			}
		}
	}
	return last
}

// functionCall is the item that a call was before it was shown as an mcp_call. Of one that the client only names and memory has lost,
// the provider may still have it.
func (s *session) functionCall(b []byte, item *inputItem) []byte {
	if item.reference {
		if call := s.recall(ownKey(item.id), "call"); call != nil {
			return call
		}
		s.unknown = append(s.unknown, item.function)
		return append(rawjson.AppendString([]byte(`{"type":"item_reference","id":`), item.function), '}')
	}
	c := []byte(`{"type":"function_call",`)
	if item.function != "" {
		c = append(rawjson.AppendString(append(c, `"id":`...), item.function), ',')
	}
	c = rawjson.AppendString(append(c, `"call_id":`...), item.callID)
	c = rawjson.AppendString(append(c, `,"name":`...), s.modelName(rawjson.Text(b, item.at, "server_label"), rawjson.Text(b, item.at, "name")))
	c = append(c, `,"arguments":`...)
	if arguments, ok := rawjson.Lookup(b, item.at, "arguments"); ok && b[arguments.Start] == '"' {
		c = append(c, asObject(arguments.Of(b))...)
	} else {
		c = append(c, `"{}"`...)
	}
	return append(c, `,"status":"completed"}`...)
}

// asObject is a JSON string of arguments as providers take it back.
func asObject(said []byte) []byte {
	if text := []byte(rawjson.Unquote(said)); !turn.IsObject(text) {
		return rawjson.AppendString(nil, turn.Object(text))
	}
	return said
}

// modelName is the name by which the model called a server's tool.
func (s *session) modelName(server, tool string) string {
	if server == "" {
		return tool // no server had it: see mcpItem
	}
	for _, t := range s.opts.Tools {
		if t.Server == server && t.Tool == tool {
			return t.Name
		}
	}
	if s.opts.ModelName != nil {
		return s.opts.ModelName(server, tool)
	}
	return turn.OwnPrefix + server + "_" + tool
}

// restoreState makes the request go on from the last turn of the response that it names, and adds the results that the provider
// waits for: those of Keyturn's calls of a turn that also called the client's tools.
func (s *session) restoreState(e *rawjson.Edits, b []byte, f *requestFields, items []inputItem) {
	var pending []byte
	added := map[[sha256.Size]byte]bool{} // the calls of one turn wait for the same results
	add := func(outputs []byte) {
		if outputs == nil {
			return
		}
		if sum := sha256.Sum256(outputs); !added[sum] {
			added[sum] = true
			pending = append(rawjson.Separate(pending), outputs...)
		}
	}
	if previous := rawjson.Word(f.previous.Of(b)); previous != "" {
		if id := s.recall(responseKey(previous), "id"); id != nil {
			s.continued = rawjson.Unquote(id)
			if s.continued != previous {
				s.previous = slices.Clone(f.previous.Of(b))
				e.Replace(f.previous, id)
			}
			add(s.recallList(responseKey(previous), "outputs"))
		}
	}
	// Only where the provider has the calls: otherwise they stand in the input, and Keyturn's beside them.
	if pending == nil && f.stateful() {
		called := map[string]bool{} // or asked for
		for i := range items {
			switch item := &items[i]; {
			case item.isCall():
				called[item.callID] = true
			case strings.HasSuffix(item.kind, "call_output") && item.callID != "" && !called[item.callID]:
				called[item.callID] = true
				add(s.recallList(callKey(item.callID), "outputs"))
			}
		}
	}
	if pending == nil {
		return
	}
	switch {
	case len(items) > 0:
		e.Insert(items[0].at.Start, append(pending, ','))
	case f.input.Found() && b[f.input.Start] == '"':
		e.Replace(f.input, slices.Concat([]byte{'['}, pending, rawjson.Comma, userMessage(f.input.Of(b)), []byte{']'}))
	default:
		e.Set(b, rawjson.Whole(b), "input", slices.Concat([]byte{'['}, pending, []byte{']'}))
	}
}

// userMessage is a text, JSON, as the item that it means when it is all of the input.
func userMessage(raw []byte) []byte {
	return slices.Concat([]byte(`{"role":"user","content":`), raw, []byte{'}'})
}
