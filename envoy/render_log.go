package envoy

import (
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filelogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// logFields are the fields of the access log, one JSON object a request; those without a value are left out. The path
// is the client's, without its query, which may hold a credential. What Keyturn knows of the request comes from its
// metadata: the attempts share the request's headers and clean them.
var logFields = map[string]string{
	"time":                "%START_TIME%",
	"method":              "%REQ(:METHOD)%",
	"path":                "%PATH(NQ)%",
	"status":              "%RESPONSE_CODE%",
	"flags":               "%RESPONSE_FLAGS%",
	"details":             "%RESPONSE_CODE_DETAILS%",
	"error":               "%RESP(" + errorHeader + ")%",
	"attempts":            "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
	"route":               "%ROUTE_NAME%",
	"cluster":             "%UPSTREAM_CLUSTER%",
	"pool":                "%DYNAMIC_METADATA(keyturn:pool)%",
	"key":                 "%DYNAMIC_METADATA(keyturn:key)%",
	"key_name":            "%DYNAMIC_METADATA(keyturn:key_name)%",
	"turn":                "%DYNAMIC_METADATA(keyturn:turn)%",
	"turns":               "%DYNAMIC_METADATA(keyturn:turns)%",
	"tool_calls":          "%DYNAMIC_METADATA(keyturn:tool_calls)%",
	"input_tokens":        "%DYNAMIC_METADATA(keyturn:llm_input_token)%",
	"output_tokens":       "%DYNAMIC_METADATA(keyturn:llm_output_token)%",
	"client":              "%DYNAMIC_METADATA(keyturn:client)%",
	"request_id":          "%DYNAMIC_METADATA(keyturn:request_id)%",
	"provider_request_id": "%RESP(x-request-id?request-id)%",
	"duration_ms":         "%DURATION%",
	"bytes_received":      "%BYTES_RECEIVED%",
	"bytes_sent":          "%BYTES_SENT%",
}

// accessLog is empty when there is to be none.
func (r *renderer) accessLog() []*accesslogv3.AccessLog {
	if r.AccessLog == "off" {
		return nil
	}
	fields := map[string]any{}
	for name, value := range logFields {
		fields[name] = value
	}
	format := jsonFormat(fields)
	format.OmitEmptyValues = true
	if r.AccessLog == "" || r.AccessLog == "stdout" {
		return []*accesslogv3.AccessLog{{
			Name: "envoy.access_loggers.stdout",
			ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: r.pack(&streamv3.StdoutAccessLog{
				AccessLogFormat: &streamv3.StdoutAccessLog_LogFormat{LogFormat: format},
			})},
		}}
	}
	return []*accesslogv3.AccessLog{{
		Name: "envoy.access_loggers.file",
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: r.pack(&filelogv3.FileAccessLog{
			Path:            r.AccessLog,
			AccessLogFormat: &filelogv3.FileAccessLog_LogFormat{LogFormat: format},
		})},
	}}
}

// jsonFormat is a format string in the shape of a JSON object of our own words.
func jsonFormat(fields map[string]any) *corev3.SubstitutionFormatString {
	s, err := structpb.NewStruct(fields)
	if err != nil { // only a value of a type that JSON does not have
		s = &structpb.Struct{}
	}
	return &corev3.SubstitutionFormatString{Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: s}}
}
