package envoy

import (
	"slices"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	grpclogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	aiv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ai_protocol_manager/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/keyturn/keyturn/internal/wire"
)

// recordDelay is how long Envoy gathers log entries before it sends them: what has just ended can be asked for soon.
const recordDelay = 200 * time.Millisecond

// Headers that the log entries have, beside what each entry has.
var (
	recordedOfRequest  = slices.Concat([]string{wire.IDHeader, wire.TraceHeader}, wire.SessionHeaders)
	recordedOfResponse = []string{"content-type", wire.ErrorHeader}
	recordedOfAttempt  = []string{wire.IDHeader} // there where Keyturn did not answer, which removes it
)

// recordRequests tells Keyturn of the requests of a front; where is a condition, "" for none.
func (r *renderer) recordRequests(where string) []*accesslogv3.AccessLog {
	return r.serviceLog(wire.RequestLog, where, recordedOfRequest, recordedOfResponse)
}

// recordAttempts tells Keyturn of the attempts.
func (r *renderer) recordAttempts() []*accesslogv3.AccessLog {
	return r.serviceLog(wire.AttemptLog, "", recordedOfAttempt, nil)
}

// serviceLog is a log that goes to Keyturn, none where nothing is recorded.
func (r *renderer) serviceLog(name, where string, request, response []string) []*accesslogv3.AccessLog {
	if !r.Record.Requests {
		return nil
	}
	log := &accesslogv3.AccessLog{
		Name: "envoy.access_loggers.http_grpc",
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: r.pack(&grpclogv3.HttpGrpcAccessLogConfig{
			CommonConfig: &grpclogv3.CommonGrpcAccessLogConfig{
				LogName: name, TransportApiVersion: corev3.ApiVersion_V3, BufferFlushInterval: durationpb.New(recordDelay),
				GrpcService: &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
					EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: ProcessorName},
				}},
			},
			AdditionalRequestHeadersToLog: request, AdditionalResponseHeadersToLog: response,
		})},
	}
	if where != "" {
		log.Filter = r.cel(where)
	}
	return []*accesslogv3.AccessLog{log}
}

// usage reads the tokens of the provider's answers, as they come from it: the filter stands nearest the router. With nothing but this it
// holds nothing and refuses nothing. Nil where nothing is recorded.
func (r *renderer) usage() []*hcmv3.HttpFilter {
	if !r.Record.Usage || !r.Record.Requests {
		return nil
	}
	return []*hcmv3.HttpFilter{{Name: "envoy.filters.http.ai_protocol_manager", ConfigType: typed(r.pack(&aiv3.AiProtocolManager{
		ResponseHandling: &aiv3.ResponseHandling{TokenUsage: &aiv3.TokenUsageExtraction{IncludeUnconfiguredRoutes: true}},
	}))}}
}

// told are the response headers by which a client learns what can be asked about its request.
func (r *renderer) told() []*corev3.HeaderValueOption {
	if !r.Record.Tell {
		return nil
	}
	return []*corev3.HeaderValueOption{
		set(wire.ToldRequestHeader, "%REQ("+wire.IDHeader+")%"), set(wire.ToldAttemptsHeader, "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"),
	}
}
