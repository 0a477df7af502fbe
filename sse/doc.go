// Package sse turns the bytes of a text/event-stream into events and back, by the rules of the WHATWG HTML standard, section 9.2.
//
// A Decoder is pushed: Write takes the bytes as they come, cut anywhere, and hands every block that they complete to a function before it
// returns. Each Event keeps its block's bytes, so one that needs no change is forwarded as it came, and the blocks one after the other are the
// stream. AppendEvent and AppendComment write blocks.
//
// Read pulls events out of a reader, for loops. Nothing else here does input or output; the package starts no goroutines, and keeps
// nothing of a stream but its open block. What lasts over several events belongs to the reader: the last event id, which a block with
// HasID sets even when it is not dispatched, and the time to reconnect.
package sse
