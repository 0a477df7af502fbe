package check_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/keyturn/keyturn/envoy/check"
)

// What consequences say.
const (
	readsLog   = "Whoever reads the log has the credential"
	readsQuery = "Some clients send their credential in the query"
	readsSpans = "whoever reads traces has it"
	goesOn     = "The credential goes on where nothing removes it"
	theyRead   = "Clients read it"
	inConfig   = "The credential stands in Envoy's configuration"
	sees       = "sees the pools' keys"
	strangers  = "Whoever reaches the listener spends the pools' keys"
	twice      = "it is paid for twice"
)

func header(name, value string) map[string]any { return added(name, value, overwrite) }

func spans(fields map[string]any) map[string]any {
	tag := map[string]any{"tag": "t"}
	maps.Copy(tag, fields)
	return map[string]any{"custom_tags": []any{tag}}
}

func filter(name, kind string, fields map[string]any) map[string]any {
	return typed(name, "filters.http."+kind, fields)
}

var (
	tapConfig = map[string]any{"common_config": map[string]any{"static_config": map[string]any{
		"match":         map[string]any{"any_match": true},
		"output_config": map[string]any{"sinks": []any{map[string]any{"file_per_tap": map[string]any{"path_prefix": "/dev/null/x"}}}},
	}}}
	lua     = filter("lua", "lua.v3.Lua", map[string]any{"default_source_code": map[string]any{"inline_string": "function envoy_on_request(h) end"}})
	keyed   = func(header string) map[string]any { return putMetadata(header, "ns", "k") }
	openTel = typed("otel", "access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig", map[string]any{
		"common_config": map[string]any{"log_name": "x", "grpc_service": grpcService("keyturn-processor"), "transport_api_version": "V3"},
		"attributes":    map[string]any{"values": []any{map[string]any{"key": "a", "value": map[string]any{"string_value": "%REQ(authorization)%"}}}},
	})
	noAuth  = map[string]any{"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": true}
	mirror  = []any{map[string]any{"cluster": "keyturn-processor"}}
	another = plainCluster("elsewhere", "127.0.0.1", 1)
	authz   = func(fields map[string]any) map[string]any {
		all := map[string]any{"grpc_service": grpcService("keyturn-processor"), "transport_api_version": "V3"}
		maps.Copy(all, fields)
		return filter("authz", "ext_authz.v3.ExtAuthz", all)
	}
	jwks = map[string]any{"p": map[string]any{"local_jwks": map[string]any{"inline_string": `{"keys":[{"kty":"oct","alg":"HS256","k":"MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI"}]}`}, "issuer": "i"}}
)

func putMetadata(header, namespace, key string) map[string]any {
	return map[string]any{"header": header, "on_header_present": map[string]any{"metadata_namespace": namespace, "key": key}}
}

// sanOf names the provider's certificate.
const sanOf = "transport_socket/typed_config/common_tls_context/validation_context/match_typed_subject_alt_names"

// askedBy takes out the clients' authentication of the front, and puts a filter in its place.
func askedBy(f map[string]any) func(*testing.T, tree) { return at(onMain, "CHAIN/1", f) }

func tcpProxy(name, address string, cluster string) map[string]any {
	return map[string]any{"name": name, "address": socket(address, 0), "filter_chains": []any{map[string]any{"filters": []any{
		typed("tcp", "filters.network.tcp_proxy.v3.TcpProxy", map[string]any{"stat_prefix": "t", "cluster": cluster}),
	}}}}
}

// unasked are the filters of a front without what asks clients.
func unasked(m map[string]any) []any {
	return slices.DeleteFunc(slices.Clone(m["http_filters"].([]any)), func(f any) bool {
		return f.(map[string]any)["name"] == "envoy.filters.http.api_key_auth"
	})
}

// secondListener is the front once more, without what asks clients.
func secondListener(address string) func(*testing.T, tree) {
	return func(t *testing.T, d tree) {
		t.Helper()
		l := tree(d.resource(t, onMain)).clone(t)
		l["name"], l["address"] = "second", socket(address, 0)
		m := managerOf(t, l)
		m["http_filters"] = unasked(m)
		extra("listeners", map[string]any(l))(t, d)
	}
}

func weighted(clusters ...map[string]any) func(*testing.T, tree) {
	var all []any
	for _, c := range clusters {
		c["weight"] = 1
		all = append(all, c)
	}
	return both(at(onMain, "ROUTE/route/cluster", nil), at(onMain, "ROUTE/route/weighted_clusters", map[string]any{"clusters": all}))
}

func runtimeLayer(fields map[string]any) func(*testing.T, tree) {
	return at("bootstrap", "layered_runtime", map[string]any{"layers": []any{map[string]any{"name": "l", "static_layer": fields}}})
}

func leak(name string, edit func(*testing.T, tree), setting, path, found, words string) mutation {
	return mutation{name: name, edit: edit, severity: check.Leaks, setting: setting, path: path, found: found, words: words}
}

func costly(name string, edit func(*testing.T, tree), setting, path, found, words string) mutation {
	return mutation{name: name, edit: edit, severity: check.Costs, setting: setting, path: path, found: found, words: words}
}

func crash(name string, edit func(*testing.T, tree), setting, path, found, words string) mutation {
	return mutation{name: name, edit: edit, severity: check.Crashes, setting: setting, path: path, found: found, words: words}
}

// read is for an edit that Envoy does not take: that its configuration is read is all.
func (m mutation) read() mutation {
	m.only = true
	return m
}

// with makes another edit before.
func (m mutation) with(edit func(*testing.T, tree)) mutation {
	m.edit = both(edit, m.edit)
	return m
}

// tapSocket wraps the TLS of the provider's cluster.
func tapSocket(t *testing.T, d tree) {
	t.Helper()
	c := d.resource(t, onProvider)
	fields := map[string]any{"transport_socket": c["transport_socket"]}
	maps.Copy(fields, tapConfig)
	c["transport_socket"] = typed("envoy.transport_sockets.tap", "transport_sockets.tap.v3.Tap", fields)
}

