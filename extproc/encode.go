package extproc

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/keyturn/keyturn/internal/wire"
)

// reply is a ProcessingResponse that is already encoded. The transport holds on to what it is handed after SendMsg has
// returned, so a reply gives its bytes away and starts anew.
type reply struct {
	wire   []byte
	pooled *[]byte // of replies, where wire is built; nil: wire is its own
}

// replies is where replies are built. The transport gives their memory back once it is written to the connection.
var replies = newBufferPool(11, 12, 13, 14, 15, 16, 17)

// mostPooled is the largest buffer of the pool, in bytes: what is larger is rare, and not worth keeping. The smallest has 2 KiB, since
// package mem gives none back that has up to 1 KiB.
const mostPooled = 1 << 17

// newBufferPool has buffers of 2 to the power of each of exponents.
func newBufferPool(exponents ...uint8) mem.BufferPool {
	pool, err := mem.NewBinaryTieredBufferPool(exponents...)
	if err != nil { // never, with such sizes
		return mem.NopBufferPool{}
	}
	return pool
}

// marshal hands the encoded bytes to the transport.
func (r *reply) marshal() mem.BufferSlice {
	var b mem.Buffer
	if r.pooled != nil && cap(*r.pooled) == cap(r.wire) {
		*r.pooled = r.wire
		b = mem.NewBuffer(r.pooled, replies)
	} else {
		b = mem.SliceBuffer(r.wire)
	}
	r.wire, r.pooled = nil, nil
	return mem.BufferSlice{b}
}

// start begins a message of at most n bytes.
func (r *reply) start(n int) {
	r.drop()
	if n > mostPooled {
		r.wire = make([]byte, 0, n)
		return
	}
	r.pooled = replies.Get(n)
	r.wire = (*r.pooled)[:0]
}

// drop gives up what was not sent.
func (r *reply) drop() {
	if r.pooled != nil {
		replies.Put(r.pooled)
	}
	r.wire, r.pooled = nil, nil
}

// mutation collects what becomes a HeaderMutation, in its wire form: set_headers 1, remove_headers 2.
type mutation struct{ wire []byte }

func (m *mutation) reset() { m.wire = m.wire[:0] }

// set writes a HeaderValueOption {header 1 {key 1, raw_value 3}, append_action 3}: whatever is there is overwritten. prefix
// and value are joined.
func (m *mutation) set(name, prefix, value string) {
	size := len(prefix) + len(value)
	pair := sizeBytes(len(name)) + sizeBytes(size)
	m.wire = appendHead(m.wire, 1, sizeBytes(pair)+2)
	m.wire = appendHead(m.wire, 1, pair)
	m.wire = appendText(m.wire, 1, name)
	m.wire = appendHead(m.wire, 3, size)
	m.wire = append(m.wire, prefix...)
	m.wire = append(m.wire, value...)
	m.wire = append(m.wire, 3<<3, 2) // append_action: OVERWRITE_IF_EXISTS_OR_ADD
}

// length says how many bytes the body has.
func (m *mutation) length(n int) {
	var b [20]byte
	m.set("content-length", "", string(strconv.AppendInt(b[:0], int64(n), 10)))
}

func (m *mutation) remove(name string) { m.wire = appendText(m.wire, 2, name) }

func (m *mutation) removeBytes(name []byte) {
	m.wire = appendHead(m.wire, 2, len(name))
	m.wire = append(m.wire, name...)
}

// setting and removing give the wire form of mutations that are the same for every request.
func removing(names ...string) []byte {
	var m mutation
	for _, name := range names {
		m.remove(name)
	}
	return m.wire
}

// bodyMode is envoy.extensions.filters.http.ext_proc.v3.ProcessingMode.BodySendMode.
type bodyMode byte

const (
	bodyNone     bodyMode = 0
	bodyBuffered bodyMode = 2 // whole; what is more than Envoy can hold hangs
	bodyPartial  bodyMode = 3 // as much as Envoy can hold; the answer loses its content-length
	bodyDuplex   bodyMode = 4 // FULL_DUPLEX_STREAMED
)

// modes is a mode_override. It names both body modes, since one that is unset means NONE.
type modes struct {
	set               bool
	trailers          bool     // the response's are sent, and Envoy keeps the stream until it knows whether there are some
	request, response bodyMode // with a response of bodyDuplex the response's trailers are sent too, as Envoy demands
}

