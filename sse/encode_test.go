package sse_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/sse"
)

func TestAppendEvent(t *testing.T) {
	for _, tc := range []struct {
		name      string
		typ, data string
		want      string
	}{
		{"type and data", "ping", `{"type":"ping"}`, "event: ping\ndata: {\"type\":\"ping\"}\n\n"},
		{"no type", "", "[DONE]", "data: [DONE]\n\n"},
		{"no data is empty data", "a", "", "event: a\ndata: \n\n"},
		{"two lines", "", "a\nb", "data: a\ndata: b\n\n"},
		{"every line end", "", "a\rb\r\nc\nd\n\re", "data: a\ndata: b\ndata: c\ndata: d\ndata: \ndata: e\n\n"},
		{"line ends at the end", "", "a\r\n\n\r", "data: a\ndata: \ndata: \ndata: \n\n"},
		{"line feeds only", "", "\n\n", "data: \ndata: \ndata: \n\n"},
		{"spaces are kept", " a ", "  b ", "event:  a \ndata:   b \n\n"},
		{"fields in the data stay data", "", "x\n\nevent: y", "data: x\ndata: \ndata: event: y\n\n"},
		{"type with LF is left out", "a\ndata: b", "c", "data: c\n\n"},
		{"type with CR is left out", "a\rdata: b", "c", "data: c\n\n"},
		{"type that ends a line is left out", "a\r\n", "c", "data: c\n\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.Equal(t, "before"+tc.want, string(sse.AppendEvent([]byte("before"), tc.typ, []byte(tc.data))))
			require.Equal(t, tc.want, string(sse.AppendEvent(nil, tc.typ, []byte(tc.data))))
		})
	}
}

func TestAppendComment(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"", ": \n\n"},
		{"keep-alive", ": keep-alive\n\n"},
		{"a\r\ndata: b\n\n", ": a\n: data: b\n: \n: \n\n"},
	} {
		require.Equal(t, tc.want, string(sse.AppendComment(nil, tc.text)))
		require.Equal(t, "before"+tc.want, string(sse.AppendComment([]byte("before"), tc.text)))
	}
}

// arrived is data as a client sees it: it has no other line end than LF.
func arrived(data string) string {
	return strings.ReplaceAll(strings.ReplaceAll(data, "\r\n", "\n"), "\r", "\n")
}

// encoded checks that what was written is read again, whatever is in it.
func encoded(t *testing.T, typ, data, comment string) {
	t.Helper()
	event := string(sse.AppendEvent(nil, typ, []byte(data)))
	note := string(sse.AppendComment(nil, comment))
	want := seen{Raw: event, Type: typ, Data: arrived(data), Dispatched: true, Retry: -1}
	if strings.ContainsAny(typ, "\r\n") {
		want.Type = ""
	}
	silent := seen{Raw: note, Retry: -1}
	r := decode(t, sse.Limits{}, note+event+note+event)
	require.NoError(t, r.err)
	require.Equal(t, []seen{silent, want, silent, want}, r.events)
	again := sse.AppendEvent(nil, want.Type, []byte(want.Data))
	require.Equal(t, event, string(again), "encoding what was decoded changes nothing")
}

func TestEncodeThenDecode(t *testing.T) {
	parts := []string{"", "a", " ", "\n", "\r", "\r\n", ":", "\x00", bom, "data: x", "event: y", "é"}
	for _, a := range parts {
		for _, b := range parts {
			for _, c := range parts {
				encoded(t, a+b, b+c+a, c+a)
				encoded(t, "x", a+b+c, a+b+c)
			}
		}
	}
}
