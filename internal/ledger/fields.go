package ledger

// Numbers of the fields that are read, by the messages of Envoy that they are of: envoy/data/accesslog/v3/accesslog.proto,
// envoy/config/core/v3/base.proto, envoy/data/ai/v3/token_usage.proto, google/protobuf/{any,struct}.proto. A test holds them equal to the
// generated code.
const (
	// HTTPAccessLogEntry.
	entryCommon   = 1 // common_properties
	entryRequest  = 3 // request
	entryResponse = 4 // response

	// AccessLogCommon.
	commonStart        = 5  // start_time
	commonLastIn       = 6  // time_to_last_rx_byte
	commonFirstOut     = 7  // time_to_first_upstream_tx_byte
	commonFirstBack    = 9  // time_to_first_upstream_rx_byte
	commonLastBack     = 10 // time_to_last_upstream_rx_byte
	commonFirstDown    = 11 // time_to_first_downstream_tx_byte
	commonLastDown     = 12 // time_to_last_downstream_tx_byte
	commonCluster      = 15 // upstream_cluster
	commonFlags        = 16 // response_flags
	commonMetadata     = 17 // metadata
	commonDuration     = 23 // duration
	commonAttempts     = 24 // upstream_request_attempt_count
	commonIntermediate = 27 // intermediate_log_entry

	// HTTPRequestProperties.
	requestMethod       = 1  // request_method
	requestPath         = 5  // path
	requestUserAgent    = 6  // user_agent
	requestOriginalPath = 10 // original_path
	requestBodyBytes    = 12 // request_body_bytes
	requestHeaders      = 13 // request_headers

	// HTTPResponseProperties.
	responseCode      = 1 // response_code
	responseBodyBytes = 3 // response_body_bytes
	responseHeaders   = 4 // response_headers
	responseDetails   = 6 // response_code_details

	// Metadata, Any and Struct.
	metadataPlain = 1 // filter_metadata
	metadataTyped = 2 // typed_filter_metadata
	anyValue      = 2 // value
	structFields  = 1 // fields

	// TokenUsage, and its InputTokenDetails and OutputTokenDetails.
	usageModel         = 2 // model
	usageInput         = 3 // input_tokens
	usageOutput        = 4 // output_tokens
	usageInputDetails  = 6 // input_token_details
	usageOutputDetails = 7 // output_token_details
	usageStatus        = 9 // extraction_status
	detailsCacheRead   = 1 // cached_tokens
	detailsCacheWrite  = 2 // cache_creation_tokens
	detailsReasoning   = 1 // reasoning_tokens
	statusComplete     = 1 // COMPLETE
)

// Bits of part.flags: the numbers of the fields of ResponseFlags.
const (
	flagUpstreamTimeout  = 3
	flagLocalReset       = 4
	flagUpstreamReset    = 5
	flagUpstreamUnreach  = 6
	flagUpstreamEnded    = 7
	flagClientEnded      = 15
	flagIdle             = 17
	flagStreamDuration   = 20
	flagDurationTimeout  = 23
	flagUpstreamProtocol = 24
	flagClientReset      = 28
)

// flagNames are what a record calls the ends that they stand for, the first that is set.
var flagNames = []struct {
	flag int
	name string
}{
	{flagIdle, "idle_timeout"},
	{flagUpstreamTimeout, "provider_timeout"},
	{flagStreamDuration, "provider_timeout"},
	{flagDurationTimeout, "provider_timeout"},
	{flagUpstreamProtocol, "provider_protocol_error"},
	{flagUpstreamUnreach, "provider_unreachable"},
	{flagUpstreamEnded, "provider_reset"},
	{flagUpstreamReset, "provider_reset"},
	{flagLocalReset, "provider_reset"},
}
