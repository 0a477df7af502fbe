package extproc

import (
	"errors"
	"math"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// kind says which of the ProcessingRequest's messages has arrived.
type kind uint8

const (
	unknownMessage kind = iota
	requestHeaders
	responseHeaders
	requestBody
	responseBody
	requestTrailers
	responseTrailers
)

func (k kind) String() string {
	switch k {
	case requestHeaders:
		return "request headers"
	case responseHeaders:
		return "response headers"
	case requestBody:
		return "request body"
	case responseBody:
		return "response body"
	case requestTrailers:
		return "request trailers"
	case responseTrailers:
		return "response trailers"
	case unknownMessage:
	}
	return "unknown message"
}

// header is one HTTP header as Envoy sent it, its name in lower case. Both slices belong to the message.
type header struct{ name, value []byte }

// message is a ProcessingRequest, decoded as far as an attempt reads it. It aliases one buffer of the transport, which it
// holds until it is decoded into again or released.
type message struct {
	kind    kind
	end     bool // no body and no trailers follow
	headers []header
	body    []byte
	details []byte // attribute response.code_details: who made the response, and why
	flags   uint64 // attribute response.flags
	address []byte // attribute upstream.local_address: of the connection to the provider

	hold mem.Buffer
}

var errWire = errors.New("not a ProcessingRequest: broken protobuf")

// buffers is where a message that arrived in pieces is put together: the smallest power of two that holds it, up to 1 MiB. gRPC's own
// pool has nothing between 32 KiB and 1 MiB.
var buffers = newBufferPool(8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20)

// unmarshal decodes data in place of what m held before.
func (m *message) unmarshal(data mem.BufferSlice) error {
	m.release()
	m.hold = data.MaterializeToBuffer(buffers)
	return m.decode(m.hold.ReadOnlyData())
}

// release gives the buffer back. What aliased it must no longer be read.
func (m *message) release() {
	if m.hold != nil {
		m.hold.Free()
		m.hold = nil
	}
	clear(m.headers)
	m.headers = m.headers[:0]
	*m = message{headers: m.headers}
}

// Field numbers of envoy.service.ext_proc.v3.ProcessingRequest and of what it holds.
const (
	fieldRequestHeaders   = 2
	fieldResponseHeaders  = 3
	fieldRequestBody      = 4
	fieldResponseBody     = 5
	fieldRequestTrailers  = 6
	fieldResponseTrailers = 7
	fieldAttributes       = 9
)

var kindOfField = [...]kind{
	fieldRequestHeaders:   requestHeaders,
	fieldResponseHeaders:  responseHeaders,
	fieldRequestBody:      requestBody,
	fieldResponseBody:     responseBody,
	fieldRequestTrailers:  requestTrailers,
	fieldResponseTrailers: responseTrailers,
}

// decode reads a ProcessingRequest as proto.Unmarshal would (of a oneof the last counts, the same message twice is merged,
// of a map's key the last counts), but only what an attempt needs, and without a copy.
func (m *message) decode(b []byte) error {
	for len(b) > 0 {
		num, v, rest, err := nextField(b)
		if err != nil {
			return err
		}
		b = rest
		if v.typ != protowire.BytesType {
			continue
		}
		switch num {
		case fieldRequestHeaders, fieldResponseHeaders, fieldRequestBody, fieldResponseBody, fieldRequestTrailers, fieldResponseTrailers:
			err = m.decodeKind(kindOfField[num], v.bytes)
		case fieldAttributes:
			err = m.decodeAttributes(v.bytes)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *message) decodeKind(k kind, b []byte) error {
	if m.kind != k {
		m.kind, m.end, m.headers, m.body = k, false, m.headers[:0], nil
	}
	for len(b) > 0 {
		num, v, rest, err := nextField(b)
		if err != nil {
			return err
		}
		b = rest
		switch k {
		case requestHeaders, responseHeaders:
			switch {
			case num == 1 && v.typ == protowire.BytesType:
				err = m.decodeHeaderMap(v.bytes)
			case num == 3 && v.typ == protowire.VarintType:
				m.end = v.number != 0
			}
		case requestBody, responseBody:
			switch {
			case num == 1 && v.typ == protowire.BytesType:
				m.body = v.bytes
			case num == 2 && v.typ == protowire.VarintType:
				m.end = v.number != 0
			}
		case unknownMessage, requestTrailers, responseTrailers:
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// decodeHeaderMap reads config.core.v3.HeaderMap: headers 1, each HeaderValue {key 1, value 2, raw_value 3}.
func (m *message) decodeHeaderMap(b []byte) error {
	for len(b) > 0 {
		num, v, rest, err := nextField(b)
		if err != nil {
			return err
		}
		b = rest
		if num != 1 || v.typ != protowire.BytesType {
			continue
		}
		var h header
		var text []byte
		for e := v.bytes; len(e) > 0; {
			num, value, rest, ok := shortBytes(e)
			if !ok {
				n, v, r, err := nextField(e)
				if err != nil {
					return err
				}
				num, value, rest = n, v.bytes, r
				if v.typ != protowire.BytesType {
					num = 0
				}
			}
			e = rest
			switch num {
			case 1:
				h.name = value
			case 2:
				text = value
			case 3:
				h.value = value
			}
		}
		if len(h.value) == 0 {
			h.value = text
		}
		m.headers = append(m.headers, h)
	}
	return nil
}

// decodeAttributes reads one entry of attributes, a map from the filter's name to Struct. Envoy sends one entry.
func (m *message) decodeAttributes(entry []byte) error {
	_, value, err := mapEntry(entry)
	if err != nil {
		return err
	}
	m.details, m.flags, m.address = nil, 0, nil
	return eachEntry(value, 1, func(key, value []byte) error {
		text, number, err := decodeValue(value)
		switch string(key) {
		case "response.code_details":
			m.details = text
		case "response.flags":
			m.flags = wholeNumber(number)
		case "upstream.local_address":
			m.address = text
		}
		return err
	})
}

// wholeNumber is a number of a Struct as an integer; 0 where it is none.
func wholeNumber(n float64) uint64 {
	if n < 0 || n >= 1<<63 || n != math.Trunc(n) {
		return 0
	}
	return uint64(n)
}

// decodeValue reads google.protobuf.Value as far as it is text or a number.
func decodeValue(b []byte) (text []byte, number float64, err error) {
	for len(b) > 0 {
		num, v, rest, err := nextField(b)
		if err != nil {
			return nil, 0, err
		}
		b = rest
		switch {
		case num == 2 && v.typ == protowire.Fixed64Type:
			text, number = nil, math.Float64frombits(v.number)
		case num == 3 && v.typ == protowire.BytesType:
			text, number = v.bytes, 0
		case num == 1 && v.typ == protowire.VarintType, num == 4 && v.typ == protowire.VarintType,
			num == 5 && v.typ == protowire.BytesType, num == 6 && v.typ == protowire.BytesType:
			text, number = nil, 0
		}
	}
	return text, number, nil
}

// eachEntry calls f with each entry of the map in field num of the message b.
func eachEntry(b []byte, field protowire.Number, f func(key, value []byte) error) error {
	for len(b) > 0 {
		num, v, rest, err := nextField(b)
		if err != nil {
			return err
		}
		b = rest
		if num != field || v.typ != protowire.BytesType {
			continue
		}
		key, value, err := mapEntry(v.bytes)
		if err != nil {
			return err
		}
		if err := f(key, value); err != nil {
			return err
		}
	}
	return nil
}

// mapEntry reads a map's entry {key 1, value 2}. A value that comes in pieces is joined, as protobuf merges messages.
func mapEntry(b []byte) (key, value []byte, err error) {
	for len(b) > 0 {
		num, v, rest, err := nextField(b)
		if err != nil {
			return nil, nil, err
		}
		b = rest
		switch {
		case v.typ != protowire.BytesType:
		case num == 1:
			key = v.bytes
		case num == 2 && value == nil:
			value = v.bytes
		case num == 2:
			value = append(value[:len(value):len(value)], v.bytes...)
		}
	}
	return key, value, nil
}

// field is one field's value: bytes for a length-delimited one, number for a varint or fixed one.
type field struct {
	typ    protowire.Type
	bytes  []byte
	number uint64
}

// shortBytes reads what most fields are: length-delimited, with one byte of tag and one of length.
func shortBytes(b []byte) (num protowire.Number, value, rest []byte, ok bool) {
	if len(b) < 2 || b[0]&0x87 != byte(protowire.BytesType) || b[0] < 1<<3 || b[1] >= 0x80 || len(b)-2 < int(b[1]) {
		return 0, nil, nil, false
	}
	end := 2 + int(b[1])
	return protowire.Number(b[0] >> 3), b[2:end], b[end:], true
}

func nextField(b []byte) (protowire.Number, field, []byte, error) {
	if num, value, rest, ok := shortBytes(b); ok {
		return num, field{typ: protowire.BytesType, bytes: value}, rest, nil
	}
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 {
		return 0, field{}, nil, errWire
	}
	b = b[n:]
	f := field{typ: typ}
	switch typ {
	case protowire.BytesType:
		f.bytes, n = protowire.ConsumeBytes(b)
	case protowire.VarintType:
		f.number, n = protowire.ConsumeVarint(b)
	case protowire.Fixed64Type:
		f.number, n = protowire.ConsumeFixed64(b)
	default:
		n = protowire.ConsumeFieldValue(num, typ, b)
	}
	if n < 0 {
		return 0, field{}, nil, errWire
	}
	return num, f, b[n:], nil
}
