package extproc

import (
	"bytes"
	"math"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
)

func pair(name, value string) *corev3.HeaderValue {
	return &corev3.HeaderValue{Key: name, RawValue: []byte(value)}
}

func object(t testing.TB, v map[string]any) *structpb.Struct {
	t.Helper()
	s, err := structpb.NewStruct(v)
	require.NoError(t, err)
	return s
}

// samples are one message of each kind, as Envoy 1.40 sends them and a few that it does not.
func samples(t testing.TB) []*extprocv3.ProcessingRequest {
	headers := &corev3.HeaderMap{Headers: []*corev3.HeaderValue{
		pair(":path", "/v1/responses"), pair(":method", "POST"), pair("authorization", "Bearer client"), {Key: "old", Value: "text"}, pair("empty", ""),
	}}
	attributes := func(details string, flags any) map[string]*structpb.Struct {
		return map[string]*structpb.Struct{"envoy.filters.http.ext_proc": object(t, map[string]any{
			"response.code_details": details, "response.flags": flags, "upstream.local_address": "127.0.0.1:4242", "other": []any{"x", true, nil, map[string]any{"response.flags": 1}},
		})}
	}
	md := &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"keyturn": object(t, map[string]any{"pool": "a"})}}
	answered := func(status string) *extprocv3.ProcessingRequest_ResponseHeaders {
		return &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{Headers: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{pair(":status", status)}}}}
	}
	return []*extprocv3.ProcessingRequest{
		{Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{Headers: headers}}, MetadataContext: md},
		{Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{Headers: headers, EndOfStream: true}}, ProtocolConfig: &extprocv3.ProtocolConfiguration{RequestBodyMode: procv3.ProcessingMode_BUFFERED}},
		{Request: answered("429"), MetadataContext: md},
		{Request: answered("429"), Attributes: attributes("via_upstream", 0)},
		{Request: answered("503"), Attributes: attributes("upstream_reset_before_response_started{remote_connection_failure}", 0x20)},
		{Request: answered("503"), Attributes: attributes("", "32")}, // of other types than Envoy's
		{Request: answered("503"), Attributes: attributes("x", -1.5)},
		{Request: answered("503"), Attributes: attributes("x", math.NaN())},
		{Request: answered("503"), Attributes: attributes("x", 1e300)},
		{Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{Body: []byte(`{"a":1}`), EndOfStream: true}}},
		{Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{Body: []byte("error")}}},
		{Request: &extprocv3.ProcessingRequest_RequestTrailers{RequestTrailers: &extprocv3.HttpTrailers{Trailers: headers}}},
		{Request: &extprocv3.ProcessingRequest_ResponseTrailers{ResponseTrailers: &extprocv3.HttpTrailers{}}},
		{FlowControlInit: &extprocv3.ProcessingRequest_FlowControlInit{InitialWindowDownstreamToSidestream: 7}},
		{},
	}
}

