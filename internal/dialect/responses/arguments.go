package responses

import (
	"bytes"
	"slices"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// This file has the arguments of a call, which come in pieces, then in an event of their own, in the item and in the response.

// argue adds a delta of arguments: b[at] is its event.
func (i *outputItem) argue(b []byte, at rawjson.Span) {
	if delta, ok := rawjson.Lookup(b, at, "delta"); ok && b[delta.Start] == '"' {
		i.deltas.Add(b[delta.Start+1 : delta.End-1])
	}
}

// argued takes the arguments, a JSON string, where they are said to be whole. Some providers leave them out there.
func (i *outputItem) argued(value []byte) {
	if value[0] == '"' && len(bytes.TrimSpace([]byte(rawjson.Unquote(value)))) > 0 {
		i.arguments = slices.Clone(value)
	}
}

// text are the arguments as the model wrote them; empty if none came.
func (i *outputItem) text() []byte {
	if i.arguments != nil {
		return turn.Once([]byte(rawjson.Unquote(i.arguments)))
	}
	return i.deltas.Text()
}

// said are the arguments of a call, a JSON string: byte for byte as the provider has them, unless they are there more than once.
func (i *outputItem) said() []byte {
	if i.meant != nil {
		return i.meant
	}
	said := i.arguments
	if said == nil {
		said = i.soFar()
	}
	if text := i.text(); rawjson.Unquote(said) != string(text) {
		return rawjson.AppendString(nil, text)
	}
	return said
}

// soFar is what has come of the arguments in pieces, a JSON string.
func (i *outputItem) soFar() []byte {
	return append(append([]byte{'"'}, i.deltas.Raw()...), '"')
}

// key tells a call from others.
func (i *outputItem) key() string { return i.callID + "\x00" + i.name + "\x00" + string(i.text()) }

// forProvider is the item of a call as it goes back: with arguments that are an object.
func (i *outputItem) forProvider() []byte {
	at := rawjson.Whole(i.raw)
	text := i.text()
	if v, ok := rawjson.Lookup(i.raw, at, "arguments"); ok && turn.IsObject(text) && rawjson.Unquote(v.Of(i.raw)) == string(text) {
		return i.raw
	}
	var e rawjson.Edits
	e.Set(i.raw, at, "arguments", rawjson.AppendString(nil, turn.Object(text)))
	return e.Apply(nil, i.raw)
}
