package sse

import (
	"bytes"
	"strings"
)

// AppendEvent appends one event to dst and returns the longer slice, as append does. An empty typ is left out: the client's type is then "message".
// The data goes out as one data field for each of its lines, and a client joins them by LF: a CR or CRLF in it arrives as LF.
//
// A typ with a line break in it has no form on the wire. It is left out too, so that it cannot make fields or events of its own.
func AppendEvent(dst []byte, typ string, data []byte) []byte {
	if typ != "" && !strings.ContainsAny(typ, "\r\n") {
		dst = append(dst, "event: "...)
		dst = append(dst, typ...)
		dst = append(dst, '\n')
	}
	return append(appendLines(dst, "data: ", data), '\n')
}

// AppendComment appends a block that holds only a comment, one line for each line of text, and returns the longer slice. Clients ignore it; on the
// way it keeps the connection from looking idle. It must not be written into the middle of an event.
func AppendComment(dst []byte, text string) []byte {
	return append(appendLines(dst, ": ", []byte(text)), '\n')
}

// appendLines writes each line of text after the prefix; a text without a byte is one empty line.
func appendLines(dst []byte, prefix string, text []byte) []byte {
	end := func(text []byte) int { return bytes.IndexByte(text, '\n') }
	if bytes.IndexByte(text, '\r') >= 0 {
		end = func(text []byte) int { return bytes.IndexAny(text, "\r\n") }
	}
	for {
		i := end(text)
		dst = append(dst, prefix...)
		if i < 0 {
			dst = append(dst, text...)
			return append(dst, '\n')
		}
		dst = append(dst, text[:i]...)
		dst = append(dst, '\n')
		if text[i] == '\r' && i+1 < len(text) && text[i+1] == '\n' {
			i++
		}
		text = text[i+1:]
	}
}
