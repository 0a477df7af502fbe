package ledger

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	aiv3 "github.com/envoyproxy/go-control-plane/envoy/data/ai/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// TestFieldNumbers holds the numbers by which entries are read equal to those of Envoy's generated code.
func TestFieldNumbers(t *testing.T) {
	for _, of := range []struct {
		message proto.Message
		numbers map[protoreflect.Name]protoreflect.FieldNumber
	}{
		{&accesslogv3.HTTPAccessLogEntry{}, map[protoreflect.Name]protoreflect.FieldNumber{"common_properties": entryCommon, "request": entryRequest, "response": entryResponse}},
		{&accesslogv3.AccessLogCommon{}, map[protoreflect.Name]protoreflect.FieldNumber{
			"start_time": commonStart, "time_to_last_rx_byte": commonLastIn, "time_to_first_upstream_tx_byte": commonFirstOut,
			"time_to_first_upstream_rx_byte": commonFirstBack, "time_to_last_upstream_rx_byte": commonLastBack,
			"time_to_first_downstream_tx_byte": commonFirstDown, "time_to_last_downstream_tx_byte": commonLastDown, "upstream_cluster": commonCluster,
			"response_flags": commonFlags, "metadata": commonMetadata, "duration": commonDuration, "upstream_request_attempt_count": commonAttempts,
			"intermediate_log_entry": commonIntermediate,
		}},
		{&accesslogv3.HTTPRequestProperties{}, map[protoreflect.Name]protoreflect.FieldNumber{
			"request_method": requestMethod, "path": requestPath, "user_agent": requestUserAgent, "original_path": requestOriginalPath,
			"request_body_bytes": requestBodyBytes, "request_headers": requestHeaders,
		}},
		{&accesslogv3.HTTPResponseProperties{}, map[protoreflect.Name]protoreflect.FieldNumber{
			"response_code": responseCode, "response_body_bytes": responseBodyBytes, "response_headers": responseHeaders, "response_code_details": responseDetails,
		}},
		{&accesslogv3.ResponseFlags{}, map[protoreflect.Name]protoreflect.FieldNumber{
			"upstream_request_timeout": flagUpstreamTimeout, "local_reset": flagLocalReset, "upstream_remote_reset": flagUpstreamReset,
			"upstream_connection_failure": flagUpstreamUnreach, "upstream_connection_termination": flagUpstreamEnded,
			"downstream_connection_termination": flagClientEnded, "stream_idle_timeout": flagIdle, "upstream_max_stream_duration_reached": flagStreamDuration,
			"duration_timeout": flagDurationTimeout, "upstream_protocol_error": flagUpstreamProtocol, "downstream_remote_reset": flagClientReset,
		}},
		{&corev3.Metadata{}, map[protoreflect.Name]protoreflect.FieldNumber{"filter_metadata": metadataPlain, "typed_filter_metadata": metadataTyped}},
		{&anypb.Any{}, map[protoreflect.Name]protoreflect.FieldNumber{"value": anyValue}},
		{&structpb.Struct{}, map[protoreflect.Name]protoreflect.FieldNumber{"fields": structFields}},
		{&aiv3.TokenUsage{}, map[protoreflect.Name]protoreflect.FieldNumber{
			"model": usageModel, "input_tokens": usageInput, "output_tokens": usageOutput,
			"input_token_details": usageInputDetails, "output_token_details": usageOutputDetails, "extraction_status": usageStatus,
		}},
		{&aiv3.InputTokenDetails{}, map[protoreflect.Name]protoreflect.FieldNumber{"cached_tokens": detailsCacheRead, "cache_creation_tokens": detailsCacheWrite}},
		{&aiv3.OutputTokenDetails{}, map[protoreflect.Name]protoreflect.FieldNumber{"reasoning_tokens": detailsReasoning}},
	} {
		fields := of.message.ProtoReflect().Descriptor().Fields()
		for name, number := range of.numbers {
			f := fields.ByName(name)
			require.NotNil(t, f, "%T has no %s: it has %v", of.message, name, fields)
			require.Equal(t, f.Number(), number, "%T.%s", of.message, name)
		}
	}
	require.EqualValues(t, aiv3.TokenUsage_COMPLETE, statusComplete)
}
