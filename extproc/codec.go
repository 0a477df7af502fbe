package extproc

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec that newCodec falls back on
	"google.golang.org/grpc/mem"
)

// codec is gRPC's "proto" with our own messages for the attempts: a generated ProcessingRequest costs a quarter of the CPU of a
// stream, most of it for the maps of attributes and metadata. Other services, such as health, use the generated way.
type codec struct{ fallback encoding.CodecV2 }

func newCodec() codec { return codec{fallback: encoding.GetCodecV2("proto")} }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if r, ok := v.(*reply); ok {
		return r.marshal(), nil
	}
	return c.fallback.Marshal(v)
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*message)
	if !ok {
		return c.fallback.Unmarshal(data, v)
	}
	if err := m.unmarshal(data); err != nil {
		return fmt.Errorf("ext_proc: %w", err)
	}
	return nil
}

func (c codec) Name() string { return "proto" }
