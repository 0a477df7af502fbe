package wire

// Namespace is the one of the dynamic metadata that Keyturn's filter leaves for Envoy's log.
const Namespace = "keyturn"

// Fields of the metadata of an attempt. Those of tokens have Envoy AI Gateway's names.
const (
	PoolField      = "pool"       // the pool's name
	KindField      = "kind"       // whose key it is: Centralized or BYOK
	KeyField       = "key"        // the key's masked hint
	KeyNameField   = "key_name"   // its name
	KeyIDField     = "key_id"     // its fingerprint
	FallbackField  = "fallback"   // how the request came to the pool from the one that it was for: the pools that passed it on, each with the reason
	AttemptField   = "attempt"    // number of the attempt, from 1
	RequestIDField = "request_id" // x-request-id
	ClientField    = "client"     // the client's name, or the fingerprint of a credential of its own
	TurnField      = "turn"       // number of the turn that it is an attempt of, where that is a later one
	ExhaustedField = "exhausted"  // why no key was left
	IDField        = "id"         // IDHeader's value of the client's request, also in its later turns
	ProviderField  = "provider"   // the pool's provider
	ModelField     = "model"      // that the client asked for, where Keyturn knows
	OutcomeField   = "outcome"    // how the attempt ended, where its status does not say: the label of keyturn_attempts_total
	ClassField     = "class"      // of the failure, where the key was judged
	WaitField      = "wait"       // how long the key rests for it, in seconds
	CallsField     = "calls"      // the calls of tools, as Calls writes them
	CutField       = "cut"        // how many calls did not fit
	StatusField    = "status"     // the provider's, where the client got another
	SentField      = "sent"       // how many requests of later turns were sent
	EndingField    = "ending"     // the code of the error that the later turns ended with

	TurnsField        = "turns"                  // of a response with tools: how many turns it had
	ToolCallsField    = "tool_calls"             // and how many calls
	InputTokensField  = "llm_input_token"        //nolint:gosec // a field's name, no credential
	OutputTokensField = "llm_output_token"       //nolint:gosec // a field's name, no credential
	TotalTokensField  = "llm_total_token"        //nolint:gosec // a field's name, no credential
	CacheReadField    = "llm_cached_input_token" //nolint:gosec // a field's name, no credential
	CacheWriteField   = "llm_cache_creation_input_token"
	ReasoningField    = "llm_reasoning_token"
)

// Names of the logs that Envoy sends to Keyturn.
const (
	RequestLog = "request" // an entry for each client's request
	AttemptLog = "attempt" // and for each attempt of one, or of a later turn
)

// MaxMetadata bounds what an attempt leaves for the log, in bytes.
const MaxMetadata = 4 << 10

// Values of KindField.
const (
	Centralized = "centralized" // the pool's
	BYOK        = "byok"        // the client's own
)

// DetailsPrefix begins the response code details of the answers that Keyturn gives itself.
const DetailsPrefix = "keyturn_"

// ToolPrefix begins the names under which models see Keyturn's tools: a model that calls one which is not offered means one of them.
const ToolPrefix = "bmcp_"
