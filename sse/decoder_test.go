package sse_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/sse"
)

const bom = "\xef\xbb\xbf"

// cases are streams and the data of the events that a client gets from them. Every one is read whole, in pieces of all sizes, and cut at every byte.
var cases = []struct {
	name   string
	stream string
	want   []string
}{
	{"nothing", "", nil},
	{"field names", "data:\x00\ndata:  2\rData:1\ndata\x00:2\ndata:1\r\x00data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\ndata:4\n\n", []string{"\x00\n 2\n1\n3\n\n4"}},
	{"comments", "data:1\r:\x00\n:\r\ndata:2\n:" + strings.Repeat("x", 2048) + "\rdata:3\n:data:fail\r:" + strings.Repeat("x", 2048) + "\ndata:4\n\n", []string{"1\n2\n3\n4"}},
	{"no colon", "data:test\r\ndata\ndata:test\r\r\n", []string{"test\n\ntest"}},
	{"one space, no tab", "data:\ttest\rdata: \ndata:test\n\n", []string{"\ttest\n\ntest"}},
	{"empty data", "data:\n\ndata\ndata\n\ndata:test\n\n", []string{"", "\n", "test"}},
	{"two byte order marks", bom + bom + "data:1\n\ndata:2\n\n" + bom + "data:3\n\ndata:4\n\n", []string{"2", "4"}},
	{"one byte order mark", bom + "data:1\n\n", []string{"1"}},
	{"byte order mark alone on its line", bom + "\ndata:1\n\n", []string{"1"}},
	{"half a byte order mark", bom[:2] + "data:1\n\ndata:2\n\n", []string{"2"}},
	{"byte order mark on a later line", "\n" + bom + "data:1\n\ndata:2\n\n", []string{"2"}},
	{"no final empty line", "retry:1000\ndata:test1\n\nid:test\ndata:test2", []string{"test1"}},
	{"final line end, no empty line", "data:test1\n\ndata:test2\n", []string{"test1"}},
	{"line ends", "data: cr\r\rdata: lf\n\ndata: crlf\r\n\r\n", []string{"cr", "lf", "crlf"}},
	{"LF CR is two line ends", "data: a\n\rdata: b\n\n", []string{"a", "b"}},
	{"mixed", "data: a\r\n\rdata: b\r\r\ndata: c\n\r\n\ndata: d\r\n\n", []string{"a", "b", "c", "d"}},
	{"empty lines only", "\n\r\n\r\r\r\n\n", nil},
	{"colons in the value", "data:a:b: c\n\n", []string{"a:b: c"}},
	{"space before the colon", "data : a\n\n data:b\n\n", nil},
	{"prefixes of names", "d\ndat:1\ndata2:1\ndatab\n\ndata:1\n\n", []string{"1"}},
	{"comment only", ": OPENROUTER PROCESSING\n\n:\n\n", nil},
	{"event without data", "event: ping\n\n", nil},
	{"multi-byte characters", "data: ä€😀\n\n", []string{"ä€😀"}},
	{"windows-1252 stays as it is", "data: \xe4\n\n", []string{"\xe4"}},
	{"U+2028 and NEL end no line", "data: a\u2028b\u0085c\x0bd\x0ce\n\n", []string{"a\u2028b\u0085c\x0bd\x0ce"}},
	{"JSON over several lines", "data: {\ndata:   \"a\": 1\ndata: }\n\n", []string{"{\n  \"a\": 1\n}"}},
	{"bare JSON", "{\"error\":{\"message\":\"no\"}}\n\n", nil},
	{"error field", "error: {\"code\":500}\n\n", nil},
	{"padding", "event: message_stop\ndata: {\"type\":\"message_stop\"}       \n\n", []string{"{\"type\":\"message_stop\"}       "}},
	{"done", "data: {}\n\ndata: [DONE]\n\n", []string{"{}", "[DONE]"}},
}