// generated reads the same as message.decode by the generated code.
func generated(t testing.TB, b []byte) (*message, bool) {
	t.Helper()
	var r extprocv3.ProcessingRequest
	if proto.Unmarshal(b, &r) != nil {
		return nil, false
	}
	m := &message{}
	var headers *corev3.HeaderMap
	switch v := r.Request.(type) {
	case *extprocv3.ProcessingRequest_RequestHeaders:
		m.kind, m.end, headers = requestHeaders, v.RequestHeaders.GetEndOfStream(), v.RequestHeaders.GetHeaders()
	case *extprocv3.ProcessingRequest_ResponseHeaders:
		m.kind, m.end, headers = responseHeaders, v.ResponseHeaders.GetEndOfStream(), v.ResponseHeaders.GetHeaders()
	case *extprocv3.ProcessingRequest_RequestBody:
		m.kind, m.end, m.body = requestBody, v.RequestBody.GetEndOfStream(), v.RequestBody.GetBody()
	case *extprocv3.ProcessingRequest_ResponseBody:
		m.kind, m.end, m.body = responseBody, v.ResponseBody.GetEndOfStream(), v.ResponseBody.GetBody()
	case *extprocv3.ProcessingRequest_RequestTrailers:
		m.kind = requestTrailers
	case *extprocv3.ProcessingRequest_ResponseTrailers:
		m.kind = responseTrailers
	}
	for _, h := range headers.GetHeaders() {
		value := h.GetRawValue()
		if len(value) == 0 {
			value = []byte(h.GetValue())
		}
		m.headers = append(m.headers, header{name: []byte(h.GetKey()), value: value})
	}
	for _, s := range r.GetAttributes() {
		m.details = []byte(s.GetFields()["response.code_details"].GetStringValue())
		m.flags = wholeNumber(s.GetFields()["response.flags"].GetNumberValue())
		m.address = []byte(s.GetFields()["upstream.local_address"].GetStringValue())
	}
	return m, len(r.GetAttributes()) < 2
}

func requireSame(t testing.TB, want, got *message) {
	t.Helper()
	require.Equal(t, want.kind, got.kind)
	require.Equal(t, want.end, got.end)
	require.Equal(t, string(want.body), string(got.body))
	require.Equal(t, string(want.details), string(got.details))
	require.Equal(t, want.flags, got.flags)
	require.Equal(t, string(want.address), string(got.address))
	require.Len(t, got.headers, len(want.headers))
	for i := range want.headers {
		require.Equal(t, string(want.headers[i].name), string(got.headers[i].name))
		require.Equal(t, string(want.headers[i].value), string(got.headers[i].value))
	}
}

func TestDecode(t *testing.T) {
	m := &message{} // one for all: nothing of a message may show in the next
	for _, r := range samples(t) {
		b, err := proto.Marshal(r)
		require.NoError(t, err)
		require.NoError(t, m.unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}))
		want, _ := generated(t, b)
		requireSame(t, want, m)
		for i := range b { // cut anywhere: an error or less, never a panic
			_ = (&message{}).decode(b[:i])
		}
	}
}

// FuzzDecode holds our decoder equal to the generated one on everything that the generated one accepts.
func FuzzDecode(f *testing.F) {
	for _, r := range samples(f) {
		b, err := proto.Marshal(r)
		require.NoError(f, err)
		f.Add(b)
		twice, err := proto.Marshal(samples(f)[0])
		require.NoError(f, err)
		f.Add(append(b, twice...)) // messages in sequence are merged
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m message
		err := m.decode(b)
		want, comparable := generated(t, b)
		if want == nil {
			return
		}
		require.NoError(t, err)
		if comparable {
			requireSame(t, want, &m)
		}
	})
}