// pass is the reply to k that changes only the headers in mut, which may be nil. Headers are the same message for all six
// kinds as far as it is used: field 1 or, for trailers, nothing.
func (r *reply) pass(k kind, mut *mutation, mode modes, md *dynamic) {
	inner := 0
	if mut != nil && len(mut.wire) > 0 {
		inner = sizeBytes(len(mut.wire)) // CommonResponse.header_mutation 2
	}
	outer := 0
	if inner > 0 {
		outer = sizeBytes(inner) // HeadersResponse.response, BodyResponse.response 1
	}
	r.start(sizeBytes(outer) + 16 + md.size())
	r.wire = appendHead(r.wire, replyField(k), outer)
	if inner > 0 {
		r.wire = appendHead(r.wire, 1, inner)
		r.wire = appendHead(r.wire, 2, len(mut.wire))
		r.wire = append(r.wire, mut.wire...)
	}
	r.wire = md.append(r.wire)
	r.override(mode)
}

// body is the reply to a body that was sent whole: it puts another in its place. mut must set content-length, or Envoy answers
// with a 500.
func (r *reply) body(k kind, mut *mutation, body []byte, md *dynamic) {
	change := sizeBytes(sizeBytes(len(body)))   // CommonResponse.body_mutation 3, BodyMutation.body 1
	common := sizeBytes(len(mut.wire)) + change // BodyResponse.response 1
	r.start(sizeBytes(sizeBytes(common)) + 16 + md.size())
	r.wire = appendHead(r.wire, replyField(k), sizeBytes(common))
	r.wire = appendHead(r.wire, 1, common)
	r.wire = appendHead(r.wire, 2, len(mut.wire))
	r.wire = append(r.wire, mut.wire...)
	r.wire = appendHead(r.wire, 3, sizeBytes(len(body)))
	r.wire = appendHead(r.wire, 1, len(body))
	r.wire = append(r.wire, body...)
	r.wire = md.append(r.wire)
}

// cleared is the reply to a body that was sent whole: nothing takes its place. mut must set content-length to 0.
func (r *reply) cleared(k kind, mut *mutation, md *dynamic) {
	const change = 4 // CommonResponse.body_mutation 3, BodyMutation.clear_body 2
	common := sizeBytes(len(mut.wire)) + change
	r.start(sizeBytes(sizeBytes(common)) + md.size())
	r.wire = appendHead(r.wire, replyField(k), sizeBytes(common))
	r.wire = appendHead(r.wire, 1, common)
	r.wire = appendHead(r.wire, 2, len(mut.wire))
	r.wire = append(r.wire, mut.wire...)
	r.wire = append(r.wire, 3<<3|byte(protowire.BytesType), 2, 2<<3, 1)
	r.wire = md.append(r.wire)
}

// maxChunk is the most bytes of a body that one message to Envoy has.
const maxChunk = 64 << 10

// chunk is a piece of a response's body in the mode bodyDuplex: BodyResponse.response 1, CommonResponse.body_mutation 3,
// BodyMutation.streamed_response 3 {body 1, end_of_stream 2}.
func (r *reply) chunk(body []byte, end bool, md *dynamic) {
	streamed := 0
	if len(body) > 0 {
		streamed = sizeBytes(len(body))
	}
	if end {
		streamed += 2
	}
	mutation := sizeBytes(streamed)
	common := sizeBytes(mutation)
	r.start(sizeBytes(sizeBytes(common)) + md.size())
	r.wire = appendHead(r.wire, replyField(responseBody), sizeBytes(common))
	r.wire = appendHead(r.wire, 1, common)
	r.wire = appendHead(r.wire, 3, mutation)
	r.wire = appendHead(r.wire, 3, streamed)
	if len(body) > 0 {
		r.wire = appendHead(r.wire, 1, len(body))
		r.wire = append(r.wire, body...)
	}
	if end {
		r.wire = append(r.wire, 2<<3, 1)
	}
	r.wire = md.append(r.wire)
}

// wait asks Envoy for more time before the reply that is due: override_message_timeout 10, a Duration {seconds 1}. Envoy grants it
// once a message, up to the filter's max_message_timeout.
func (r *reply) wait(d time.Duration) {
	var b [16]byte
	seconds := protowire.AppendVarint(append(b[:0], 1<<3), uint64(d/time.Second))
	r.start(sizeBytes(len(seconds)))
	r.wire = appendHead(r.wire, 10, len(seconds))
	r.wire = append(r.wire, seconds...)
}

func (r *reply) override(mode modes) {
	if !mode.set {
		return
	}
	// ProcessingMode: request_body_mode 3, response_body_mode 4, response_trailer_mode 6 (SEND = 1)
	var b [8]byte
	p := b[:0]
	if mode.request != bodyNone {
		p = append(p, 3<<3, byte(mode.request))
	}
	if mode.response != bodyNone {
		p = append(p, 4<<3, byte(mode.response))
	}
	if mode.response == bodyDuplex || mode.trailers {
		p = append(p, 6<<3, 1)
	}
	r.wire = appendHead(r.wire, 9, len(p))
	r.wire = append(r.wire, p...)
}

