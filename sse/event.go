package sse

// Event is one block of a stream: the bytes up to and with the empty line that ends it. A client that follows the standard gets an event for a
// block that is Dispatched, and nothing for the others. The Raw of all events of a stream, one after the other, is the stream, byte for byte,
// whatever is in it.
//
// The slices of an Event that a Decoder hands out alias the bytes given to Write or the Decoder's own memory. They may be read until emit
// returns, and must not be changed; who keeps one longer copies it.
type Event struct {
	Raw   []byte // the block as it came: comments, byte order mark and line ends included
	Type  []byte // value of the last event field; empty: the type is "message"
	Data  []byte // values of the data fields, joined by LF; one value alone aliases Raw
	ID    []byte // value of the block's last id field that a client obeys, if HasID
	HasID bool

	// RetryMillis is the value of the block's last retry field that a client obeys: the time to wait before connecting again, in milliseconds.
	// It is -1 when there is none, and at most the largest int64.
	RetryMillis int64

	// Dispatched says that the block has a data field, also an empty one. Otherwise it holds only comments, other fields, or nothing.
	Dispatched bool

	// Truncated says that the stream ended before the block's empty line, and that Close handed it over. The last line may be cut anywhere. The
	// standard discards such a block, lenient clients do not: it may be relayed, and what it says must not be acted on.
	Truncated bool
}
