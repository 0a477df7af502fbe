package ledger

import (
	"testing"
	"unicode/utf8"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// FuzzEntry holds that whatever comes is read or refused, within bounds, and as the generated code reads it.
func FuzzEntry(f *testing.F) {
	for _, e := range []*accesslogv3.HTTPAccessLogEntry{
		{},
		requestEntry(id1, nil), attemptEntry(id1, map[string]any{"outcome": "turned", "calls": "[[1]]", "turn": "x", "wait": -1, "llm_input_token": 1e300}, spent(tokens(1<<63, 2))),
		requestEntry(id1, func(e *accesslogv3.HTTPAccessLogEntry) { e.CommonProperties.IntermediateLogEntry = true }), //nolint:staticcheck // Envoy sets it still
	} {
		b, err := proto.Marshal(e)
		require.NoError(f, err)
		f.Add(b)
		f.Add(b[:len(b)/2])
		f.Add(append(b, 0xff))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p := readEntry(b, true)
		if p == nil {
			return
		}
		require.LessOrEqual(t, p.size(), 32<<10)
		for _, s := range []string{p.id, p.path, p.userAgent, p.session, p.trace, p.noted.client, p.noted.model, p.details} {
			require.LessOrEqual(t, len(s), maxName)
			require.True(t, utf8.ValidString(s))
		}
		r := &request{id: p.id, front: p, attempts: []*part{p}}
		turn := r.turn()
		require.GreaterOrEqual(t, turn.Usage.Input, int64(0))
		require.GreaterOrEqual(t, int64(turn.Overhead), int64(0))
		require.False(t, turn.End.Before(turn.Start))

		var e accesslogv3.HTTPAccessLogEntry
		if proto.Unmarshal(b, &e) != nil {
			return
		}
		if s := e.GetResponse().GetResponseCode().GetValue(); s < 1000 {
			require.EqualValues(t, s, p.status)
		}
		require.Equal(t, e.GetCommonProperties().GetUpstreamRequestAttemptCount() == 0, p.attempts == 0)
	})
}

// TestFlagNumbers holds that the flags are the fields of ResponseFlags that they are named after.
func TestFlagNumbers(t *testing.T) {
	fields := (&accesslogv3.ResponseFlags{}).ProtoReflect().Descriptor().Fields()
	for number, name := range map[protoreflect.FieldNumber]protoreflect.Name{
		flagUpstreamTimeout: "upstream_request_timeout", flagLocalReset: "local_reset", flagUpstreamReset: "upstream_remote_reset",
		flagUpstreamUnreach: "upstream_connection_failure", flagUpstreamEnded: "upstream_connection_termination",
		flagClientEnded: "downstream_connection_termination", flagIdle: "stream_idle_timeout", flagStreamDuration: "upstream_max_stream_duration_reached",
		flagDurationTimeout: "duration_timeout", flagUpstreamProtocol: "upstream_protocol_error", flagClientReset: "downstream_remote_reset",
	} {
		require.Equal(t, name, fields.ByNumber(number).Name())
	}
}

// TestBytesThatAreNoText holds that a client cannot keep itself out of the records by a byte that is no UTF-8.
func TestBytesThatAreNoText(t *testing.T) {
	b, err := proto.Marshal(requestEntry(id1, func(e *accesslogv3.HTTPAccessLogEntry) { e.Request.UserAgent = "agent-XY" }))
	require.NoError(t, err)
	for i := range b {
		if string(b[i:min(i+2, len(b))]) == "XY" {
			b[i], b[i+1] = 0xff, 0xfe
		}
	}
	require.Error(t, proto.Unmarshal(b, &accesslogv3.HTTPAccessLogEntry{}))
	p := readEntry(b, true)
	require.NotNil(t, p)
	require.Equal(t, "agent-\uFFFD", p.userAgent)
}