// TestEncode holds what we write equal to what the generated code reads.
func TestEncode(t *testing.T) {
	long := string(make([]byte, 300))
	var mut mutation
	mut.set("authorization", "Bearer ", "k0")
	mut.set("long", "", long)
	mut.remove("cookie")
	mut.removeBytes([]byte("x-keyturn-turn"))
	var dyn dynamic
	dyn.text("key", "a", ",", "b")
	dyn.text("long", long)
	dyn.bytes("client", []byte("alice"))
	dyn.bytes("request_id", []byte("\xffé\xc3"))
	dyn.number("attempt", 2)
	wantMutation := &extprocv3.HeaderMutation{
		SetHeaders: []*corev3.HeaderValueOption{
			{Header: pair("authorization", "Bearer k0"), AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD},
			{Header: pair("long", long), AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD},
		},
		RemoveHeaders: []string{"cookie", "x-keyturn-turn"},
	}
	wantMetadata := object(t, map[string]any{"keyturn": map[string]any{"key": "a,b", "long": long, "client": "alice", "request_id": "\uFFFDé\uFFFD", "attempt": 2.0}})
	common := &extprocv3.CommonResponse{HeaderMutation: wantMutation}
	read := func(r *reply) *extprocv3.ProcessingResponse {
		var got extprocv3.ProcessingResponse
		slices := r.marshal()
		require.NoError(t, proto.Unmarshal(slices.Materialize(), &got))
		require.Empty(t, got.ProtoReflect().GetUnknown())
		return &got
	}
	equal := func(want *extprocv3.ProcessingResponse, r *reply) {
		t.Helper()
		got := read(r)
		require.True(t, proto.Equal(want, got), "want %v\ngot  %v", want, got)
	}

	var r reply
	r.pass(requestHeaders, &mut, modes{set: true, request: bodyBuffered}, &dyn)
	equal(&extprocv3.ProcessingResponse{
		Response:        &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{Response: common}},
		DynamicMetadata: wantMetadata, ModeOverride: &procv3.ProcessingMode{RequestBodyMode: procv3.ProcessingMode_BUFFERED},
	}, &r)
	r.pass(responseHeaders, nil, modes{set: true, response: bodyBuffered}, nil)
	equal(&extprocv3.ProcessingResponse{
		Response:     &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extprocv3.HeadersResponse{}},
		ModeOverride: &procv3.ProcessingMode{ResponseBodyMode: procv3.ProcessingMode_BUFFERED},
	}, &r)
	r.pass(responseBody, &mut, modes{}, nil)
	equal(&extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: &extprocv3.BodyResponse{Response: common}}}, &r)
	r.pass(requestBody, nil, modes{}, nil)
	equal(&extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestBody{RequestBody: &extprocv3.BodyResponse{}}}, &r)
	r.pass(requestTrailers, nil, modes{}, nil)
	equal(&extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestTrailers{RequestTrailers: &extprocv3.TrailersResponse{}}}, &r)
	r.pass(responseTrailers, nil, modes{}, nil)
	equal(&extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseTrailers{ResponseTrailers: &extprocv3.TrailersResponse{}}}, &r)
	r.immediate(429, &mut, []byte(`{"error":{}}`), "keyturn_rate_limited", &dyn)
	equal(&extprocv3.ProcessingResponse{
		Response: &extprocv3.ProcessingResponse_ImmediateResponse{ImmediateResponse: &extprocv3.ImmediateResponse{
			Status: &typev3.HttpStatus{Code: 429}, Headers: wantMutation, Body: []byte(`{"error":{}}`), Details: "keyturn_rate_limited",
		}},
		DynamicMetadata: wantMetadata,
	}, &r)
}