func TestStandard(t *testing.T) {
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			whole := decode(t, sse.Limits{}, tc.stream)
			require.NoError(t, whole.err)
			require.Equal(t, append([]string{}, tc.want...), dispatched(whole.events))
			require.Equal(t, slow(tc.stream), whole.events)
			for n := 1; n < len(tc.stream); n++ {
				same(t, whole, decode(t, sse.Limits{}, bytewise(tc.stream, n)...))
				same(t, whole, decode(t, sse.Limits{}, tc.stream[:n], tc.stream[n:]))
			}
		})
	}
}

func TestFields(t *testing.T) {
	for _, tc := range []struct {
		name   string
		stream string
		want   seen // without Raw
	}{
		{"none", "\n", seen{Retry: -1}},
		{"type", "event: a\ndata: b\n\n", seen{Type: "a", Data: "b", Dispatched: true, Retry: -1}},
		{"last type", "event: a\ndata: b\nevent: c\n\n", seen{Type: "c", Data: "b", Dispatched: true, Retry: -1}},
		{"empty type is message", "event: a\nevent:\ndata: b\n\n", seen{Data: "b", Dispatched: true, Retry: -1}},
		{"type without data", "event: a\n\n", seen{Type: "a", Retry: -1}},
		{"id", "id: 7\ndata: b\n\n", seen{ID: "7", HasID: true, Data: "b", Dispatched: true, Retry: -1}},
		{"id without data", "id:7\n\n", seen{ID: "7", HasID: true, Retry: -1}},
		{"empty id resets", "id: 7\nid\n\n", seen{HasID: true, Retry: -1}},
		{"id with NUL", "id: 7\x008\ndata: b\n\n", seen{Data: "b", Dispatched: true, Retry: -1}},
		{"id with NUL after one without", "id: 7\nid: \x00\n\n", seen{ID: "7", HasID: true, Retry: -1}},
		{"names are case-sensitive", "ID: 7\nEvent: a\nRETRY: 1\n\n", seen{Retry: -1}},
		{"retry", "retry: 1000\n\n", seen{Retry: 1000}},
		{"retry of zero", "retry:0\n\n", seen{Retry: 0}},
		{"last retry", "retry: 1\nretry: 0002\n\n", seen{Retry: 2}},
		{"bogus retry", "retry: 1\nretry: 2x\nretry: -1\nretry: +1\nretry:  1\nretry: 1 \nretry:\nretry\nretry: ١\n\n", seen{Retry: 1}},
		{"largest retry", "retry: 9223372036854775807\n\n", seen{Retry: 1<<63 - 1}},
		{"retry too large", "retry: 9223372036854775808\n\n", seen{Retry: 1<<63 - 1}},
		{"retry far too large", "retry: " + strings.Repeat("1", 99) + "\n\n", seen{Retry: 1<<63 - 1}},
		{"truncated", "id: 1\nretry: 2\nevent: a\ndata: b", seen{Type: "a", Data: "b", ID: "1", HasID: true, Dispatched: true, Truncated: true, Retry: 2}},
		{"truncated after a line", "data: b\r\ndata: c\r", seen{Data: "b\nc", Dispatched: true, Truncated: true, Retry: -1}},
		{"truncated in a name", "event: a\ndat", seen{Type: "a", Truncated: true, Retry: -1}},
		{"truncated byte order mark", bom[:2], seen{Truncated: true, Retry: -1}},
		{"only a byte order mark", bom, seen{Truncated: true, Retry: -1}},
		{"truncated first line", bom + "data: b", seen{Data: "b", Dispatched: true, Truncated: true, Retry: -1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.want.Raw = tc.stream
			for n := 1; n <= len(tc.stream); n++ {
				require.Equal(t, []seen{tc.want}, decode(t, sse.Limits{}, bytewise(tc.stream, n)...).events)
			}
			again := decode(t, sse.Limits{}, "data:x\n\n"+tc.stream).events // not the first block: read in place
			if !strings.HasPrefix(tc.stream, bom) {
				require.Equal(t, []seen{tc.want}, again[1:])
			}
		})
	}
}

