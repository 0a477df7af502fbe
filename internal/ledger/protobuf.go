package ledger

import (
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/keyturn/keyturn/internal/wire"
)

// field is one of a message's.
type field struct {
	num   protowire.Number
	bytes []byte // of a length-delimited one; nil else
	n     uint64 // of a varint or a fixed one
}

// each reads a message's fields in order, until visit or the message ends. It reports whether the message is whole. Generated code would do it,
// but refuses an entry for a single byte that is no UTF-8, and a client chooses some of these bytes.
func each(b []byte, visit func(f field)) bool {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		f := field{num: num}
		switch typ {
		case protowire.VarintType:
			f.n, n = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			f.n, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(b)
		case protowire.Fixed32Type, protowire.StartGroupType, protowire.EndGroupType:
			n = protowire.ConsumeFieldValue(num, typ, b)
		default: // wire types 6 and 7, which are none
			return false
		}
		if n < 0 {
			return false
		}
		b = b[n:]
		visit(f)
	}
	return true
}

// one is a field of a message, zero if it has none: the last of that number.
func one(b []byte, num protowire.Number) (found field) {
	each(b, func(f field) {
		if f.num == num {
			found = f
		}
	})
	return found
}

// entry is one of a map: key 1, value 2.
func entry(b []byte) (key, value []byte) {
	each(b, func(f field) {
		switch f.num {
		case 1:
			key = f.bytes
		case 2:
			value = f.bytes
		}
	})
	return key, value
}

// text is a string of at most most bytes.
func text(b []byte, most int) string {
	if len(b) > most+utf8Max {
		b = b[:most+utf8Max]
	}
	return wire.Clip(strings.ToValidUTF8(string(b), "\uFFFD"), most)
}

const utf8Max = 4 // bytes of a character

// Bounds of times: what lies beyond is no time that a request took, but a lie or a broken clock.
const maxSeconds = 366 * 24 * 3600

// duration is a google.protobuf.Duration: seconds 1, nanos 2. It is never negative.
func duration(b []byte) time.Duration {
	s, n := int64(one(b, 1).n), int64(one(b, 2).n)
	if s < 0 || s > maxSeconds || n < 0 || n >= int64(time.Second) {
		return 0
	}
	return time.Duration(s)*time.Second + time.Duration(n)
}

// instant is a google.protobuf.Timestamp: seconds 1, nanos 2; zero for one that no clock shows.
func instant(b []byte) time.Time {
	s, n := int64(one(b, 1).n), int64(one(b, 2).n)
	if s <= 0 || s > math.MaxUint32 || n < 0 || n >= int64(time.Second) {
		return time.Time{}
	}
	return time.Unix(s, n).UTC()
}

// maxCount bounds what is counted: tokens and bytes. A sum of some thousand of them still is one.
const maxCount = 1 << 48

func count(n uint64) int64 { return int64(min(n, maxCount)) }

// wrapped is a UInt32Value or UInt64Value: value 1.
func wrapped(b []byte) int64 { return count(one(b, 1).n) }

// number is a google.protobuf.Value's number_value 2, zero for another kind.
func number(value []byte) float64 {
	f := math.Float64frombits(one(value, 2).n)
	if math.IsNaN(f) || f < 0 || f > maxCount {
		return 0
	}
	return f
}

// word is a google.protobuf.Value's string_value 3.
func word(value []byte, most int) string { return text(one(value, 3).bytes, most) }
