package envoy

import (
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filelogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/keyturn/keyturn/internal/wire"
)

// The fields of the access logs, one JSON object a line; those without a value are left out. All go to one place, and the
// field log tells them apart: a client's request, a later turn of its response, and each attempt of both, with the same
// request_id. The path is the client's, without its query, which may hold a credential.
var (
	requestFields = fields("request", frontFields, map[string]string{
		"client":   noted(wire.ClientField),
		"pool":     noted(wire.PoolField),
		"key":      noted(wire.KeyField),
		"key_name": noted(wire.KeyNameField),
	})
	turnFields = fields("turn", frontFields, map[string]string{
		"turn":     "%REQ(" + wire.TurnHeader + ")%",
		"client":   "%REQ(" + wire.ClientHeader + "):256%",
		"pool":     "%RESP(" + wire.UsedPoolHeader + ")%",
		"key":      "%RESP(" + wire.UsedKeyHeader + ")%",
		"key_name": "%RESP(" + wire.UsedNameHeader + ")%",
	})
	attemptFields = fields("attempt", map[string]string{
		"attempt":       noted(wire.AttemptField),
		"pool":          noted(wire.PoolField),
		"key":           noted(wire.KeyField),
		"key_name":      noted(wire.KeyNameField),
		"turn":          noted(wire.TurnField),
		"turns":         noted(wire.TurnsField),
		"tool_calls":    noted(wire.ToolCallsField),
		"input_tokens":  noted(wire.InputTokensField),
		"output_tokens": noted(wire.OutputTokensField),
		"client":        noted(wire.ClientField),
		"request_id":    noted(wire.RequestIDField),
		"cluster":       "%UPSTREAM_CLUSTER%",
	})
	frontFields = map[string]string{
		"method":              "%REQ(:METHOD):32%",
		"path":                "%PATH(NQ):1024%",
		"attempts":            "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
		"route":               "%ROUTE_NAME%",
		"request_id":          "%REQ(x-request-id):128%",
		"provider_request_id": "%RESP(x-request-id?request-id):128%",
	}
)

// noted is a field of the metadata that Keyturn, or the front, has left.
func noted(field string) string { return "%DYNAMIC_METADATA(" + wire.Namespace + ":" + field + ")%" }

// fields are those of one log: what all have, and more.
func fields(log string, more ...map[string]string) map[string]any {
	all := map[string]any{
		"log":            log,
		"time":           "%START_TIME%",
		"status":         "%RESPONSE_CODE%",
		"flags":          "%RESPONSE_FLAGS%",
		"details":        "%RESPONSE_CODE_DETAILS%",
		"error":          "%RESP(" + wire.ErrorHeader + ")%",
		"duration_ms":    "%DURATION%",
		"bytes_received": "%BYTES_RECEIVED%",
		"bytes_sent":     "%BYTES_SENT%",
	}
	for _, m := range more {
		for name, value := range m {
			all[name] = value // of another type, which maps.Copy does not turn
		}
	}
	return all
}

// accessLog is empty when there is to be none. where is a condition on what is logged, "" for none.
func (r *renderer) accessLog(fields map[string]any, where string) []*accesslogv3.AccessLog {
	if r.AccessLog == "off" {
		return nil
	}
	format := jsonFormat(fields)
	format.OmitEmptyValues = true
	log := &accesslogv3.AccessLog{}
	if r.AccessLog == "" || r.AccessLog == "stdout" {
		log.Name = "envoy.access_loggers.stdout"
		log.ConfigType = &accesslogv3.AccessLog_TypedConfig{TypedConfig: r.pack(&streamv3.StdoutAccessLog{
			AccessLogFormat: &streamv3.StdoutAccessLog_LogFormat{LogFormat: format},
		})}
	} else {
		log.Name = "envoy.access_loggers.file"
		log.ConfigType = &accesslogv3.AccessLog_TypedConfig{TypedConfig: r.pack(&filelogv3.FileAccessLog{
			Path: r.AccessLog, AccessLogFormat: &filelogv3.FileAccessLog_LogFormat{LogFormat: format},
		})}
	}
	if where != "" {
		log.Filter = r.cel(where)
	}
	return []*accesslogv3.AccessLog{log}
}

// jsonFormat is a format string in the shape of a JSON object of our own words.
func jsonFormat(fields map[string]any) *corev3.SubstitutionFormatString {
	s, err := structpb.NewStruct(fields)
	if err != nil { // only a value of a type that JSON does not have
		s = &structpb.Struct{}
	}
	return &corev3.SubstitutionFormatString{Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: s}}
}