var mutations = []mutation{
	// Logs.
	leak("key in the log of attempts", at(onInner, "HCM/access_log/0/typed_config/log_format/json_format/path", "%REQ(Authorization)%"), "access_log", `json_format\.path$`, `%REQ\(Authorization\)%`, readsLog),
	leak("a part of the key", at(onInner, "HCM/access_log/0/typed_config/log_format/json_format/k", "k=%REQ(x-api-key):9%"), "access_log", `json_format\.k$`, `%REQ\(x-api-key\):9%`, readsLog),
	leak("key as an alternative", more(onInner, "HCM/access_log", stdout("%REQ(x-none?authorization)%")), "access_log", `access_log\[1\]`, `%REQ\(x-none\?authorization\)%`, readsLog),
	leak("key by the other word for it", more(onInner, "HCM/access_log", fileLog("%REQUEST_HEADER(authorization)%")), "access_log", `access_log\[1\]`, `%REQUEST_HEADER\(authorization\)%`, readsLog),
	leak("key by an expression", more(onInner, "HCM/access_log", stdout(`%CEL(request.headers["authorization"])%`)), "access_log", `access_log\[1\]`, `%CEL.*`, readsLog),
	leak("all headers by an expression", more(onInner, "HCM/access_log", stdout(`%CEL(request.headers)%`)), "access_log", `access_log\[1\]`, `%CEL.*`, readsLog),
	leak("key as one of many", more(onInner, "HCM/access_log", stdout(`%COALESCE({"operators":[{"command":"REQ","param":"x-none"},{"command":"REQ","param":"authorization"}]})%`)), "access_log", `access_log\[1\]`, `%COALESCE.*`, readsLog),
	leak("key in an old format", more(onInner, "HCM/access_log", typed("file", "access_loggers.file.v3.FileAccessLog", map[string]any{"path": "/dev/null", "format": "%REQ(authorization)%\n"})), "access_log", `access_log\[1\].*format$`, `%REQ\(authorization\)%`, readsLog),
	leak("key in standard error", more(onInner, "HCM/access_log", typed("stderr", "access_loggers.stream.v3.StderrAccessLog", textFormatOf("%REQ(authorization)%"))), "access_log", `access_log\[1\]`, `%REQ.*`, readsLog),
	leak("key to a service of logs", more(onInner, "HCM/access_log", grpcLog(map[string]any{"additional_request_headers_to_log": []any{"authorization"}})), "access_log", `additional_request_headers_to_log`, `authorization`, readsLog),
	leak("cookies to a service of logs", more(onInner, "HCM/access_log", grpcLog(map[string]any{"additional_response_headers_to_log": []any{"set-cookie"}})), "access_log", `additional_response_headers_to_log`, `set-cookie`, readsLog),
	leak("key to OpenTelemetry", more(onInner, "HCM/access_log", openTel), "access_log", `attributes`, `%REQ.*`, readsLog),
	leak("code that logs", more(onInner, "HCM/access_log", typed("wasm", "access_loggers.wasm.v3.WasmAccessLog", map[string]any{"config": map[string]any{}})), "access_log", `access_log\[1\]\.typed_config`, `.*Wasm.*`, "sees every header").read(),
	leak("a logger that nobody knows", more(onInner, "HCM/access_log", map[string]any{"name": "x", "typed_config": map[string]any{"@type": "type.googleapis.com/example.Logger"}}), "access_log", `access_log\[1\]\.typed_config`, `example.Logger`, "sees every header").read(),
	leak("a client's credential in the front's log", more(onMain, "HCM/access_log", stdout("%REQ(X-Keyturn-Key)%")), "access_log", `access_log\[1\]`, `%REQ.*`, readsLog),
	leak("a WebSocket's credential in the front's log", more(onMain, "HCM/access_log", stdout("%REQ(sec-websocket-protocol)%")), "access_log", `access_log\[1\]`, `%REQ.*`, readsLog),
	leak("a cookie in the front's log", more(onMain, "HCM/access_log", stdout("%REQ(cookie)%")), "access_log", `access_log\[1\]`, `%REQ.*`, readsLog),
	leak("a credential in the loopback's log", more(onLoopback, "HCM/access_log", stdout("%REQ(authorization)% %REQ(x-keyturn-turn)%")), "access_log", `access_log\[1\]`, `%REQ\(authorization\)%`, readsLog),
	leak("log of the listener", more(onMain, "access_log", stdout("%REQ(authorization)%")), "access_log", `listener.*\]?\.access_log\[0\]`, `%REQ.*`, readsLog),
	leak("log of the router", more(onInner, "CHAIN/envoy.filters.http.router/typed_config/upstream_log", stdout("%REQ(authorization)%")), "upstream_log", `upstream_log\[0\]`, `%REQ.*`, readsLog),
	leak("log of the front's router", more(onMain, "CHAIN/envoy.filters.http.router/typed_config/upstream_log", stdout("%REQ(authorization)%")), "upstream_log", `upstream_log\[0\]`, `%REQ.*`, readsLog),
	leak("another gateway's credential", more(onMain, "HCM/access_log", stdout("%REQ(x-litellm-api-key)%")), "access_log", `access_log\[1\]`, `%REQ.*`, readsLog),
	leak("an access token of the query", more(onMain, "HCM/access_log", stdout("%QUERY_PARAM(access_token)%")), "access_log", `access_log\[1\]`, `%QUERY_PARAM.*`, readsLog),
	leak("path with its query", at(onMain, "HCM/access_log/0/typed_config/log_format/json_format/path", "%REQ(:PATH)%"), "access_log", `json_format\.path$`, `%REQ\(:PATH\)%`, readsQuery),
	leak("original path with its query", at(onMain, "HCM/access_log/0/typed_config/log_format/json_format/path", "%REQ(X-ENVOY-ORIGINAL-PATH)%"), "access_log", `json_format\.path$`, `%REQ.*`, readsQuery),
	leak("path, with its query by default", at(onMain, "HCM/access_log/0/typed_config/log_format/json_format/path", "%PATH%"), "access_log", `json_format\.path$`, `%PATH%`, readsQuery),
	leak("key of the query", more(onMain, "HCM/access_log", stdout("%QUERY_PARAM(key)%")), "access_log", `access_log\[1\]`, `%QUERY_PARAM\(key\)%`, readsLog),
	leak("all of the query", more(onMain, "HCM/access_log", stdout("%QUERY_PARAMS%")), "access_log", `access_log\[1\]`, `%QUERY_PARAMS%`, readsQuery),
	leak("path by an expression", more(onMain, "HCM/access_log", stdout("%CEL(request.path)%")), "access_log", `access_log\[1\]`, `%CEL.*`, readsQuery),
	costly("the path as Envoy's own format has it", at(onMain, "HCM/access_log/0/typed_config/log_format/json_format/path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"), "access_log", `json_format\.path$`, `%REQ.*`, readsQuery),
	costly("Envoy's own format", more(onMain, "HCM/access_log", typed("stdout", "access_loggers.stream.v3.StdoutAccessLog", nil)), "access_log", `access_log\[1\]`, `Envoy's own format`, readsQuery),
	leak("paths to another service of logs", both(extra("clusters", another), more(onMain, "HCM/access_log", grpcLog(map[string]any{
		"common_config": map[string]any{"log_name": "x", "grpc_service": grpcService("elsewhere"), "transport_api_version": "V3"},
	}))), "access_log", `access_log\[1\]`, `.*elsewhere`, readsQuery),
	leak("a variable of the environment", more(onInner, "HCM/access_log", stdout("%ENVIRONMENT(OPENAI_API_KEY)%")), "access_log", `access_log\[1\]`, `%ENVIRONMENT.*`, readsLog),
	leak("the filter state", more(onInner, "HCM/access_log", stdout("%FILTER_STATE(seen:PLAIN)%")), "access_log", `access_log\[1\]`, `%FILTER_STATE.*`, readsLog),
	leak("the filter state to a service of logs", more(onInner, "HCM/access_log", grpcLog(map[string]any{"common_config": map[string]any{
		"log_name": "x", "grpc_service": grpcService("keyturn-processor"), "transport_api_version": "V3", "filter_state_objects_to_log": []any{"seen"},
	}})), "access_log", `filter_state_objects_to_log`, `seen`, readsLog),
	leak("metadata that hold a credential", both(
		beforeRouter(onInner, filter("h", "header_to_metadata.v3.Config", map[string]any{"request_rules": []any{keyed("authorization")}})),
		more(onInner, "HCM/access_log", stdout("%DYNAMIC_METADATA(ns:k)%")),
	), "access_log", `access_log\[1\]`, `%DYNAMIC_METADATA\(ns:k\)%`, readsLog),
	leak("metadata by their other word", both(
		beforeRouter(onInner, filter("h", "header_to_metadata.v3.Config", map[string]any{"request_rules": []any{keyed("authorization")}})),
		more(onInner, "HCM/access_log", stdout("%METADATA(DYNAMIC:ns)%")),
	), "access_log", `access_log\[1\]`, `%METADATA\(DYNAMIC:ns\)%`, readsLog),
	leak("a key in the metadata", beforeRouter(onInner, filter("h", "header_to_metadata.v3.Config", map[string]any{"request_rules": []any{keyed("authorization")}})), "header_to_metadata", `request_rules\[0\]`, `authorization`, "Logs, gRPC services and other filters"),
	leak("a credential where Keyturn's own filters pass one on", more(onMain, "CHAIN/keyturn-metadata/typed_config/request_rules", putMetadata("authorization", "keyturn-credential", "k")), "header_to_metadata", `request_rules\[1\]`, `authorization`, "Logs, gRPC services and other filters"),
	leak("key as the gateway's own", more(onInner, "ONLY/request_headers_to_add", header("x-keyturn-key", "%REQ(authorization)%")), "request_headers_to_add", `routes\[0\]\.request_headers_to_add`, `%REQ.*`, goesOn),
	leak("a client's credential in the metadata", more(onMain, "CHAIN/keyturn-metadata/typed_config/request_rules", keyed("x-api-key")), "header_to_metadata", `request_rules\[1\]`, `x-api-key`, "Logs, gRPC services and other filters"),

	// Headers.
	leak("key to the client, by the route", more(onInner, "ONLY/response_headers_to_add", header("x-debug", "%REQ(authorization)%")), "response_headers_to_add", `routes\[0\]\.response_headers_to_add`, `%REQ.*`, theyRead),
	leak("key to the client, by the host", more(onInner, "HOST/response_headers_to_add", header("x-debug", "%REQ(authorization)%")), "response_headers_to_add", `virtual_hosts\[0\]\.response_headers_to_add`, `%REQ.*`, theyRead),
	leak("key to the client, by the configuration", more(onInner, "HCM/route_config/response_headers_to_add", header("x-debug", "%REQ(authorization)%")), "response_headers_to_add", `route_config\.response_headers_to_add`, `%REQ.*`, theyRead),
	leak("credential to the client, by the front", more(onMain, "ROUTE/response_headers_to_add", header("x-debug", "%REQ(x-keyturn-key)%")), "response_headers_to_add", `routes\[\d+\]\.response_headers_to_add`, `%REQ.*`, theyRead),
	leak("key in an error", at(onInner, "HCM/local_reply_config/mappers/0/body_format_override/json_format/key", "%REQ(authorization)%"), "local_reply_config", `mappers\[0\]`, `%REQ.*`, theyRead),
	leak("key in a header of an error", more(onInner, "HCM/local_reply_config/mappers/0/headers_to_add", header("x-debug", "%REQ(authorization)%")), "local_reply_config", `mappers\[0\]\.headers_to_add`, `%REQ.*`, theyRead),
	leak("credential under another name", more(onMain, "ROUTE/request_headers_to_add", header("x-original", "%REQ(authorization)%")), "request_headers_to_add", `routes\[\d+\]\.request_headers_to_add`, `%REQ.*`, goesOn),
	leak("credential under another name, by the host", more(onMain, "HOST/request_headers_to_add", header("x-original", "%REQ(authorization)%")), "request_headers_to_add", `virtual_hosts\[0\]\.request_headers_to_add`, `%REQ.*`, goesOn),
	leak("credential under another name, by the configuration", more(onMain, "HCM/route_config/request_headers_to_add", header("x-original", "%REQ(authorization)%")), "request_headers_to_add", `route_config\.request_headers_to_add`, `%REQ.*`, goesOn),
	leak("credential under another name, by a cluster's weight", weighted(map[string]any{"name": "keyturn-inner", "request_headers_to_add": []any{header("x-original", "%REQ(authorization)%")}}), "request_headers_to_add", `clusters\[0\]\.request_headers_to_add`, `%REQ.*`, goesOn),
	leak("key under another name", more(onInner, "ONLY/request_headers_to_add", header("x-copy", "%REQ(authorization)%")), "request_headers_to_add", `routes\[0\]\.request_headers_to_add`, `%REQ.*`, goesOn),
	leak("key under another name, by a filter", beforeRouter(onInner, filter("m", "header_mutation.v3.HeaderMutation", map[string]any{"mutations": map[string]any{"request_mutations": []any{
		map[string]any{"append": header("x-copy", "%REQ(authorization)%")},
	}}})), "request_mutations", `request_mutations\[0\]`, `%REQ.*`, goesOn),
	leak("key to the client, by a filter", beforeRouter(onInner, filter("m", "header_mutation.v3.HeaderMutation", map[string]any{"mutations": map[string]any{"response_mutations": []any{
		map[string]any{"append": header("x-copy", "%REQ(authorization)%")},
	}}})), "response_mutations", `response_mutations\[0\]`, `%REQ.*`, theyRead),
	leak("a key in the configuration", more(onMain, "ROUTE/request_headers_to_add", header("Authorization", "Bearer sk-1")), "request_headers_to_add", `request_headers_to_add`, `Authorization`, inConfig),
	leak("a key in the configuration of attempts", more(onInner, "HOST/request_headers_to_add", header("x-api-key", "sk-1")), "request_headers_to_add", `virtual_hosts\[0\]\.request_headers_to_add`, `x-api-key`, inConfig),
	leak("a key in an answer", more(onMain, "HOST/response_headers_to_add", header("authorization", "Bearer sk-1")), "response_headers_to_add", `response_headers_to_add`, `authorization`, theyRead),
	leak("key taken away after Keyturn", beforeRouter(onInner, filter("m", "header_mutation.v3.HeaderMutation", map[string]any{"mutations": map[string]any{"request_mutations": []any{map[string]any{"remove": "authorization"}}}})), "http_filters", `request_mutations\[0\]\.remove`, `authorization`, "another key, name or path"),
	leak("another authority after Keyturn", beforeRouter(onInner, filter("m", "header_mutation.v3.HeaderMutation", map[string]any{"mutations": map[string]any{"request_mutations": []any{map[string]any{"append": header(":authority", "example.net")}}}})), "http_filters", `request_mutations\[0\]`, `:authority`, "another key, name or path").read(),

	// Spans, taps, limits.
	leak("key in spans", at(onInner, "HCM/tracing", spans(map[string]any{"request_header": map[string]any{"name": "authorization"}})), "custom_tags", `custom_tags\[0\]`, `authorization`, readsSpans),
	leak("key in spans, by a format", at(onInner, "HCM/tracing", spans(map[string]any{"value": "%REQ(authorization)%"})), "custom_tags", `custom_tags\[0\]`, `%REQ.*`, readsSpans),
	leak("credential in spans of a route", at(onMain, "ROUTE/tracing", spans(map[string]any{"request_header": map[string]any{"name": "x-api-key"}})), "custom_tags", `custom_tags\[0\]`, `x-api-key`, readsSpans),
	leak("environment in spans", at(onMain, "HCM/tracing", spans(map[string]any{"environment": map[string]any{"name": "OPENAI_API_KEY"}})), "custom_tags", `custom_tags\[0\]`, `OPENAI_API_KEY`, readsSpans),
	leak("a tap of attempts", beforeRouter(onInner, filter("tap", "tap.v3.Tap", tapConfig)), "tap", `http_filters\[1\]`, `.*Tap`, "A tap writes requests"),
	leak("a tap before Keyturn", first(onInner, "CHAIN", filter("tap", "tap.v3.Tap", tapConfig)), "tap", `http_filters\[0\]`, `.*Tap`, "A tap writes requests"),
	leak("a tap of the front", first(onMain, "CHAIN", filter("tap", "tap.v3.Tap", tapConfig)), "tap", `http_filters\[0\]`, `.*Tap`, "A tap writes requests"),
	leak("a tap that the admin interface opens", beforeRouter(onInner, filter("tap", "tap.v3.Tap", map[string]any{"common_config": map[string]any{"admin_config": map[string]any{"config_id": "x"}}})), "tap", `http_filters\[1\]`, `.*Tap`, "A tap writes requests"),
	leak("a tap of connections", tapSocket, "tap", `transport_socket`, `.*Tap`, "A tap writes requests"),
	leak("a limit by credential", more(onMain, "ROUTE/route/rate_limits", map[string]any{"actions": []any{map[string]any{"request_headers": map[string]any{"header_name": "authorization", "descriptor_key": "k"}}}}), "rate_limits", `rate_limits\[0\]`, `authorization`, "is sent the credential"),
	leak("secrets of TLS in a file", at(onProvider, "transport_socket/typed_config/common_tls_context/key_log", map[string]any{"path": "/dev/null"}), "key_log", `key_log$`, `/dev/null`, "reads recorded traffic"),

	// Code and services of others behind Keyturn, or beside it.
	leak("Lua after Keyturn", beforeRouter(onInner, lua), "http_filters", `http_filters\[1\]`, `lua`, sees),
	leak("Lua before Keyturn", first(onInner, "CHAIN", lua), "http_filters", `http_filters\[0\]`, `lua`, "may look at it once more"),
	leak("another processor after Keyturn", beforeRouter(onInner, filter("other", "ext_proc.v3.ExternalProcessor", map[string]any{"grpc_service": grpcService("elsewhere")})), "http_filters", `http_filters\[1\]`, `other`, sees).with(extra("clusters", another)),
	leak("an authorizer after Keyturn", beforeRouter(onInner, authz(nil)), "http_filters", `http_filters\[1\]`, `authz`, sees),
	leak("Wasm after Keyturn", beforeRouter(onInner, filter("w", "wasm.v3.Wasm", map[string]any{"config": map[string]any{}})), "http_filters", `http_filters\[1\]`, `w`, sees).read(),
	leak("a dynamic module after Keyturn", beforeRouter(onInner, filter("d", "dynamic_modules.v3.DynamicModuleFilter", map[string]any{"dynamic_module_config": map[string]any{"name": "x"}, "filter_name": "x"})), "http_filters", `http_filters\[1\]`, `d`, sees).read(),
	leak("a filter that nobody knows", beforeRouter(onInner, map[string]any{"name": "x", "typed_config": map[string]any{"@type": "type.googleapis.com/example.Unknown"}}), "http_filters", `http_filters\[1\]`, `x`, sees).read(),
	leak("a filter from elsewhere", beforeRouter(onInner, map[string]any{"name": "x", "config_discovery": map[string]any{"config_source": map[string]any{"ads": map[string]any{}}, "type_urls": []any{"type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"}}}), "http_filters", `http_filters\[1\]`, `x`, sees).read(),
	leak("Lua behind the router", at(onInner, "CHAIN/envoy.filters.http.router/typed_config/upstream_http_filters", []any{lua, filter("c", "upstream_codec.v3.UpstreamCodec", nil)}), "upstream_http_filters", `upstream_http_filters\[0\]`, `lua`, sees),
	leak("Lua in the pool's cluster", at(onProvider, "OPTIONS/http_filters", []any{lua, filter("c", "upstream_codec.v3.UpstreamCodec", nil)}), "upstream_http_filters", `http_filters\[0\]`, `lua`, sees),
	leak("a network filter in the pool's cluster", more(onProvider, "filters", map[string]any{"name": "x", "typed_config": map[string]any{"@type": "type.googleapis.com/example.Unknown"}}), "cluster.filters", `filters\[0\]`, `x`, "each byte to the provider").read(),

	// Where keys go.
	leak("the address that a client chose", both(at(onProvider, "type", "ORIGINAL_DST"), at(onProvider, "load_assignment", nil), at(onProvider, "lb_policy", "CLUSTER_PROVIDED")), "cluster.type", `type$`, `ORIGINAL_DST`, "Where requests go is not said here"),
	leak("the address in a header", both(at(onProvider, "type", "ORIGINAL_DST"), at(onProvider, "load_assignment", nil), at(onProvider, "lb_policy", "CLUSTER_PROVIDED"), at(onProvider, "original_dst_lb_config", map[string]any{"use_http_header": true})), "cluster.type", `type$`, `ORIGINAL_DST`, "Where requests go is not said here"),
	leak("one cluster for many", both(at(onProvider, "type", nil), at(onProvider, "load_assignment", nil), at(onProvider, "lb_policy", "CLUSTER_PROVIDED"), extra("clusters", another), at(onProvider, "cluster_type", typed("envoy.clusters.aggregate", "clusters.aggregate.v3.ClusterConfig", map[string]any{"clusters": []any{"elsewhere"}}))), "cluster.type", ``, `envoy.clusters.aggregate`, "Where requests go is not said here"),
	{name: "another host with the provider's certificate", edit: at(onProvider, "load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/address", "127.0.0.2"), severity: check.Costs, setting: "cluster.load_assignment", path: `load_assignment$`, found: `127\.0\.0\.2:1`, words: "another way"},
	{name: "another port", edit: at(onProvider, "load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/port_value", 2), severity: check.Costs, setting: "cluster.load_assignment", path: `load_assignment$`, found: `localhost:2`, words: "another way"},
	leak("another host without TLS", both(at(onProvider, "load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/address", "127.0.0.2"), at(onProvider, "transport_socket", nil)), "cluster.load_assignment", `load_assignment$`, `127\.0\.0\.2:1`, "go to another host"),
	leak("another host beside the provider's", both(more(onProvider, "load_assignment/endpoints/0/lb_endpoints", map[string]any{"endpoint": map[string]any{"address": socket("127.0.0.2", 443)}}), at(onProvider, "type", "STRICT_DNS"), at(onProvider, sanOf, nil)), "cluster.load_assignment", `load_assignment$`, `127\.0\.0\.2:443`, "go to another host"),
	leak("no TLS to the provider", at(onProvider, "transport_socket", nil), "cluster.transport_socket", ``, `not set`, "in the clear"),
	leak("a socket without TLS", at(onProvider, "transport_socket", typed("envoy.transport_sockets.raw_buffer", "transport_sockets.raw_buffer.v3.RawBuffer", nil)), "cluster.transport_socket", `transport_socket$`, `raw_buffer`, "in the clear"),
	leak("a socket without TLS for some", more(onProvider, "transport_socket_matches", map[string]any{"name": "m", "match": map[string]any{}, "transport_socket": typed("envoy.transport_sockets.raw_buffer", "transport_sockets.raw_buffer.v3.RawBuffer", nil)}), "cluster.transport_socket", `transport_socket_matches\[0\]`, `raw_buffer`, "in the clear"),
	leak("a socket that nobody knows", at(onProvider, "transport_socket", map[string]any{"name": "x", "typed_config": map[string]any{"@type": "type.googleapis.com/example.Socket"}}), "cluster.transport_socket", `transport_socket$`, `example.Socket`, "cannot be said").read(),
	leak("any certificate", at(onProvider, "transport_socket/typed_config/common_tls_context/validation_context", nil), "cluster.transport_socket", `transport_socket`, `not set`, "is not verified"),
	leak("any name", at(onProvider, sanOf, nil), "cluster.transport_socket", `transport_socket`, `without a name`, "is not verified"),
	leak("any authority", at(onProvider, "transport_socket/typed_config/common_tls_context/validation_context/trusted_ca", nil), "cluster.transport_socket", `transport_socket`, `without a trusted_ca`, "is not verified").read(),
	leak("certificates that nobody has signed", at(onProvider, "transport_socket/typed_config/common_tls_context/validation_context/trust_chain_verification", "ACCEPT_UNTRUSTED"), "cluster.transport_socket", `transport_socket`, `ACCEPT_UNTRUSTED`, "is not verified"),
	leak("old certificates", at(onProvider, "transport_socket/typed_config/common_tls_context/validation_context/allow_expired_certificate", true), "cluster.transport_socket", `transport_socket`, `allow_expired_certificate`, "is not verified"),
	leak("a certificate of another name", at(onProvider, sanOf+"/0/matcher", map[string]any{"exact": "example.net"}), "cluster.transport_socket.match_typed_subject_alt_names", `transport_socket`, `example.net`, "of another name"),
	leak("a certificate of another name too", more(onProvider, sanOf, map[string]any{"san_type": "DNS", "matcher": map[string]any{"exact": "example.net"}}), "cluster.transport_socket.match_typed_subject_alt_names", `transport_socket`, `example.net`, "of another name"),
	leak("a certificate of many names", at(onProvider, sanOf+"/0/matcher", map[string]any{"prefix": "local"}), "cluster.transport_socket.match_typed_subject_alt_names", `transport_socket`, `prefix "local"`, "of another name"),
	crash("another server name", at(onProvider, "transport_socket/typed_config/sni", "example.net"), "cluster.transport_socket.sni", `transport_socket`, `example.net`, "of another name"),
	leak("old TLS", at(onProvider, "transport_socket/typed_config/common_tls_context/tls_params", map[string]any{"tls_minimum_protocol_version": "TLSv1_0"}), "cluster.transport_socket.tls_params", `cluster`, `TLSv1_0`, "can be broken"),
	leak("mirrored attempts", at(onInner, "ONLY/route/request_mirror_policies", mirror), "request_mirror_policies", `routes\[0\]`, `set`, "goes to another cluster too"),
	leak("mirrored requests", at(onMain, "ROUTE/route/request_mirror_policies", mirror), "request_mirror_policies", `routes\[\d+\]`, `set`, "goes to another cluster too"),
	leak("mirrored by the host", at(onMain, "HOST/request_mirror_policies", mirror), "request_mirror_policies", `virtual_hosts\[0\]\.request_mirror`, `set`, "goes to another cluster too"),
	leak("mirrored by the configuration", at(onInner, "HCM/route_config/request_mirror_policies", mirror), "request_mirror_policies", `route_config\.request_mirror`, `set`, "goes to another cluster too"),
	leak("redirects followed with the key", at(onInner, "ONLY/route/internal_redirect_policy", map[string]any{"max_internal_redirects": 1}), "internal_redirect_policy", `routes\[0\]`, `set`, "follows a provider's redirect"),
	leak("redirects followed by the front", at(onMain, "ROUTE/route/internal_redirect_policy", map[string]any{}), "internal_redirect_policy", `routes\[\d+\]`, `set`, "follows a provider's redirect"),
	leak("a cluster of the client's choice", both(at(onMain, "ROUTE/route/cluster", nil), at(onMain, "ROUTE/route/cluster_header", "x-cluster")), "route.cluster_header", `cluster_header$`, `x-cluster`, "A client names the cluster"),
	leak("a cluster of the client's choice by weight", weighted(map[string]any{"name": "keyturn-inner"}, map[string]any{"cluster_header": "x-cluster"}), "route.cluster_header", `clusters\[1\]`, `x-cluster`, "A client names the cluster"),
	leak("a cluster without a pool by weight", both(extra("clusters", another), weighted(map[string]any{"name": "keyturn-inner"}, map[string]any{"name": "elsewhere"})), "route.weighted_clusters", `clusters\[1\]`, `elsewhere`, "without a pool"),
	leak("a pool's cluster by weight", weighted(map[string]any{"name": "keyturn-inner"}, map[string]any{"name": "openai"}), "route.cluster", `clusters\[1\]`, `openai`, "past Keyturn"),
	leak("another cluster for attempts", at(onInner, "ONLY/route", map[string]any{"cluster": "keyturn-processor", "timeout": "0s"}), "route.cluster_header", `routes\[0\]`, `the cluster keyturn-processor`, "another pool's key"),
	leak("CONNECT", more(onMain, "HCM/upgrade_configs", map[string]any{"upgrade_type": "CONNECT"}), "upgrade_configs", `upgrade_configs\[1\]`, `CONNECT`, "opens a tunnel"),
	leak("CONNECT on a route", at(onMain, "ROUTE/match", map[string]any{"connect_matcher": map[string]any{}}), "upgrade_configs", `connect_matcher$`, `set`, "opens a tunnel"),

	// Who may use it.
	{name: "TRACE", edit: func(t *testing.T, d tree) {
		m := managerOf(t, d.resource(t, onMain))
		m["http_filters"] = m["http_filters"].([]any)[1:] // the guard
	}, severity: check.Costs, setting: "http_filters.rbac", path: `http_filters|routes`, found: `not set`, words: "TRACE"},
	{name: "TRACE too", edit: at(onMain, "CHAIN/0/typed_config/rules/policies/keyturn-method/permissions/0/not_rule/header/string_match/safe_regex/regex", "GET|POST|TRACE"), severity: check.Costs, setting: "http_filters.rbac", path: `routes`, found: `not set`, words: "TRACE"},
	leak("authentication off on a route", at(onMain, "ROUTE/typed_per_filter_config|envoy.filters.http.api_key_auth", noAuth), "route.typed_per_filter_config", `routes\[\d+\]\.typed_per_filter_config\["envoy.filters.http.api_key_auth"\]$`, `off`, strangers),
	leak("authentication off for a host", at(onMain, "HOST/typed_per_filter_config|envoy.filters.http.api_key_auth", noAuth), "route.typed_per_filter_config", `virtual_hosts\[0\]\.typed_per_filter_config`, `off`, strangers),
	leak("no authentication", func(t *testing.T, d tree) {
		m := managerOf(t, d.resource(t, onMain))
		m["http_filters"] = unasked(m)
	}, "http_filters", `http_filters`, `not set`, strangers),
	leak("no authentication on ::", func(t *testing.T, d tree) {
		m := managerOf(t, d.resource(t, onMain))
		m["http_filters"] = unasked(m)
		put(t, d.resource(t, onMain), "address", socket("::", 0))
	}, "http_filters", `http_filters`, `not set`, strangers),
	leak("a second address without authentication", func(t *testing.T, d tree) {
		m := managerOf(t, d.resource(t, onMain))
		m["http_filters"] = unasked(m)
		put(t, d.resource(t, onMain), "address", socket("127.0.0.1", 0))
		put(t, d.resource(t, onMain), "additional_addresses", []any{map[string]any{"address": socket("0.0.0.0", 0)}})
	}, "http_filters", `http_filters`, `not set`, strangers),
	leak("a second listener without authentication", secondListener("0.0.0.0"), "http_filters", `http_filters`, `not set`, strangers),
	leak("an authorizer that may fail", askedBy(authz(map[string]any{"failure_mode_allow": true})), "http_filters.failure_mode_allow", `failure_mode_allow$`, `true`, "is let in"),
	leak("an authorizer for some", askedBy(authz(map[string]any{"filter_enabled": map[string]any{"default_value": map[string]any{"numerator": 50}}})), "http_filters.filter_enabled", `filter_enabled$`, `not all requests`, "is let in"),
	leak("an authorizer that the runtime switches", both(askedBy(authz(map[string]any{"filter_enabled": map[string]any{"default_value": map[string]any{"numerator": 100}, "runtime_key": "ask"}})), runtimeLayer(map[string]any{"ask": 0})), "http_filters.filter_enabled", `filter_enabled$`, `not all requests`, "is let in"),
	leak("tokens that may be missing", askedBy(filter("jwt", "jwt_authn.v3.JwtAuthentication", map[string]any{"providers": jwks, "rules": []any{map[string]any{
		"match": map[string]any{"prefix": "/"}, "requires": map[string]any{"requires_any": map[string]any{"requirements": []any{map[string]any{"provider_name": "p"}, map[string]any{"allow_missing": map[string]any{}}}}},
	}}})), "http_filters.rules", `rules$`, `tokens may be missing`, "is let in"),
	leak("tokens that nobody asks for", askedBy(filter("jwt", "jwt_authn.v3.JwtAuthentication", map[string]any{"providers": jwks})), "http_filters.rules", `http_filters`, `not set`, "is let in"),
	leak("bytes to the inner listener", extra("listeners", tcpProxy("tunnel", "0.0.0.0", "keyturn-inner")), "tcp_proxy.cluster", `typed_config$`, `keyturn-inner`, "reaches that one"),
	leak("bytes to the provider", extra("listeners", tcpProxy("tunnel", "0.0.0.0", "openai")), "tcp_proxy.cluster", `typed_config$`, `openai`, "past Keyturn"),
	leak("the loopback listener for all", at(onLoopback, "address", socket("0.0.0.0", 0)), "address", `address$`, `0.0.0.0:0`, "keys of any pool"),
	leak("the loopback's socket for all", at(onLoopback, "address/pipe/mode", 0o666), "address.pipe.mode", `pipe\.mode$`, `438.*`, "Other users"),
	leak("a client's name in the metadata", more(onMain, "CHAIN/keyturn-metadata/typed_config/request_rules", putMetadata("x-me", "keyturn", "client")), "header_to_metadata", `request_rules\[1\]`, `x-me`, "another's name"),
	leak("keys tried in the metadata", more(onMain, "CHAIN/keyturn-metadata/typed_config/request_rules", putMetadata("x-tried", "keyturn", "tried")), "header_to_metadata", `request_rules\[1\]`, `x-tried`, "another's name"),
	leak("a client's name in the metadata of attempts", first(onInner, "CHAIN", filter("h", "header_to_metadata.v3.Config", map[string]any{"request_rules": []any{putMetadata("x-keyturn-client", "keyturn", "client")}})), "header_to_metadata", `request_rules\[0\]`, `x-keyturn-client`, "another's name"),
	leak("a turn forged", more(onMain, "ROUTE/request_headers_to_add", header("x-keyturn-turn", "1")), "route.request_headers_to_remove", `routes\[\d+\]`, `with x-keyturn-turn`, "pose as Keyturn"),
	crash("retries of a client's", func(t *testing.T, d tree) {
		put(t, d.resource(t, onMain), "ROUTE/request_headers_to_add", []any{header("x-keyturn-pool", "openai")})
	}, "route.request_headers_to_add.x-keyturn-retries", `routes\[\d+\]`, `not set`, "A client says how many"),
	leak("clients that share a memory", at(onMain, "ROUTE/request_headers_to_add", []any{header("x-keyturn-pool", "openai"), header("x-keyturn-retries", "18")}), "route.request_headers_to_add.x-keyturn-asked", `routes\[\d+\]`, `not set`, "share what it remembers"),
	crash("internal by its own word", at(onMain, "HCM/use_remote_address", nil), "use_remote_address", `typed_config`, `not set`, "x-forwarded-for"),
	leak("failure lets requests pass", at(onInner, "PROC/failure_mode_allow", true), "filter.failure_mode_allow", `failure_mode_allow$`, `true`, "without a key"),

	// Attempts that nobody asked for.
	crash("retries after errors", at(onMain, "ROUTE/route/retry_policy/retry_on", "retriable-headers,5xx"), "route.retry_policy.retry_on", `retry_on$`, `5xx`, twice),
	crash("retries after resets", at(onMain, "ROUTE/route/retry_policy/retry_on", "retriable-headers,reset,connect-failure"), "route.retry_policy.retry_on", `retry_on$`, `reset, connect-failure`, twice),
	crash("retries by the host", both(at(onMain, "ROUTE/route/retry_policy", nil), at(onMain, "HOST/retry_policy", map[string]any{
		"retry_on": "retriable-headers,gateway-error", "num_retries": 18, "retriable_headers": []any{map[string]any{"name": "x-keyturn-retry", "present_match": true}},
		"retry_back_off": map[string]any{"base_interval": "0.001s", "max_interval": "0.001s"},
	})), "route.retry_policy.retry_on", ``, `gateway-error`, twice),
	crash("retries of attempts", at(onInner, "ONLY/route/retry_policy", map[string]any{"retry_on": "5xx"}), "route.retry_policy", `retry_policy$`, `set`, "with the key that failed"),
	crash("retries of attempts by the host", at(onInner, "HOST/retry_policy", map[string]any{"retry_on": "reset"}), "route.retry_policy", ``, `set`, "with the key that failed"),
	crash("retries of the pool's cluster", at(onProvider, "OPTIONS/retry_policy", map[string]any{"retry_on": "5xx"}), "cluster.retry_policy", `retry_policy$`, `set`, "with the key that failed"),
	crash("retries for some requests", at(onMain, "ROUTE/route/retry_policy/retriable_request_headers", []any{map[string]any{"name": "x-retry", "present_match": true}}), "route.retry_policy.retriable_request_headers", `retriable_request_headers$`, `set`, "do not turn"),
	crash("hedged requests", at(onMain, "ROUTE/route/hedge_policy", map[string]any{"hedge_on_per_try_timeout": true}), "hedge_policy", `hedge_policy$`, `set`, twice),
	crash("hedged by the host", at(onMain, "HOST/hedge_policy", map[string]any{"initial_requests": 2}), "hedge_policy", `virtual_hosts\[0\]\.hedge_policy$`, `set`, twice).read(),

	// Envoy as a whole.
	leak("admin for all", at("bootstrap", "admin/address", socket("0.0.0.0", 0)), "admin.address", `admin\.address$`, `0\.0\.0\.0:0 with /quitquitquit.*`, "asks nobody"),
	leak("admin for all, the configuration too", both(at("bootstrap", "admin/address", socket("0.0.0.0", 0)), at("bootstrap", "admin/allow_paths", []any{map[string]any{"prefix": "/config_dump"}, map[string]any{"prefix": "/ready"}, map[string]any{"prefix": "/listeners"}})), "admin.address", `admin\.address$`, `0\.0\.0\.0:0 with /config_dump.*`, "asks nobody"),
	leak("admin on loopback, for pages too", at("bootstrap", "admin", map[string]any{"address": socket("127.0.0.1", 0)}), "admin.allow_paths", `admin$`, `not set`, "every page in a browser"),
	leak("admin on loopback, with what changes", at("bootstrap", "admin", map[string]any{"address": socket("127.0.0.1", 0), "allow_paths": []any{map[string]any{"safe_regex": map[string]any{"regex": "/(ready|config_dump|logging).*"}}}}), "admin.allow_paths", `admin\.allow_paths$`, `with /logging`, "every page in a browser"),
	leak("admin's socket for all", at("bootstrap", "admin/address/pipe/mode", 0o666), "admin.address.pipe.mode", `admin\.address\.pipe\.mode$`, `438.*`, "Every user"),
	leak("the processor elsewhere in the clear", at(onProcessor, "load_assignment/endpoints/0/lb_endpoints/0/endpoint/address", socket("192.0.2.1", 9000)), "cluster.transport_socket", ``, `not set, to 192\.0\.2\.1:9000`, "cross the network in the clear"),
	leak("the processor by its name in the clear", both(at(onProcessor, "type", "STRICT_DNS"), at(onProcessor, "load_assignment/endpoints/0/lb_endpoints/0/endpoint/address", socket("keyturn.invalid", 9000))), "cluster.transport_socket", ``, `not set, to keyturn\.invalid:9000`, "cross the network in the clear"),
	crash("no overload manager", at("bootstrap", "overload_manager", nil), "overload_manager", ``, `not set`, "Nothing bounds"),
	crash("no limit of connections", at("bootstrap", "overload_manager/resource_monitors", []any{typed("envoy.resource_monitors.fixed_heap", "resource_monitors.fixed_heap.v3.FixedHeapConfig", map[string]any{"max_heap_size_bytes": 1 << 30})}), "overload_manager.resource_monitors", `overload_manager`, `not set`, "Nothing bounds clients' connections"),
	crash("a limit without end", at("bootstrap", "overload_manager/resource_monitors/0/typed_config/max_active_downstream_connections", 1<<40), "overload_manager.resource_monitors", `overload_manager`, `1099511627776`, "Nothing bounds clients' connections"),
	crash("a protection off", runtimeLayer(map[string]any{"envoy.reloadable_features.validate_upstream_headers": false}), "layered_runtime", `static_layer\["envoy`, `.*validate_upstream_headers: false`, "switches off"),
	crash("a protection off, in parts", runtimeLayer(map[string]any{"envoy": map[string]any{"reloadable_features": map[string]any{"no_timer_based_rate_limit_token_bucket": false}}}), "layered_runtime", `static_layer`, `.*token_bucket: false`, "switches off"),
	crash("resets without end", runtimeLayer(map[string]any{"overload.premature_reset_total_stream_count": 1000000}), "layered_runtime", `static_layer`, `overload.*`, "switches off"),
	crash("headers of another prefix", at("bootstrap", "header_prefix", "x-foo"), "header_prefix", `header_prefix$`, `x-foo`, "number of the attempt"),
}
