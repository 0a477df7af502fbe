// Package recall has what dialects remember with: names for conversations, and the records that a turn.Memory keeps under them.
package recall

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
)

// Digest stands for a conversation up to a message, as far as clients send it again unchanged.
type Digest [sha256.Size]byte

// String is the digest in letters and digits, for the key of a record.
func (d *Digest) String() string { return base64.RawURLEncoding.EncodeToString(d[:]) }

// Hasher makes digests. It is made by NewHasher, and used again after Reset.
type Hasher struct{ sha256 hash.Hash }

// NewHasher makes a Hasher.
func NewHasher() Hasher { return Hasher{sha256.New()} }

// Reset begins another digest.
func (h Hasher) Reset() { h.sha256.Reset() }

// Add adds a piece. Each goes in with its length, so that no two rows of pieces look alike.
func (h Hasher) Add(piece []byte) {
	var size [8]byte
	binary.LittleEndian.PutUint64(size[:], uint64(len(piece)))
	_, _ = h.sha256.Write(size[:]) // a hash never fails
	_, _ = h.sha256.Write(piece)
}

// Squeeze hashes a text without its white space, which clients trim and change, and returns how many bytes that is. Texts may come in
// any number of pieces; Squeezed ends them.
func (h Hasher) Squeeze(text string) (n int) {
	var room [512]byte
	b := room[:0]
	for _, r := range text {
		if unicode.IsSpace(r) {
			continue
		}
		if b = utf8.AppendRune(b, r); len(b) > len(room)-utf8.UTFMax {
			_, _ = h.sha256.Write(b)
			n, b = n+len(b), room[:0]
		}
	}
	_, _ = h.sha256.Write(b)
	return n + len(b)
}

// Squeezed ends a text of n bytes.
func (h Hasher) Squeezed(n int) {
	var size [8]byte
	binary.LittleEndian.PutUint64(size[:], uint64(n))
	_, _ = h.sha256.Write(size[:])
}

// Digest is the digest of what was added since Reset.
func (h Hasher) Digest() (d Digest) {
	h.sha256.Sum(d[:0])
	return d
}

// Record is a remembered JSON object that is being written. The zero value has no members yet, and is no JSON.
type Record []byte

// Add adds a member. The value is JSON.
func (r *Record) Add(name string, value []byte) {
	if len(*r) == 0 {
		*r = append(*r, '{')
	} else {
		(*r)[len(*r)-1] = ','
	}
	*r = append(append(append(rawjson.AppendString(*r, name), ':'), value...), '}')
}

// AddList adds a list of values, which come joined by commas, unless there are none.
func (r *Record) AddList(name string, values []byte) {
	if len(values) > 0 {
		r.Add(name, slices.Concat([]byte{'['}, values, []byte{']'}))
	}
}