func TestLineFeedCutOffItsCRComesAtOnce(t *testing.T) {
	var got []seen
	d := sse.NewDecoder(sse.Limits{}, func(e *sse.Event) error {
		got = append(got, keep(e))
		return nil
	})
	for _, step := range []struct {
		piece string
		want  []seen
	}{
		{"data: a\r\n\r", []seen{{Raw: "data: a\r\n\r", Data: "a", Dispatched: true, Retry: -1}}},
		{"", nil},
		{"\n", []seen{{Raw: "\n", Retry: -1}}},
		{"\n", []seen{{Raw: "\n", Retry: -1}}},
		{"data: b\r", nil},
		{"\ndata: c\r", nil},
		{"\r", []seen{{Raw: "data: b\r\ndata: c\r\r", Data: "b\nc", Dispatched: true, Retry: -1}}},
		{"\ndata: d\n\n", []seen{{Raw: "\n", Retry: -1}, {Raw: "data: d\n\n", Data: "d", Dispatched: true, Retry: -1}}},
	} {
		got = nil
		n, err := d.Write([]byte(step.piece))
		require.NoError(t, err)
		require.Equal(t, len(step.piece), n)
		require.Equal(t, step.want, got, "%q", step.piece)
	}
	got = nil
	require.NoError(t, d.Close())
	require.Empty(t, got)
}

func TestRefusedEventStopsTheDecoder(t *testing.T) {
	stream := "data: a\n\nid: 1\ndata: b\n\ndata: c\n\ndata: d"
	for cut := 0; cut <= len(stream); cut++ {
		for _, data := range []string{"a", "b", "c"} {
			var got bytes.Buffer
			d := refuser(data, &got)
			rest := ""
			require.Equal(t, errRefused, feed(t, d, &rest, []string{stream[:cut], stream[cut:]}))
			require.True(t, strings.HasSuffix(got.String(), "data: "+data+"\n\n"), "the refused one was the last")
			require.Equal(t, stream, got.String()+rest)
		}
	}
}

func TestRefusedTail(t *testing.T) {
	var got bytes.Buffer
	d := refuser("a", &got)
	_, err := d.Write([]byte("data: a"))
	require.NoError(t, err)
	require.Equal(t, errRefused, d.Close())
	require.Equal(t, errRefused, d.Close())
	n, err := d.Write([]byte("\n\n"))
	require.Equal(t, errRefused, err)
	require.Zero(t, n)
	require.Equal(t, "data: a", got.String())
	require.Empty(t, d.Held())
}

func TestRefusedLineFeed(t *testing.T) {
	d := sse.NewDecoder(sse.Limits{}, func(e *sse.Event) error {
		if !e.Dispatched {
			return errRefused
		}
		return nil
	})
	_, err := d.Write([]byte("data: a\r\r"))
	require.NoError(t, err)
	n, err := d.Write([]byte("\ndata: b\r\r"))
	require.Equal(t, errRefused, err)
	require.Equal(t, 1, n)
	require.Empty(t, d.Held())
}

func TestCloseAndReset(t *testing.T) {
	var got []seen
	d := sse.NewDecoder(sse.Limits{LineBytes: 8}, func(e *sse.Event) error {
		got = append(got, keep(e))
		return nil
	})
	want := []seen{{Raw: bom + "d\r", Retry: -1, Truncated: true}}
	for range 3 {
		got = nil
		_, err := d.Write([]byte(bom + "d\r"))
		require.NoError(t, err)
		require.Equal(t, bom+"d\r", string(d.Held()))
		require.NoError(t, d.Close())
		require.NoError(t, d.Close())
		require.Equal(t, want, got)
		n, err := d.Write([]byte("x"))
		require.EqualError(t, err, "sse: the stream was closed")
		require.Zero(t, n)

		d.Reset()
		_, err = d.Write([]byte("data: a\ndata: b")) // given up in the middle
		require.NoError(t, err)
		d.Reset()
		_, err = d.Write([]byte("data: 890\n\n"))
		require.ErrorIs(t, err, sse.ErrTooLong)
		d.Reset()
		require.Empty(t, d.Held())
		require.NoError(t, d.Close())
		require.Equal(t, want, got, "nothing of the stream before")
		d.Reset()
	}
}