// TestEncodeBodies is TestEncode for bodies: in the place of others, left out, pieces of streams, and more time. Sizes are
// those at which lengths take another byte, and at which replies are built in the pool or beside it.
func TestEncodeBodies(t *testing.T) {
	var mut mutation
	mut.set("content-length", "", "1")
	var dyn dynamic
	dyn.number("turns", 2)
	metadata := object(t, map[string]any{"keyturn": map[string]any{"turns": 2.0}})
	headers := &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{
		{Header: pair("content-length", "1"), AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD},
	}}
	var r reply // one for all: nothing of a reply may show in the next
	equal := func(want *extprocv3.ProcessingResponse) {
		t.Helper()
		pooled := r.pooled != nil
		require.True(t, !pooled || cap(*r.pooled) == cap(r.wire), "the reply has outgrown its buffer")
		var got extprocv3.ProcessingResponse
		slices := r.marshal()
		wire := slices.Materialize()
		slices.Free()
		if n := len(wire); n < mostPooled-100 || n > mostPooled { // between them it depends on what room was made for
			require.Equal(t, n < mostPooled, pooled, "%d bytes", n)
		}
		require.NoError(t, proto.Unmarshal(wire, &got))
		require.Empty(t, got.ProtoReflect().GetUnknown())
		require.True(t, proto.Equal(want, &got), "%d bytes", len(wire))
	}
	for _, size := range []int{0, 1, 100, 127, 128, 900, 1024, 1025, 1 << 14, maxChunk, mostPooled - 64, mostPooled, mostPooled + 1, 3 << 20} {
		body := bytes.Repeat([]byte("b"), size)
		r.body(requestBody, &mut, body, &dyn)
		equal(&extprocv3.ProcessingResponse{
			Response: &extprocv3.ProcessingResponse_RequestBody{RequestBody: &extprocv3.BodyResponse{Response: &extprocv3.CommonResponse{
				HeaderMutation: headers, BodyMutation: &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_Body{Body: body}},
			}}},
			DynamicMetadata: metadata,
		})
		r.body(responseBody, &mut, body, nil)
		equal(&extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: &extprocv3.BodyResponse{
			Response: &extprocv3.CommonResponse{
				HeaderMutation: headers, BodyMutation: &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_Body{Body: body}},
			},
		}}})
		for _, end := range []bool{false, true} {
			r.chunk(body, end, &dyn)
			equal(&extprocv3.ProcessingResponse{
				Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: &extprocv3.BodyResponse{Response: &extprocv3.CommonResponse{
					BodyMutation: &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_StreamedResponse{
						StreamedResponse: &extprocv3.StreamedBodyResponse{Body: body, EndOfStream: end},
					}},
				}}},
				DynamicMetadata: metadata,
			})
		}
	}
	for _, md := range []*dynamic{nil, &dyn} {
		r.cleared(responseBody, &mut, md)
		want := &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: &extprocv3.BodyResponse{
			Response: &extprocv3.CommonResponse{
				HeaderMutation: headers, BodyMutation: &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_ClearBody{ClearBody: true}},
			},
		}}}
		if md != nil {
			want.DynamicMetadata = metadata
		}
		equal(want)
	}
	r.wait(maxWait)
	equal(&extprocv3.ProcessingResponse{OverrideMessageTimeout: durationpb.New(maxWait)})
	r.pass(responseHeaders, &mut, modes{set: true, request: bodyBuffered, response: bodyDuplex}, &dyn)
	equal(&extprocv3.ProcessingResponse{
		Response:        &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extprocv3.HeadersResponse{Response: &extprocv3.CommonResponse{HeaderMutation: headers}}},
		DynamicMetadata: metadata,
		ModeOverride: &procv3.ProcessingMode{
			RequestBodyMode: procv3.ProcessingMode_BUFFERED, ResponseBodyMode: procv3.ProcessingMode_FULL_DUPLEX_STREAMED, ResponseTrailerMode: procv3.ProcessingMode_SEND,
		},
	})
	r.pass(responseTrailers, nil, modes{}, &dyn)
	equal(&extprocv3.ProcessingResponse{
		Response: &extprocv3.ProcessingResponse_ResponseTrailers{ResponseTrailers: &extprocv3.TrailersResponse{}}, DynamicMetadata: metadata,
	})
}

// TestReplyGivesItsBytesAway holds that what one reply handed to the transport does not change with the next, and that what was
// not sent is given up.
func TestReplyGivesItsBytesAway(t *testing.T) {
	var r reply
	one, two := bytes.Repeat([]byte("1"), 5000), bytes.Repeat([]byte("2"), 5000)
	r.chunk(one, false, nil)
	first := r.marshal()
	r.chunk(two, false, nil)
	second := r.marshal()
	require.True(t, bytes.Contains(first.Materialize(), one))
	require.True(t, bytes.Contains(second.Materialize(), two))
	first.Free()
	second.Free()
	r.chunk(one, false, nil)
	r.drop()
	require.Equal(t, reply{}, r)
}

func TestSecondsRoundUp(t *testing.T) {
	require.Equal(t, "1", seconds(0.2))
	require.Equal(t, "3", seconds(3))
	require.Equal(t, "4", seconds(3.0001))
}
