package provider

// Endpoints are paths of a provider's API that begin alike.
type Endpoints struct {
	Segments []string   // after the version, in lower case with underscores; "*" is any
	But      [][]string // those among them that are not meant
	Source   string     // URL
}

// Reserved are the endpoints that mint credentials, or manage an organisation, its people, keys and money. No client of a gateway needs
// them, and most are open to any key that may do all. A pool serves them only where its paths name them.
var Reserved = []Endpoints{
	{Segments: []string{"realtime", "client_secrets"}, Source: "https://developers.openai.com/api/reference/resources/realtime/subresources/client_secrets"},
	{Segments: []string{"realtime", "translations", "client_secrets"}, Source: "https://developers.openai.com/api/reference/resources/realtime/subresources/client_secrets"},
	{Segments: []string{"realtime", "sessions"}, Source: "https://platform.openai.com/docs/api-reference/realtime-sessions/create"},
	{Segments: []string{"realtime", "transcription_sessions"}, Source: "https://platform.openai.com/docs/api-reference/realtime-sessions/create-transcription"},
	{Segments: []string{"realtimeapi", "sessions"}, Source: "https://learn.microsoft.com/azure/ai-foundry/openai/how-to/realtime-audio-webrtc"},
	{Segments: []string{"chatkit", "sessions"}, Source: "https://platform.openai.com/docs/api-reference/chatkit/sessions/create"},
	{Segments: []string{"organization"}, Source: "https://platform.openai.com/docs/api-reference/administration"},
	{Segments: []string{"organizations"}, Source: "https://platform.claude.com/docs/en/api/administration-api"},
	// Vertex has its models below a project.
	{Segments: []string{"projects"}, But: [][]string{{"projects", "*", "locations"}}, Source: "https://platform.openai.com/docs/api-reference/project-groups"},
	{Segments: []string{"fine_tuning", "checkpoints", "*", "permissions"}, Source: "https://platform.openai.com/docs/api-reference/fine-tuning/create-permission"},
	{Segments: []string{"dashboard"}, Source: "https://github.com/openai/openai-python/issues/285"},
	{Segments: []string{"admin"}, Source: "https://docs.litellm.ai/docs/proxy/virtual_keys"},
	{Segments: []string{"api_keys"}, Source: "https://platform.claude.com/docs/en/api/administration-api"},
	{Segments: []string{"apikeys"}, Source: "https://docs.fireworks.ai/api-reference/create-api-key"},
	{Segments: []string{"service_accounts"}, Source: "https://platform.openai.com/docs/api-reference/project-service-accounts"},
	{Segments: []string{"accounts", "*", "users"}, Source: "https://docs.fireworks.ai/api-reference/create-api-key"},
	{Segments: []string{"accounts", "*", "secrets"}, Source: "https://docs.fireworks.ai/api-reference/create-secret"},
	{Segments: []string{"oauth"}, Source: "https://platform.claude.com/docs/en/manage-claude/overview"},
	{Segments: []string{"keys"}, Source: "https://openrouter.ai/docs/features/provisioning-api-keys"},
	{Segments: []string{"key"}, Source: "https://openrouter.ai/docs/api-reference/limits"},
	{Segments: []string{"auth"}, Source: "https://openrouter.ai/docs/use-cases/oauth-pkce"},
	{Segments: []string{"credits"}, Source: "https://openrouter.ai/docs/api-reference/get-credits"},
	{Segments: []string{"activity"}, Source: "https://openrouter.ai/docs/api-reference/analytics/get-activity"},
	{Segments: []string{"guardrails"}, Source: "https://openrouter.ai/docs/guides/features/guardrails"},
	{Segments: []string{"workspaces"}, Source: "https://openrouter.ai/docs/guides/features/workspaces"},
	{Segments: []string{"auth_tokens"}, Source: "https://ai.google.dev/gemini-api/docs/ephemeral-tokens"},
	{Segments: []string{"authtokens"}, Source: "https://ai.google.dev/gemini-api/docs/ephemeral-tokens"},
	{Segments: []string{"tunedmodels", "*", "permissions"}, Source: "https://ai.google.dev/api/tuning/permissions"},
	{Segments: []string{"corpora", "*", "permissions"}, Source: "https://ai.google.dev/api/semantic-retrieval/permissions"},
	{Segments: []string{"invites"}, Source: "https://platform.openai.com/docs/api-reference/invite"},
	{Segments: []string{"users"}, Source: "https://platform.openai.com/docs/api-reference/users"},
	{Segments: []string{"admin_api_keys"}, Source: "https://platform.openai.com/docs/api-reference/admin-api-keys"},
	{Segments: []string{"audit_logs"}, Source: "https://platform.openai.com/docs/api-reference/audit-logs"},
	{Segments: []string{"billing"}, Source: "https://github.com/openai/openai-python/issues/285"},
	{Segments: []string{"usage"}, Source: "https://github.com/openai/openai-python/issues/285"},
	{Segments: []string{"secrets"}, Source: "https://docs.fireworks.ai/api-reference/create-secret"},
	{Segments: []string{"user"}, Source: "https://elevenlabs.io/docs/api-reference/user/get"},
	{Segments: []string{"account"}, Source: "https://replicate.com/docs/reference/http#account.get"},
	{Segments: []string{"webhooks", "default", "secret"}, Source: "https://replicate.com/docs/reference/http#webhooks.default.secret.get"},
	{Segments: []string{"accounts", "*", "tokens"}, Source: "https://developers.cloudflare.com/api/resources/accounts/subresources/tokens/"},
	{Segments: []string{"sts"}, Source: "https://learn.microsoft.com/azure/ai-services/authentication"},
}
