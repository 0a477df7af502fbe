package mcp

import (
	"bytes"
	"encoding/base64"
	"mime"
	"strings"
)

// pictures are the kinds of images that models take, and the bytes with which each begins.
var pictures = []struct {
	mime string
	is   func(data []byte) bool
}{
	{"image/png", begins("\x89PNG\r\n\x1a\n")},
	{"image/jpeg", begins("\xff\xd8\xff")},
	{"image/gif", begins("GIF8")},
	{"image/webp", func(data []byte) bool {
		return len(data) >= 12 && string(data[:4]) == "RIFF" && string(data[8:12]) == "WEBP"
	}},
}

func begins(with string) func([]byte) bool {
	return func(data []byte) bool { return bytes.HasPrefix(data, []byte(with)) }
}

// media reads an image or a sound. Servers declare wrongly what an image is, and providers refuse a request for it: the bytes say.
func media(kind Kind, text, declared string) Content {
	data, inside, ok := decode(text)
	if inside != "" {
		declared = inside
	}
	declared, _, _ = mime.ParseMediaType(declared)
	switch {
	case !ok:
		return note("%v whose data cannot be read", kind)
	case len(data) == 0:
		return note("%v without data", kind)
	case kind != Image:
		return Content{Kind: kind, Data: data, MIME: declared}
	}
	claimed := declared == "image/jpg"
	for _, p := range pictures {
		if p.is(data) {
			return Content{Kind: Image, Data: data, MIME: p.mime}
		}
		claimed = claimed || declared == p.mime
	}
	if claimed {
		return note("image of %d bytes that is no %s", len(data), declared)
	}
	return Content{Kind: Image, Data: data, MIME: declared}
}

// decode reads base64 in any of its forms, or a data URL, whose type it returns. https://www.rfc-editor.org/rfc/rfc2397
func decode(text string) (data []byte, mime string, ok bool) {
	if text == "" {
		return nil, "", true
	}
	if rest, isURL := strings.CutPrefix(text, "data:"); isURL {
		head, body, _ := strings.Cut(rest, ",")
		var encoded bool
		if mime, encoded = strings.CutSuffix(head, ";base64"); !encoded {
			return nil, mime, false
		}
		text = body
	}
	data, err := base64.StdEncoding.DecodeString(text) // it passes over line breaks
	if err == nil {
		return data, mime, true
	}
	text = strings.TrimRight(strings.NewReplacer("-", "+", "_", "/", " ", "", "\t", "", "\r", "", "\n", "").Replace(text), "=")
	data, err = base64.RawStdEncoding.DecodeString(text)
	return data, mime, err == nil
}
