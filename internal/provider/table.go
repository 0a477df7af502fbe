package provider

import "time"

// All are the providers, in the order of the documentation. Those without a comment document their base URL and their header where the
// source of their failures stands.
var All = []Provider{
	{
		Name: "openai", Upstream: "https://api.openai.com", Base: "/v1", Header: "authorization", Scheme: "Bearer",
		Dialects: []Dialect{Responses, Chat}, Telemetry: "openai", Schemas: OpenAISchemas,
		MaxTools: 128, // https://platform.openai.com/docs/api-reference/chat/create
		WrongKey: Failure{
			Status: 401, Source: "https://developers.openai.com/api/docs/guides/error-codes",
			Body: `{"error":{"message":"Incorrect API key provided: sk-***.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}`,
		},
		Forbidden: Failure{
			Status: 403, Source: "https://developers.openai.com/api/docs/guides/error-codes",
			Body: `{"error":{"code":"unsupported_country_region_territory","message":"Country, region, or territory not supported","param":null,"type":"request_forbidden"}}`,
		},
		Limited: Failure{
			Status: 429, Source: "https://developers.openai.com/api/docs/guides/error-codes",
			Header: map[string]string{"retry-after": "20"},
			Body:   `{"error":{"message":"Rate limit reached for gpt-4o in organization org-1 on requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again in 20s.","type":"requests","param":null,"code":"rate_limit_exceeded"}}`,
		},
	},
	{
		Name: "anthropic", Upstream: "https://api.anthropic.com", Header: "x-api-key",
		Dialects: []Dialect{Messages, Chat}, Telemetry: "anthropic",
		MaxTools: AnyTools, // https://platform.claude.com/docs/en/agents-and-tools/tool-use/tool-search-tool speaks of 10,000
		WrongKey: Failure{
			Status: 401, Source: "https://platform.claude.com/docs/en/api/errors",
			Body: `{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"},"request_id":"req_1"}`,
		},
		Forbidden: Failure{
			Status: 403, Source: "https://platform.claude.com/docs/en/api/errors",
			Body: `{"type":"error","error":{"type":"permission_error","message":"Your API key does not have permission to use the specified resource."},"request_id":"req_1"}`,
		},
		Limited: Failure{
			Status: 429, Source: "https://platform.claude.com/docs/en/api/rate-limits",
			Header: map[string]string{"retry-after": "12"},
			Body:   `{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your organization's rate limit of 30,000 input tokens per minute"},"request_id":"req_1"}`,
		},
	},
	{
		Name: "azure", Example: "https://NAME.openai.azure.com", Base: "/openai/v1", Header: "api-key",
		Dialects: []Dialect{Responses, Chat}, Telemetry: "azure.ai.openai", Schemas: OpenAISchemas,
		MaxTools: 128, // https://learn.microsoft.com/azure/ai-foundry/openai/quotas-limits
		WrongKey: Failure{
			Status: 401, Source: "https://learn.microsoft.com/azure/ai-services/openai/reference",
			Body: `{"error":{"code":"401","message":"Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active subscription."}}`,
		},
		Forbidden: Failure{
			Status: 403, Source: "https://learn.microsoft.com/azure/ai-services/openai/how-to/network",
			Body: `{"error":{"code":"403","message":"Access denied due to Virtual Network/Firewall rules."}}`,
		},
		Limited: Failure{
			Status: 429, Source: "https://learn.microsoft.com/azure/ai-foundry/openai/quotas-limits",
			Header: map[string]string{"retry-after": "20"},
			Body:   `{"error":{"code":"429","message":"Requests to the ChatCompletions_Create Operation have exceeded the token rate limit of your current tier. Please retry after 20 seconds."}}`,
		},
	},
	{
		// Its OpenAI endpoint: https://ai.google.dev/gemini-api/docs/openai. The native one takes a key in the path as well.
		Name: "gemini", Upstream: "https://generativelanguage.googleapis.com", Base: "/v1beta/openai", Header: "authorization", Scheme: "Bearer",
		Dialects: []Dialect{Chat}, Telemetry: "gcp.gemini", Schemas: GeminiSchemas,
		WrongKey:  Failure{Status: 400, Source: "https://ai.google.dev/gemini-api/docs/troubleshooting", Body: googleBadKey},
		Forbidden: Failure{Status: 403, Source: "https://ai.google.dev/gemini-api/docs/troubleshooting", Body: googleForbidden},
		Limited: Failure{
			Status: 429, Source: "https://ai.google.dev/gemini-api/docs/rate-limits",
			Body: `[{"error":{"code":429,"message":"You exceeded your current quota.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"57s"}]}}]`,
		},
	},
	{
		Name: "openrouter", Upstream: "https://openrouter.ai/api", Base: "/v1", Header: "authorization", Scheme: "Bearer",
		Dialects: []Dialect{Chat, Responses, Messages}, Telemetry: "openrouter",
		WrongKey: Failure{
			Status: 401, Source: "https://openrouter.ai/docs/api/reference/errors-and-debugging",
			Body: `{"error":{"message":"User not found.","code":401}}`,
		},
		Forbidden: Failure{
			Status: 403, Source: "https://openrouter.ai/docs/api/reference/errors-and-debugging",
			Body: `{"error":{"message":"Input was flagged","code":403,"metadata":{"reasons":["violence"],"flagged_input":"…","provider_name":"OpenAI"}}}`,
		},
		Limited: Failure{
			Status: 429, Source: "https://openrouter.ai/docs/api/reference/limits",
			Header: map[string]string{"x-ratelimit-limit": "20", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "1772625660000"},
			Body:   `{"error":{"message":"Rate limit exceeded: free-models-per-min.","code":429}}`,
		},
	},
	{
		Name: "mistral", Upstream: "https://api.mistral.ai", Base: "/v1", Header: "authorization", Scheme: "Bearer",
		Dialects: []Dialect{Chat}, Telemetry: "mistral_ai",
		WrongKey: Failure{Status: 401, Source: "https://github.com/diegosouzapw/OmniRoute/issues/7638", Body: `{"detail":"Unauthorized"}`},
		Limited: Failure{
			Status: 429, Source: "https://github.com/raycast/extensions/issues/31107",
			Body: `{"object":"error","message":"Rate limit exceeded","type":"rate_limited","param":null,"code":"1300","raw_status_code":429}`,
		},
	},
	{
		Name: "groq", Upstream: "https://api.groq.com/openai", Base: "/v1", Header: "authorization", Scheme: "Bearer",
		Dialects: []Dialect{Chat, Responses}, Telemetry: "groq",
		MaxTools: 128, // https://console.groq.com/docs/api-reference
		WrongKey: Failure{
			Status: 401, Source: "https://console.groq.com/docs/errors",
			Body: `{"error":{"message":"Invalid API Key","type":"invalid_request_error","code":"invalid_api_key"}}`,
		},
		Limited: Failure{
			Status: 429, Source: "https://console.groq.com/docs/rate-limits",
			Header: map[string]string{"retry-after": "8", "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "7.66s"},
			Body:   `{"error":{"message":"Rate limit reached for model in organization org_1 on tokens per minute (TPM): Limit 6000, Used 5034, Requested 1443. Please try again in 7.66s.","type":"tokens","code":"rate_limit_exceeded"}}`,
		},
	},
	{
		// Messages are below /anthropic: https://api-docs.deepseek.com/guides/anthropic_api. Of its 429 the documentation has the message only.
		Name: "deepseek", Upstream: "https://api.deepseek.com", Base: "/v1", Header: "authorization", Scheme: "Bearer",
		Dialects: []Dialect{Chat, Messages}, Telemetry: "deepseek",
		MaxTools: 128, // https://api-docs.deepseek.com/api/create-chat-completion
		WrongKey: Failure{
			Status: 401, Source: "https://github.com/deepseek-ai/DeepSeek-R1/issues/82",
			Body: `{"error":{"message":"Authentication Fails, Your api key: ****0000 is invalid","type":"authentication_error","param":null,"code":"invalid_request_error"}}`,
		},
		Limited: Failure{
			Status: 429, Source: "https://api-docs.deepseek.com/quick_start/error_codes",
			Body: `{"error":{"message":"Rate Limit Reached","type":"unknown_error","param":null,"code":"invalid_request_error"}}`,
		},
	},
	{
		// The code is a sentence, that of a gRPC status, and the error a string; of the 401 the documentation has the message only. A wrong key is a 400 as well: https://github.com/continuedev/continue/issues/10778.
		Name: "xai", Upstream: "https://api.x.ai", Base: "/v1", Header: "authorization", Scheme: "Bearer",
		Dialects: []Dialect{Responses, Chat}, Telemetry: "x_ai",
		WrongKey: Failure{
			Status: 401, Source: "https://docs.x.ai/docs/key-information/debugging",
			Body: `{"code":"The request does not have valid authentication credentials for the operation","error":"An invalid authorization token is provided."}`,
		},
		Forbidden: Failure{
			Status: 403, Source: "https://docs.x.ai/docs/key-information/debugging",
			Body: `{"code":"The caller does not have permission to execute the specified operation","error":"Your API key is blocked."}`,
		},
		Limited: Failure{
			Status: 429, Source: "https://docs.x.ai/docs/key-information/debugging",
			Body: `{"code":"Some resource has been exhausted","error":"Too many requests for team and model. Your team's rate limit is 60 requests per minute."}`,
		},
	},
	{
		Name: "together", Upstream: "https://api.together.xyz", Base: "/v1", Header: "authorization", Scheme: "Bearer",
		Dialects: []Dialect{Chat}, Telemetry: "together",
		WrongKey: Failure{
			Status: 401, Source: "https://github.com/harshitv804/LawGPT/issues/4",
			Body: `{"error":{"message":"Invalid API key provided. You can find your API key at https://api.together.xyz/settings/api-keys.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}`,
		},
		Limited: Failure{
			Status: 429, Source: "https://github.com/togethercomputer/MoA/issues/27",
			Body: `{"error":{"message":"You have been rate limited. Your rate limit is 60 queries per minute.","type":"credit_limit","param":null,"code":null}}`,
		},
	},
	{
		// Statuses: https://docs.fireworks.ai/guides/inference-error-codes.
		Name: "fireworks", Upstream: "https://api.fireworks.ai/inference", Base: "/v1", Header: "authorization", Scheme: "Bearer",
		Dialects: []Dialect{Chat, Responses}, Telemetry: "fireworks",
		WrongKey: Failure{
			Status: 401, Source: "https://github.com/langchain-ai/langchain/issues/15239",
			Body: `{"fault":{"faultstring":"Invalid ApiKey","detail":{"errorcode":"oauth.v2.InvalidApiKey"}}}`,
		},
		Limited: Failure{
			Status: 429, Source: "https://github.com/GordeyZuev/LEAP/issues/6",
			Body: `{"error":"Too Many Requests","message":"You have exceeded your usage limits. Please try again later or contact Fireworks to explore dedicated capacity."}`,
		},
	},
	{
		// Without an envelope. Of its 401 the documentation has the status only.
		Name: "cerebras", Upstream: "https://api.cerebras.ai", Base: "/v1", Header: "authorization", Scheme: "Bearer",
		Dialects: []Dialect{Chat}, Telemetry: "cerebras",
		WrongKey: Failure{
			Status: 401, Source: "https://inference-docs.cerebras.ai/support/error",
			Body: `{"message":"Wrong API Key","type":"invalid_request_error","param":"api_key","code":"wrong_api_key"}`,
		},
		Limited: Failure{
			Status: 429, Source: "https://github.com/nminaya/grammar-nazi-bot/issues/958",
			Body: `{"message":"Requests per minute limit exceeded - too many requests sent.","type":"too_many_requests_error","param":"quota","code":"request_quota_exceeded"}`,
		},
	},
	{
		// With an API key of Bedrock's, the bearer token AWS_BEARER_TOKEN_BEDROCK; not with AWS' signatures. Messages are below
		// https://bedrock-mantle.REGION.api.aws/anthropic. https://docs.aws.amazon.com/bedrock/latest/userguide/inference-responses-api.html
		Name: "bedrock", Example: "https://bedrock-runtime.REGION.amazonaws.com/openai", Base: "/v1", Header: "authorization", Scheme: "Bearer",
		Dialects: []Dialect{Responses, Chat, Messages}, Telemetry: "aws.bedrock",
		WrongKey: Failure{
			Status: 403, Source: "https://github.com/ai4s-research/open-science/issues/53",
			Body: `{"Message":"Authentication failed: Please make sure your API Key is valid."}`,
		},
		Forbidden: Failure{
			Status: 403, Source: "https://github.com/BerriAI/litellm/pull/39166",
			Body: `{"Message":"User: arn:aws:iam::1:user/u is not authorized to perform: bedrock:InvokeModel because no identity-based policy allows the bedrock:InvokeModel action"}`,
		},
		Limited: Failure{
			Status: 429, Source: "https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html",
			Header: map[string]string{"x-amzn-errortype": "ThrottlingException"},
			Body:   `{"message":"Too many requests, please wait before trying again."}`,
		},
	},
	{
		// In express mode, with an API key: Gemini's own API, which is none of the dialects. Elsewhere Vertex takes tokens that end after an hour.
		// https://cloud.google.com/vertex-ai/generative-ai/docs/start/express-mode/vertex-ai-express-mode-api-reference
		Name: "vertex", Upstream: "https://aiplatform.googleapis.com", Header: "x-goog-api-key", Telemetry: "gcp.vertex_ai", Schemas: GeminiSchemas,
		WrongKey:  Failure{Status: 400, Source: "https://cloud.google.com/vertex-ai/generative-ai/docs/start/express-mode/overview", Body: googleBadKey},
		Forbidden: Failure{Status: 403, Source: "https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/api-errors", Body: googleForbidden},
		Limited: Failure{
			Status: 429, Source: "https://cloud.google.com/vertex-ai/generative-ai/docs/error-code-429",
			Body: `{"error":{"code":429,"message":"Resource exhausted. Please try again later.","status":"RESOURCE_EXHAUSTED"}}`,
		},
	},
	{
		// https://docs.ollama.com/api/openai-compatibility, https://docs.ollama.com/api/anthropic-compatibility. With a key: Ollama's cloud.
		Name: "ollama", Upstream: "http://127.0.0.1:11434", Base: "/v1", Header: "authorization", Scheme: "Bearer", Keyless: true,
		Dialects: []Dialect{Chat, Responses, Messages}, Telemetry: "ollama",
		WrongKey: Failure{Status: 401, Source: "https://docs.ollama.com/api/authentication", Body: `{"error":"unauthorized"}`},
	},
	{
		// With a key where it was started with --api-key: https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html.
		Name: "vllm", Upstream: "http://127.0.0.1:8000", Base: "/v1", Header: "authorization", Scheme: "Bearer", Keyless: true,
		KeepAlive: 4 * time.Second, // of 5 s: https://docs.vllm.ai/en/latest/configuration/env_vars.html, VLLM_HTTP_TIMEOUT_KEEP_ALIVE
		Dialects:  []Dialect{Chat, Responses, Messages}, Telemetry: "vllm",
		WrongKey: Failure{Status: 401, Source: "https://blog.csdn.net/qq_39325964/article/details/140890400", Body: `{"error":"Unauthorized"}`},
	},
	{
		Name: "compatible", Example: "https://HOST", Base: "/v1", Header: "authorization", Scheme: "Bearer",
		Dialects: []Dialect{Chat, Responses, Messages}, Telemetry: "compatible",
	},
}

const (
	googleBadKey    = `[{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}]`
	googleForbidden = `{"error":{"code":403,"message":"The caller does not have permission","status":"PERMISSION_DENIED"}}`
)
