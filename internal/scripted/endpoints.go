package scripted

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// modelNames are what GET /v1/models lists.
var modelNames = []string{"scripted-1", "scripted-1-mini"}

func (x *exchange) models(talk.Turn) response {
	var data []any
	for _, name := range modelNames {
		if x.anthropic() {
			data = append(data, map[string]any{
				"type": "model", "id": name, "display_name": name, "created_at": time.Unix(1_700_000_000, 0).UTC().Format(time.RFC3339),
			})
			continue
		}
		data = append(data, map[string]any{"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "scripted"})
	}
	list := map[string]any{"object": "list", "data": data}
	if x.anthropic() {
		list = map[string]any{
			"data": data, "has_more": false, "first_id": modelNames[0], "last_id": modelNames[len(modelNames)-1],
		}
	}
	return jsonResponse(http.StatusOK, nil, talk.Encode(list))
}

func (x *exchange) countTokens(talk.Turn) response {
	return jsonResponse(http.StatusOK, nil, talk.Encode(map[string]any{"input_tokens": x.Usage(talk.Tally{}).In}))
}

// file answers an upload with the object of the file. A body that is not multipart is taken for the file itself.
func (x *exchange) file(talk.Turn) response {
	up := x.upload
	if up.name == "" {
		up = upload{name: "upload", purpose: up.purpose, size: x.req.BodySize}
	}
	if x.anthropic() {
		return jsonResponse(http.StatusOK, nil, talk.Encode(map[string]any{
			"id": x.ID("file_"), "type": "file", "size_bytes": up.size, "created_at": x.req.Time.UTC().Format(time.RFC3339),
			"filename": up.name, "mime_type": "application/octet-stream", "downloadable": false,
		}))
	}
	return jsonResponse(http.StatusOK, nil, talk.Encode(map[string]any{
		"id": x.ID("file-"), "object": "file", "bytes": up.size, "created_at": x.req.Time.Unix(), "filename": up.name,
		"purpose": up.purpose, "status": "processed",
	}))
}

// fileContent answers a download with a short file. Download has the long ones.
func (x *exchange) fileContent(t talk.Turn) response {
	text := t.Text()
	return response{
		status: http.StatusOK, length: int64(len(text)), body: once([]byte(text)),
		header: http.Header{"Content-Type": {"application/octet-stream"}},
	}
}

// Download is a file of size bytes, those of Content, whatever the request. Chunked leaves its length out.
func Download(size int64) Answer {
	return Answer{name: "download of " + strconv.FormatInt(size, 10) + " bytes", render: func(*exchange) response {
		return response{
			status: http.StatusOK, length: size, middle: max(1, int(size/int64(2*len(block())))),
			header: http.Header{"Content-Type": {"application/octet-stream"}},
			body: func(yield func([]byte) bool) {
				for left := size; left > 0; left -= int64(len(block())) {
					if !yield(block()[:min(left, int64(len(block())))]) {
						return
					}
				}
			},
		}
	}}
}

// Content is what a Download of this size sends, to compare with.
func Content(size int64) io.Reader {
	return io.LimitReader(&repeated{}, size)
}

// block is what a file consists of, over and over. Its length is a prime, so that no cut at a round number of bytes hides a
// missing piece.
var block = sync.OnceValue(func() []byte {
	b := make([]byte, 65_521)
	state := uint32(1)
	for i := range b {
		state = state*1_664_525 + 1_013_904_223 // Numerical Recipes' generator: the same bytes every time
		b[i] = byte(state >> 24)
	}
	return b
})

type repeated struct{ bytes.Reader }

func (r *repeated) Read(p []byte) (int, error) {
	if r.Len() == 0 {
		r.Reset(block())
	}
	return r.Reader.Read(p)
}

// embeddings answers with a vector of eight numbers for each input, as floats or, when asked for, in base64.
func (x *exchange) embeddings(talk.Turn) response {
	inputs := 1
	var many []json.RawMessage
	if x.fields.decode("input", &many) && len(many) > 0 && many[0][0] != '-' && (many[0][0] < '0' || many[0][0] > '9') {
		inputs = len(many) // an array of numbers is one input in tokens
	}
	dimensions, format := 8, ""
	x.fields.decode("dimensions", &dimensions)
	dimensions = min(max(1, dimensions), 4096)
	x.fields.decode("encoding_format", &format)
	data := make([]any, inputs)
	for i := range data {
		data[i] = map[string]any{"object": "embedding", "index": i, "embedding": embedding(i, dimensions, format)}
	}
	in := x.Usage(talk.Tally{}).In
	return jsonResponse(http.StatusOK, nil, talk.Encode(map[string]any{
		"object": "list", "data": data, "model": x.ModelName(), "usage": map[string]any{"prompt_tokens": in, "total_tokens": in},
	}))
}

// embedding is a vector of unit length; in base64 it is little-endian float32.
func embedding(index, dimensions int, format string) any {
	v := make([]float32, dimensions)
	v[index%dimensions] = 1
	if format != "base64" {
		return v
	}
	var raw []byte
	for _, f := range v {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(f))
	}
	return base64.StdEncoding.EncodeToString(raw)
}
