package extproc

import (
	"bytes"
	"strconv"
	"time"

	"github.com/keyturn/keyturn/internal/wire"
)

// front is what the listener that leads to the inner one says of a request, in headers that no client can send. The slices
// belong to the message.
type front struct {
	id        []byte // the request's, the same at each of its attempts; at most maxID bytes
	pool      []byte // the pool's name
	client    []byte // the client's name, by Envoy's authentication
	asked     bool   // it asked the client who it is
	start     []byte // when the request began, as wire.StartHeader has it
	requestID []byte // x-request-id: what joins log lines
	turn      []byte // of Keyturn's own requests: the number of the turn
	parent    []byte // and the id of the client's request that it is a turn of
	talk      []byte // and its conversation, where that request's body named it
	attempt   int    // from 1; 0: the front does not say
	retries   int    // most retries of this request; -1: the front does not say
}

// maxID bounds what is kept of a request's id. Envoy's %UNIQUE_ID% has 36 bytes.
const maxID = 64

func readFront(m *message) front {
	f := front{retries: -1}
	for i := range m.headers {
		name, value := m.headers[i].name, m.headers[i].value
		switch {
		case bytes.HasPrefix(name, prefixKeyturn):
			switch string(name) {
			case wire.IDHeader:
				if len(value) <= maxID {
					f.id = value
				}
			case wire.PoolHeader:
				f.pool = value
			case wire.ClientHeader:
				f.client = value
			case wire.AskedHeader:
				f.asked = true
			case wire.StartHeader:
				f.start = value
			case wire.TurnHeader:
				f.turn = value
			case wire.ParentHeader:
				if len(value) <= maxID {
					f.parent = value
				}
			case wire.TalkHeader:
				f.talk = value
			case wire.RetriesHeader:
				f.retries = count(value, -1)
			}
		case string(name) == wire.AttemptHeader:
			f.attempt = count(value, 0)
		case string(name) == wire.RequestIDHeader:
			f.requestID = value
		}
	}
	return f
}

// recorded is the id of the request whose record the attempt belongs to. Only a later turn has another's: no client can say that it is one.
func (f *front) recorded() []byte {
	if len(f.turn) > 0 && len(f.parent) > 0 {
		return f.parent
	}
	return f.id
}

// count reads a small number that is not negative; otherwise where there is none.
func count(value []byte, otherwise int) int {
	n, err := strconv.ParseUint(string(value), 10, 31)
	if err != nil {
		return otherwise
	}
	return int(n)
}

// started is when the front took the request in, now where it does not say or its clock is ahead.
func (f *front) started(now time.Time) time.Time {
	s, err := strconv.ParseFloat(string(f.start), 64)
	if err != nil || !(s > 0) || s >= float64(now.Unix()+1) {
		return now
	}
	return time.UnixMilli(int64(s * 1000))
}
