package scripted

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"mime"
	"mime/multipart"
	"sync"

	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// intake takes in a request body: counts it, hashes it, keeps it while it is small enough, and picks its fields.
type intake struct {
	hash   hash.Hash
	size   int64
	limit  int64 // of kept
	kept   []byte
	fields *fields // nil: not a JSON body
}

func (in *intake) Write(p []byte) (int, error) {
	in.size += int64(len(p))
	in.hash.Write(p)
	if in.fields != nil {
		_, _ = in.fields.Write(p)
	}
	if in.size <= in.limit {
		in.kept = append(in.kept, p...)
	} else {
		in.kept = nil
	}
	return len(p), nil
}

// upload is the file in a multipart body.
type upload struct {
	name, purpose string
	size          int64
}

var copyBuffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// read reads the request's body to its end, and holds it for a strict provider and for a model that looks at it. An error means
// that the client left, or the server was closed.
func (x *exchange) read(model bool) error {
	in := &intake{hash: sha256.New(), limit: x.p.cfg.KeepBytes}
	if model || x.p.cfg.Strict {
		in.limit = max(in.limit, defaultKeepBytes)
	}
	if n := x.r.ContentLength; n > 0 && n <= in.limit {
		in.kept = make([]byte, 0, n)
	}
	if _, ok := languageOf(x.req.Endpoint); ok {
		x.fields.wanted = shown
		in.fields = &x.fields
	}
	switch x.req.Endpoint {
	case talk.Embeddings:
		x.fields.wanted = []string{"model", "input", "encoding_format", "dimensions"}
		in.fields = &x.fields
	case talk.Files:
		x.readUpload(io.TeeReader(x.r.Body, in))
	default:
	}

	buf, _ := copyBuffers.Get().(*[64 << 10]byte)
	_, err := io.CopyBuffer(in, x.r.Body, buf[:])
	copyBuffers.Put(buf)

	x.req.BodySize, x.req.Whole = in.size, err == nil
	x.req.SHA256 = hex.EncodeToString(in.hash.Sum(nil))
	if x.body = in.kept; in.size > 0 && in.size <= x.p.cfg.KeepBytes {
		x.req.Body = in.kept
	}
	x.fields.decode("model", &x.req.Model)
	x.fields.decode("stream", &x.req.Stream)
	return err
}

// readUpload reads the parts of a multipart body. Where it is none, or broken, it stops; the rest is read like any other body.
func (x *exchange) readUpload(body io.Reader) {
	kind, params, err := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" {
		return
	}
	parts := multipart.NewReader(body, params["boundary"])
	for err == nil {
		var part *multipart.Part
		if part, err = parts.NextPart(); err != nil {
			return
		}
		switch part.FormName() {
		case "file":
			x.upload.name = part.FileName()
			x.upload.size, err = io.Copy(io.Discard, part)
		case "purpose":
			var b []byte
			b, err = io.ReadAll(io.LimitReader(part, 256))
			x.upload.purpose = string(b)
		}
	}
}
