// Package wire has the names that two sides agree on: headers, metadata and prefixes that one package writes and another one reads, or
// that both must leave alone. It is data, so everybody may import it. Names of headers are in lower case, as HTTP/2 has them.
package wire

// HeaderPrefix begins the names of Keyturn's own headers.
const HeaderPrefix = "x-keyturn-"

// On a request to the inner listener, set by the front that leads there.
const (
	IDHeader      = HeaderPrefix + "id"      // the request's id, the same at each of its attempts and nobody else's: %UNIQUE_ID%
	StartHeader   = HeaderPrefix + "start"   // when the request began, in seconds since 1970: %START_TIME(%s.%3f)%
	PoolHeader    = HeaderPrefix + "pool"    // the pool's name
	ClientHeader  = HeaderPrefix + "client"  // the client's name, by Envoy's authentication
	AskedHeader   = HeaderPrefix + "asked"   // "1": the front asked the client who it is. Without ClientHeader nobody can tell it from others
	RetriesHeader = HeaderPrefix + "retries" // num_retries of the route; without it Keyturn cannot tell the last attempt
)

// On a request to the loopback listener, which Keyturn itself sends: it is a later turn of a response. No client's may get through.
const (
	TurnHeader  = HeaderPrefix + "turn"  // the number of the turn
	ModelHeader = HeaderPrefix + "model" // the model, escaped like a segment of a path, so that no body need be read for it
)

// ParentHeader is on such a request too: IDHeader's value of the client's request, whose record it belongs to. It means nothing without
// TurnHeader, so no front need take it out.
const ParentHeader = HeaderPrefix + "parent"

// TalkHeader is on such a request where the first turn's body named its conversation, as a decimal hash: all turns have its key. It means nothing without
// TurnHeader either.
const TalkHeader = HeaderPrefix + "talk"

const (
	// ToolsHeader is the client's own: on asks for the pool's tools where they go in by header, off keeps them out.
	ToolsHeader = HeaderPrefix + "tools"
	// ClusterHeader is set by Keyturn on an attempt: the cluster that it goes to, which the inner listener's route follows.
	ClusterHeader = HeaderPrefix + "cluster"
	// ClientKeyHeader is on a client's request: its key for the gateway, beside a credential of its own for the provider.
	ClientKeyHeader = HeaderPrefix + "key"
)

// ClientKeySources are where a client's key for the gateway is looked for, in this order: the header of its own first, so that the others
// may hold the client's own credential for a BYOK pool.
var ClientKeySources = []string{ClientKeyHeader, AuthorizationHeader, "x-api-key", "api-key"}

// OwnExtension is what the front of a BYOK pool tells Keyturn when it asks who a client is: its key stands in ClientKeyHeader alone.
const OwnExtension = "keyturn.own"

// On a response from the inner listener.
const (
	RetryHeader = HeaderPrefix + "retry" // asks the front for the next attempt: retriable_headers of its retry policy
	ErrorHeader = HeaderPrefix + "error" // the code of an error that the gateway made, and no provider

	// What the attempt used. The front's log has it, and clients do not.
	UsedPoolHeader = HeaderPrefix + "used-pool"
	UsedNameHeader = HeaderPrefix + "used-name" // the key's name
	UsedKeyHeader  = HeaderPrefix + "used-key"  // the key's masked hint
)

// On a response to a client that may learn what became of its request.
const (
	ToldRequestHeader  = HeaderPrefix + "request"  // the request's id, by which it can be asked for
	ToldAttemptsHeader = HeaderPrefix + "attempts" // how many attempts it took
)

// TraceHeader is a client's place in a trace: https://www.w3.org/TR/trace-context/#traceparent-header
const TraceHeader = "traceparent"

// SessionHeaders are where agents say what they call the conversation that a request belongs to. The first that is there counts.
var SessionHeaders = []string{
	"x-claude-code-session-id", // Claude Code
	"session_id", "session-id", // Codex
	"x-client-session-id",             // GitHub Copilot's command line
	"x-interaction-id",                // GitHub Copilot in an editor
	"x-opencode-session",              // OpenCode
	"x-session-affinity",              // and an older one
	"x-kilocode-taskid",               // Kilo Code
	"x-mux-workspace-id",              // Mux
	"x-coder-chat-id", "x-session-id", // Coder, and whoever has no better idea
}

// Envoy's own headers.
// https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_conn_man/headers
const (
	EnvoyPrefix     = "x-envoy-"
	ForwardedPrefix = "x-forwarded-"

	AttemptHeader = EnvoyPrefix + "attempt-count" // on a request: include_request_attempt_count
	// TryTimeoutHeader is set by Keyturn on an attempt: how long the provider may take until its answer begins, in milliseconds. Envoy's router
	// takes it out.
	TryTimeoutHeader     = EnvoyPrefix + "upstream-rq-per-try-timeout-ms"
	RateLimitedHeader    = EnvoyPrefix + "ratelimited"   // on a response: Envoy never retries one that carries it
	ForwardedProtoHeader = ForwardedPrefix + "proto"     // without it Envoy finds no route, so the inner listener's route removes it
	OriginalPathHeader   = EnvoyPrefix + "original-path" // on a request: the path before a route has rewritten it
	RequestIDHeader      = "x-request-id"                // joins the log lines of one request
)

// LocationHeader names a place where the client goes on, or what was made (RFC 9110 section 10.2.2).
const LocationHeader = "location"

// By these headers of a response SDKs decide when to try again, and whether.
const (
	RetryAfterHeader       = "retry-after"    // seconds or a date, RFC 9110 section 10.2.3
	RetryAfterMillisHeader = "retry-after-ms" // the same in milliseconds, which SDKs prefer
	ShouldRetryHeader      = "x-should-retry" // "true" or "false"
)

// AuthorizationHeader is where most providers, and clients of most gateways, have their credential.
const AuthorizationHeader = "authorization"

// Lists of headers. Nobody changes them.
var (
	// Credentials are where clients of the providers' SDKs put a credential.
	Credentials = []string{AuthorizationHeader, "x-api-key", "api-key", "x-goog-api-key"}

	// Secrets are between the client, the proxies and the provider: no attempt reads them and no turn repeats them.
	Secrets = []string{"cookie", "set-cookie", "proxy-authorization"}

	// Withheld are those that no provider may see from a client whose credential is replaced: other credentials of the client's, and names
	// of organisations that would not fit the pool's key (OpenAI answers mismatched_organization with a 401). x-request-id is the proxy's own.
	Withheld = []string{"proxy-authorization", "cookie", "openai-organization", "openai-project", "anthropic-workspace-id", RequestIDHeader}

	// Account are those of a provider's answer that tell about the account behind the pool's key, beside what IsOrigin tells of.
	Account = []string{"openai-organization", "openai-project", "anthropic-organization-id"}

	// HopByHop are those of one connection, RFC 9110 section 7.6.1, with the two that RFC 2616 had there.
	HopByHop = []string{"connection", "keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