// immediate is an ImmediateResponse {status 1 {code 1}, headers 2, body 3, details 5}: what the front gets for an answer.
func (r *reply) immediate(status int, mut *mutation, body []byte, details string, md *dynamic) {
	code := protowire.SizeTag(1) + protowire.SizeVarint(uint64(status))
	size := sizeBytes(code) + sizeBytes(len(mut.wire)) + sizeBytes(len(body)) + sizeBytes(len(details))
	r.start(sizeBytes(size) + md.size())
	r.wire = appendHead(r.wire, 7, size)
	r.wire = appendHead(r.wire, 1, code)
	r.wire = append(r.wire, 1<<3)
	r.wire = protowire.AppendVarint(r.wire, uint64(status))
	r.wire = appendHead(r.wire, 2, len(mut.wire))
	r.wire = append(r.wire, mut.wire...)
	r.wire = appendHead(r.wire, 3, len(body))
	r.wire = append(r.wire, body...)
	r.wire = appendText(r.wire, 5, details)
	r.wire = md.append(r.wire)
}

// replyField is the field of ProcessingResponse that answers k.
func replyField(k kind) protowire.Number {
	switch k {
	case requestHeaders:
		return 1
	case responseHeaders:
		return 2
	case requestBody:
		return 3
	case responseBody:
		return 4
	case requestTrailers:
		return 5
	case responseTrailers, unknownMessage:
	}
	return 6
}

// dynamic collects the fields of the Struct that becomes dynamic metadata under wire.Namespace. A nil one is none.
type dynamic struct{ wire []byte }

func (d *dynamic) reset() { d.wire = d.wire[:0] }

// text adds a field whose value is the pieces, joined.
func (d *dynamic) text(name string, pieces ...string) {
	size := 0
	for _, p := range pieces {
		size += len(p)
	}
	d.field(name, sizeBytes(size))
	d.wire = appendHead(d.wire, 3, size) // Value.string_value
	for _, p := range pieces {
		d.wire = append(d.wire, p...)
	}
}

// bytes is text for what is not kept. What is no UTF-8 is made so: Envoy takes no message with such a string in it.
func (d *dynamic) bytes(name string, value []byte) {
	if !utf8.Valid(value) {
		d.text(name, strings.ToValidUTF8(string(value), "\uFFFD"))
		return
	}
	d.field(name, sizeBytes(len(value)))
	d.wire = appendHead(d.wire, 3, len(value))
	d.wire = append(d.wire, value...)
}

func (d *dynamic) number(name string, n float64) {
	d.field(name, 9)
	d.wire = append(d.wire, 2<<3|byte(protowire.Fixed64Type)) // Value.number_value
	d.wire = protowire.AppendFixed64(d.wire, math.Float64bits(n))
}

// field opens Struct.fields, an entry {key 1, value 2}, up to the value's content.
func (d *dynamic) field(name string, value int) {
	d.wire = appendHead(d.wire, 1, sizeBytes(len(name))+sizeBytes(value))
	d.wire = appendText(d.wire, 1, name)
	d.wire = appendHead(d.wire, 2, value)
}

// size is what append adds at most.
func (d *dynamic) size() int {
	if d == nil || len(d.wire) == 0 {
		return 0
	}
	return len(d.wire) + len(wire.Namespace) + 32
}

// append writes ProcessingResponse.dynamic_metadata 8: a Struct whose one field is the namespace, a Struct again.
func (d *dynamic) append(b []byte) []byte {
	if d == nil || len(d.wire) == 0 {
		return b
	}
	value := sizeBytes(len(d.wire)) // Value.struct_value 5
	entry := sizeBytes(len(wire.Namespace)) + sizeBytes(value)
	b = appendHead(b, 8, sizeBytes(entry))
	b = appendHead(b, 1, entry)
	b = appendText(b, 1, wire.Namespace)
	b = appendHead(b, 2, value)
	b = appendHead(b, 5, len(d.wire))
	return append(b, d.wire...)
}

// appendHead opens a length-delimited field. All field numbers here are below 16: one byte of tag.
func appendHead(b []byte, num protowire.Number, size int) []byte {
	return protowire.AppendVarint(append(b, byte(num)<<3|byte(protowire.BytesType)), uint64(size))
}

func appendText(b []byte, num protowire.Number, s string) []byte {
	return append(appendHead(b, num, len(s)), s...)
}

// sizeBytes is the size of a length-delimited field with n bytes in it.
func sizeBytes(n int) int { return 1 + protowire.SizeBytes(n) }

// seconds is a whole number of seconds as a header has it, rounded up.
func seconds(s float64) string { return strconv.FormatInt(int64(math.Ceil(s)), 10) }
