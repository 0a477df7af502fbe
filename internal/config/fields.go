package config

import (
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/extproc"
	"github.com/keyturn/keyturn/internal/provider"
	"github.com/keyturn/keyturn/internal/record/genai"
	"github.com/keyturn/keyturn/keypool"
)

// root describes the whole file.
func root() object[Config] {
	return object[Config]{
		fields: []field[Config]{
			is("listen", func(c *Config) *string { return &c.Listen }, address{}.of(),
				"Where Envoy reaches the processor (gRPC). Whoever reaches it can ask for keys: a Unix socket, or a network that only Envoy is on."),
			is("admin", func(c *Config) *Admin { return &c.Admin }, adminFields(), "Health, metrics and the state of the pools over HTTP."),
			is("log", func(c *Config) *Log { return &c.Log }, logFields(), "What is logged to standard error, and how."),
			is("fingerprint_secret", func(c *Config) *string { return &c.Fingerprint }, secretOf(16),
				"Secret of the keys' fingerprints, equal on all replicas; at least 16 bytes.").otherwise("built in"),
			is("pools", func(c *Config) *[]Pool { return &c.Pools }, list[Pool]{poolFields(), "- {provider: openai, keys: [{env: OPENAI_KEY}]}", 1},
				"The key pools, one for each provider or account.").must("[{provider: openai, keys: [{env: NAME}]}]"),
			is("tools", func(c *Config) *Tools { return &c.Tools }, toolsFields(), "The MCP servers whose tools pools may give to models.").otherwise("none"),
			is("limits", func(c *Config) *Limits { return &c.Limits }, limitsFields(), "What Keyturn may take of the machine."),
			is("clients", func(c *Config) *map[string]extproc.ClientLimits {
				return (*map[string]extproc.ClientLimits)(&c.Clients)
			}, clientLimits(),
				"What clients may use, by the names that `envoy.clients` knows them by. `default` holds for each without an entry of its own; those without a name share one account.").otherwise("everything"),
			is("record", func(c *Config) *Record { return &c.Record }, recordShape{},
				"What is recorded of each request: attempts, tools, tokens, price. `off` records nothing."),
			is("telemetry", func(c *Config) *Telemetry { return &c.Telemetry }, telemetryFields(), "What metrics and spans are called."),
			is("envoy", func(c *Config) *Envoy { return &c.Envoy }, envoyFields(),
				"For the commands that render, check or run an Envoy; serving alone needs none of it."),
		},
		example: "pools: [{provider: openai, keys: [{env: NAME}]}]",
		start:   func(func(string) string) Config { return defaults },
		after:   (*reader).wholeFile,
	}
}

func adminFields() object[Admin] {
	return object[Admin]{
		fields: []field[Admin]{
			is("listen", func(a *Admin) *string { return &a.Listen }, address{}.of(), "Where it listens. Beyond loopback a token is required."),
			is("token", func(a *Admin) *string { return &a.Token }, secretOf(1), "Bearer token that requests must carry.").otherwise("none"),
			is("viewers", func(a *Admin) *[]string { return &a.Viewers }, list[string]{secretOf(16), "[{env: VIEWER_TOKEN}]", 1},
				"Tokens with which one sees everything but what was said in requests, and changes nothing; each of at least 16 bytes.").otherwise("none"),
		},
		example: "{listen: 127.0.0.1:9420}",
		after: func(r *reader, path string, a *Admin) {
			if len(a.Viewers) > 0 && a.Token == "" && !r.failed(path) {
				r.refuse(within(path, "viewers"), "without a token nobody needs one to change things; add token: {env: NAME}")
			}
			if a.Token != "" && slices.Contains(a.Viewers, a.Token) {
				r.refuse(within(path, "viewers"), "one of them is the admin token, with which one changes things; give viewers their own")
			}
			if !local(a.Listen) && !r.failed(path) && a.Token == "" {
				r.refuse(within(path, "listen"), "%s is reachable from beyond this machine and there is no token; add token: {env: NAME}, or write 127.0.0.1:PORT", a.Listen)
			}
		},
	}
}

func logFields() object[Log] {
	return object[Log]{
		fields: []field[Log]{
			is("level", func(l *Log) *slog.Level { return &l.Level }, level(), "Least severe level that is written."),
			is("format", func(l *Log) *string { return &l.Format }, choice("auto", "text", "json"), "`auto` is text on a terminal, else JSON."),
		},
		example: "{level: info}",
	}
}

func telemetryFields() object[Telemetry] {
	return object[Telemetry]{
		fields: []field[Telemetry]{
			is("compat", func(t *Telemetry) *[]string { return &t.Compat }, list[string]{choice(string(genai.GenAI136)), "[" + string(genai.GenAI136) + "]", 1},
				"Older names of OpenTelemetry's for generative AI that are told beside today's, for boards that ask by them.").otherwise("none"),
			is("trace_url", func(t *Telemetry) *string { return &t.TraceURL }, traceURL(),
				"Where a trace can be looked at, with `{trace_id}` in the place of its id: the operator's page links to it.").otherwise("none"),
		},
		example: "{compat: [" + string(genai.GenAI136) + "]}",
	}
}

// traceURL is a link with a place for a trace's id.
func traceURL() scalar[string] {
	const want = "a URL such as https://traces.example.com/trace/{trace_id}"
	return text("URL", want, func(s string) wrong {
		u, err := url.Parse(s)
		switch {
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil:
			return wrong("found no such address; write " + want)
		case !strings.Contains(s, "{trace_id}"):
			return wrong("found no place for the id; write " + want)
		}
		return ""
	})
}

func limitsFields() object[Limits] {
	return object[Limits]{
		fields: []field[Limits]{
			is("memory", func(l *Limits) *int64 { return &l.Memory }, size(32<<20, 1<<50),
				"Memory for all bodies that tools go into, while they are worked on: each takes up to 4 times its size. What is more waits a moment, then gets 503.").
				otherwise("half of GOMEMLIMIT, or of the container's memory"),
		},
		example: "{memory: 512MiB}",
	}
}

func poolFields() object[Pool] {
	return object[Pool]{
		fields: []field[Pool]{
			is("name", func(p *Pool) *string { return &p.Name }, identifier(false), "Name of the pool in paths, logs and metrics.").otherwise("the provider"),
			is("provider", func(p *Pool) *string { return &p.Provider }, choice(provider.Names(nil)...),
				"What the presets for the upstream and the credential come from.").otherwise("the name, when that is a provider"),
			is("upstream", func(p *Pool) **url.URL { return &p.Upstream }, baseURL{},
				"Base URL of the provider. Required for "+listed(provider.Names(needsUpstream))+".").otherwise("by provider"),
			is("upstream_proxy", func(p *Pool) **url.URL { return &p.UpstreamProxy }, baseURL{},
				"HTTP proxy that the provider is reached through, by CONNECT, such as `http://proxy.internal:3128`. HTTPS_PROXY is not read.").otherwise("none"),
			is("upstream_ca", func(p *Pool) *string { return &p.UpstreamCA }, somewhere("the path of a file of certificates"),
				"File of certificates (PEM) that the provider's is verified against, in place of the system's. Envoy reads it when it starts.").otherwise("the system's"),
			is("clusters", func(p *Pool) *[]string { return &p.Clusters }, list[string]{cluster(), "[openai]", 1},
				"Envoy's cluster of the provider, which attempts go to; with Istio for example `outbound|80||api.openai.com`. Of several the first.").otherwise("[NAME]"),
			is("credential", func(p *Pool) *Credential { return &p.Credential }, credentialFields(), "The header that carries a key.").otherwise("by provider"),
			is("keys", func(p *Pool) *[]Key { return &p.Keys }, list[Key]{item: aKey(), example: "- {env: OPENAI_KEY}"},
				"The keys, by reference only; the order is the priority. Required unless keys_file is given, or the provider needs none: "+listed(provider.Names(keyless))+".").otherwise("none"),
			is("keys_file", func(p *Pool) *string { return &p.KeysFile }, secretFile(),
				"File of further keys, one a line, appended to keys; `#` begins a comment line. Read again when it changes.").otherwise("none"),
			is("paths", func(p *Pool) *[]string { return &p.Paths }, list[string]{pattern("path", "the beginning of a path such as /v1/responses, in which * is a whole segment", extproc.PathPattern, false), "[/v1/responses]", 1},
				"The endpoints that the pool serves, by the beginnings of their paths at the provider; `*` stands for one segment. What mints credentials or manages an organisation only where an entry names it.").
				otherwise("all but those"),
			is("byok", func(p *Pool) *BYOK { return &p.BYOK }, byokShape{}, "Whether clients may bring their own keys: `deny` replaces what they send."),
			is("policy", func(p *Pool) *keypool.Policy { return &p.Policy }, policyFields(), "What an answer means for its key."),
			is("choose", func(p *Pool) *Choose { return &p.Choose }, chooseFields(), "Which of the usable keys a request gets."),
			is("fallback", func(p *Pool) *extproc.Fallback { return &p.Fallback }, fallbackFields(),
				"Where requests of a dialect go on that the pool cannot serve, before the client has seen a byte."),
			is("headroom", func(p *Pool) *keypool.Headroom { return &p.Headroom }, headroomFields(),
				"What keys are to have left of their allowances, as the provider's answers count them. One with less is passed by until its reset, as long as another can serve."),
			is("cooldown", func(p *Pool) *keypool.Cooldown { return &p.Cooldown }, cooldownFields(), "How long keys rest."),
			is("revive_after", func(p *Pool) *time.Duration { return &p.ReviveAfter }, rest(true),
				"When a key that was given up is tried again, by one request; doubles up to 24h. 0: never."),
			is("deadline", func(p *Pool) *time.Duration { return &p.Deadline }, duration(extproc.MinDeadline, extproc.MaxDeadline),
				"Time for choosing a key and failing over, before the first byte."),
			is("max_body", func(p *Pool) *int64 { return &p.MaxBody }, size(extproc.MinBody, extproc.MaxBody), "Largest body that is read whole; a larger one passes unread."),
			is("keep_alive", func(p *Pool) *time.Duration { return &p.KeepAlive }, duration(envoy.MinKeepAlive, envoy.MaxKeepAlive),
				"How long Envoy keeps an unused connection to the provider: less than the provider keeps it. uvicorn, and so vllm, closes after 5s."),
			is("keep_ratelimit_headers", func(p *Pool) *bool { return &p.KeepRateLimitHeaders }, boolean(),
				"Hand the provider's rate-limit headers to the client, though they tell of one key only."),
			is("content", func(p *Pool) *bool { return &p.Content }, boolean(),
				"Keep what is said in the pool's requests, as far as `record.content` says."),
			is("websocket", func(p *Pool) *bool { return &p.WebSocket }, boolean(),
				"Let clients speak Responses over a WebSocket, on which a limited key is not turned and no tools are offered; else 426, at which Codex speaks HTTP."),
			is("tools", func(p *Pool) **extproc.Tools { return &p.Tools }, optional[extproc.Tools]{poolToolsFields()},
				"Tools that models get with the client's own, and that Keyturn runs.").otherwise("none"),
		},
		refused: map[string]string{
			"key": byReference, "api_key": byReference, "secret": byReference,
			"env": "unknown field; write keys: [{env: NAME}]", "file": "unknown field; write keys: [{file: PATH}], or keys_file: PATH for several",
		},
		start:   func(text func(string) string) Pool { return startPool(text("name"), text("provider")) },
		after:   (*reader).wholePool,
		example: "{provider: openai, keys: [{env: OPENAI_KEY}]}",
		extra:   map[string]any{"anyOf": []any{map[string]any{"required": []string{"keys"}}, map[string]any{"required": []string{"keys_file"}}, without("provider"), without("name")}},
	}
}

// without is the schema of a pool that a field makes one of a provider that needs no key.
func without(field string) map[string]any {
	names := map[string]any{field: map[string]any{"enum": provider.Names(keyless)}}
	return map[string]any{"required": []string{field}, "properties": names}
}

// rest is a time for which keys rest, in the bounds of keypool; where it may be none, a negative one stands for that, as keypool has it.
func rest(orNone bool) scalar[time.Duration] {
	if orNone {
		return orNever(duration(0, keypool.LongestTime))
	}
	return duration(keypool.ShortestTime, keypool.LongestTime)
}

func cluster() scalar[string] {
	return pattern("text", "the name of an Envoy cluster, without spaces", `^[!-~]+$`, false)
}

func credentialFields() object[Credential] {
	return object[Credential]{
		fields: []field[Credential]{
			is("header", func(c *Credential) *string { return &c.Header }, headerName(), "Header that carries the key.").otherwise("by provider"),
			is("scheme", func(c *Credential) *string { return &c.Scheme },
				pattern("text", `a word such as Bearer, or "" for the key alone`, `^[A-Za-z0-9-]*$`, true),
				"Word before the key; `\"\"` for the key alone.").otherwise("by provider"),
		},
		refused: inline,
		private: true,
		example: "{header: authorization, scheme: Bearer}",
	}
}

func policyFields() object[keypool.Policy] {
	return object[keypool.Policy]{
		fields: []field[keypool.Policy]{
			is("preset", func(p *keypool.Policy) *keypool.Preset { return &p.Preset }, named(keypool.Strict, keypool.Lenient),
				"`strict` gives a key up on 401, and on what says that the key is wrong or disabled; `lenient` lets it rest then, and hands 403 on."),
			is("rules", func(p *keypool.Policy) *[]keypool.Rule { return &p.Rules }, list[keypool.Rule]{item: ruleFields(), example: "[{status: 403, action: surface}]"},
				"Exceptions; the first that matches decides.").otherwise("none"),
		},
		example: "{preset: lenient}",
	}
}

func ruleFields() object[keypool.Rule] {
	return object[keypool.Rule]{
		fields: []field[keypool.Rule]{
			is("status", func(p *keypool.Rule) *int { return &p.Status }, number(400, 599), "HTTP status.").otherwise("any"),
			is("code", func(p *keypool.Rule) *string { return &p.Code },
				pattern("text", "an error code such as insufficient_quota, in which * stands for any text", `^[A-Za-z0-9_.:/*-]{1,64}$`, false),
				"Error code or type in the answer's body; `*` stands for any text.").otherwise("any"),
			is("message", func(p *keypool.Rule) *string { return &p.Message }, expression(),
				"Regular expression (RE2) for a part of the error's message, or of a body that is text; `(?i)` at its beginning ignores case.").otherwise("any"),
			is("content_type", func(p *keypool.Rule) *string { return &p.ContentType },
				pattern("text", "a content type such as text/html, in which * stands for any text", `^[a-z0-9.+/*-]{1,100}$`, false),
				"Content type of the answer, without parameters; `*` stands for any text.").otherwise("any"),
			is("provider", func(p *keypool.Rule) *string { return &p.Provider },
				pattern("text", "a provider's name such as openrouter, in which * stands for any text", `^[A-Za-z0-9_. */-]{1,100}$`, false),
				"The pool's provider, or the one behind it that OpenRouter names; `*` stands for any text.").otherwise("any"),
			is("path", func(p *keypool.Rule) *string { return &p.Path },
				pattern("text", "a path such as /v1/files/*, in which * stands for any text", `^[/*][!->@-~]{0,255}$`, false),
				"Path of the request at the provider, without its query; `*` stands for any text.").otherwise("any"),
			is("action", func(p *keypool.Rule) *keypool.Action { return &p.Action }, named(keypool.Surface, keypool.NextKey, keypool.CoolDown, keypool.Retire),
				"`surface` hands the answer to the client, `next_key` tries another key and blames none, `cooldown` lets the key rest, `permanent` gives it up.").must("surface, next_key, cooldown or permanent"),
			is("for", func(p *keypool.Rule) *time.Duration { return &p.For }, rest(false),
				"How long the key rests, with `cooldown`: just so long, whatever cooldown.max says. With `next_key`, the key for a model that it cannot use.").otherwise("what the answer says"),
		},
		example: "{status: 403, action: surface}",
		extra:   map[string]any{"anyOf": oneOfConditions()},
	}
}

// oneOfConditions is the schema's word that a rule has a condition.
func oneOfConditions() []any {
	var all []any
	for _, name := range []string{"status", "code", "message", "content_type", "provider", "path"} {
		all = append(all, map[string]any{"required": []string{name}})
	}
	return all
}

func chooseFields() object[Choose] {
	return object[Choose]{
		fields: []field[Choose]{
			is("by", func(c *Choose) *keypool.By { return &c.By }, named(keypool.Order, keypool.Spread),
				"`order`: the first one. `spread`: conversations are spread over the keys by their weights, and each has one key as long as that is usable."),
			is("stay", func(c *Choose) *extproc.Stay { return &c.Stay }, stay(),
				"With `spread`, what a conversation is known by: the agent's `session` header (else, in Responses, `prompt_cache_key` where Keyturn reads the body), the `client`, a header of yours (`header:NAME`), or `none`: each request is its own."),
			is("stay_for", func(c *Choose) *time.Duration { return &c.StayFor }, rest(true),
				"How long a conversation that had to leave its key stays with the one that served it, after each answer: the provider's cache of its prompt is warm there. 0: it goes back at once."),
		},
		example: "{by: spread}",
	}
}

// stay is what extproc.ParseStay reads.
func stay() scalar[extproc.Stay] {
	const form = "session, client, none or header:NAME, of a header that holds no credential"
	return scalar[extproc.Stay]{
		word: "text", want: form, tags: asText, schema: map[string]any{"type": "string", "pattern": "^(session|client|none|header:[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100})$"},
		parse: func(s string) (extproc.Stay, wrong) {
			v, ok := extproc.ParseStay(s)
			if !ok {
				return v, wrong("found " + shown(s) + "; write " + form)
			}
			return v, ""
		},
		render: extproc.Stay.String,
	}
}

func cooldownFields() object[keypool.Cooldown] {
	return object[keypool.Cooldown]{
		fields: []field[keypool.Cooldown]{
			is("default", func(c *keypool.Cooldown) *time.Duration { return &c.Default }, rest(false), "Rest after an answer that names no time."),
			is("min", func(c *keypool.Cooldown) *time.Duration { return &c.Min }, rest(true), "Shortest rest, whatever the answer names. 0: as short as it names."),
			is("max", func(c *keypool.Cooldown) *time.Duration { return &c.Max }, rest(false), "Longest rest, whatever the answer names."),
			is("billing", func(c *keypool.Cooldown) *time.Duration { return &c.Billing }, rest(false),
				"First rest of a key whose credit is used up; doubles each time."),
			is("billing_max", func(c *keypool.Cooldown) *time.Duration { return &c.BillingMax }, rest(false), "Longest rest of such a key."),
		},
		example: "{default: 60s}",
	}
}

func envoyFields() object[Envoy] {
	return object[Envoy]{
		fields: []field[Envoy]{
			is("listen", func(e *Envoy) *string { return &e.Listen }, address{numeric: true}.of(), "Where clients connect. Beyond loopback, clients is required."),
			is("clients", func(e *Envoy) *Clients { return &e.Clients }, clientFields(), "Who may use the pools: one of the following.").otherwise("everybody, on loopback"),
			is("admin", func(e *Envoy) *string { return &e.Admin }, address{numeric: true}.of(), "Envoy's own admin endpoint: a socket (mode 0600), or an address on loopback, where it only shows and changes nothing."),
			is("cors", func(e *Envoy) *CORS { return &e.CORS }, corsFields(), "Which web pages may use the pools, and read the answers.").otherwise("none"),
			is("loopback", func(e *Envoy) *string { return &e.Loopback }, address{sockets: true}.of(), "Socket by which Keyturn sends requests of its own through Envoy."),
			is("inner", func(e *Envoy) *string { return &e.Inner }, innerAddress(),
				"The listener that every attempt goes through: `internal` to Envoy, or a socket."),
			is("attach", func(e *Envoy) *string { return &e.Attach }, attach(),
				"What Keyturn needs of the clients' listener stands in the listener, or in each route, so that it can stand among others."),
			is("max_request_bytes", func(e *Envoy) *int64 { return &e.MaxRequestBytes }, size(envoy.MinBodyBytes, envoy.MaxBodyBytes), "Largest request that can be sent again with the next key; larger ones pass with one key."),
			is("memory", func(e *Envoy) *int64 { return &e.Memory }, size(envoy.MinMemory, envoy.MaxMemory),
				"Memory that Envoy may have: near it the requests that hold most are cut, and new ones get 503.").otherwise("half of what there is, under `run`"),
			is("concurrency", func(e *Envoy) *int { return &e.Concurrency }, number(0, 1024), "Envoy's worker threads. 0: one for each core."),
			is("idle_timeout", func(e *Envoy) *time.Duration { return &e.IdleTimeout }, duration(envoy.MinIdleTimeout, envoy.MaxIdleTimeout), "Ends a stream on which nothing moved for so long."),
			is("access_log", func(e *Envoy) *string { return &e.AccessLog }, somewhere("stdout, off or the path of a file"), "`stdout`, `off` or a path."),
			is("version", func(e *Envoy) *string { return &e.Version }, pattern("text", "a version of Envoy such as 1.40", `^1\.[0-9]{2,3}(\.[0-9]{1,3})?$`, false),
				"The Envoy that configuration is rendered for. It reads the usage of answers from 1.40 on.").otherwise("the one that is run; for meshes 1.37"),
			is("binary", func(e *Envoy) *string { return &e.BinaryPath }, somewhere("the path of an Envoy"),
				"The Envoy to run.").otherwise("`ENVOY_BIN`, then `PATH`"),
		},
		example: "{listen: 127.0.0.1:10000}",
		after:   (*reader).wholeEnvoy,
	}
}

func corsFields() object[CORS] {
	return object[CORS]{
		fields: []field[CORS]{
			is("origins", func(c *CORS) *[]string { return &c.Origins },
				list[string]{pattern("text", "the origin of a web page, without a slash at the end, such as https://app.example.com", envoy.OriginPattern, false), "[https://app.example.com]", 1},
				"Their origins, as browsers send them; `*` stands for letters, digits, dots and dashes, and alone for any page of the world. Without `clients`, requests of other pages are refused.").
				otherwise("none"),
		},
		example: "{origins: [https://app.example.com]}",
	}
}

func clientFields() object[Clients] {
	return object[Clients]{
		fields: []field[Clients]{
			is("api_keys_file", func(c *Clients) *[]ClientKey { return &c.APIKeys }, clientKeys{secretFile()},
				"File of the clients' keys, one a line, as `name:key` or `key`; `#` begins a comment line.").otherwise("none"),
			is("checked_by", func(c *Clients) *string { return &c.CheckedBy }, choice("keyturn", "envoy"),
				"Who checks these keys: Keyturn, whom Envoy asks for each request, or Envoy, which then has them in its configuration."),
			is("jwt", func(c *Clients) **JWT { return &c.JWT }, optional[JWT]{jwtFields()}, "Accept the tokens of an issuer.").otherwise("none"),
			is("open", func(c *Clients) *bool { return &c.Open }, boolean(), "Let in everybody who reaches the listener."),
		},
		refused: map[string]string{"api_keys": "keys by reference only; write them into a file, one a line, and name that with api_keys_file:"},
		private: true,
		example: "{api_keys_file: clients.keys}",
		after: func(r *reader, path string, c *Clients) {
			ways := 0
			for _, way := range []bool{r.given(within(path, "api_keys_file")), r.given(within(path, "jwt")), c.Open} {
				if way {
					ways++
				}
			}
			if ways > 1 {
				r.refuse(path, "gives %d ways to let clients in; keep one", ways)
			}
		},
	}
}

func jwtFields() object[JWT] {
	return object[JWT]{
		fields: []field[JWT]{
			is("issuer", func(j *JWT) *string { return &j.Issuer }, pattern("text", "the issuer as tokens name it, such as https://login.example.com/", `^[!-~]+$`, false),
				"What a token's `iss` must be.").must("https://ISSUER/"),
			is("audiences", func(j *JWT) *[]string { return &j.Audiences },
				list[string]{pattern("text", "an audience as tokens name it", `^[!-~]+$`, false), "[keyturn]", 1}, "A token's `aud` must be one of these.").otherwise("any"),
			is("jwks_file", func(j *JWT) *string { return &j.JWKSFile }, somewhere("the path of the issuer's key set"), "File of the issuer's public keys (JWKS).").otherwise("none"),
			is("jwks_url", func(j *JWT) *string { return &j.JWKSURL }, text("URL", "an https URL", jwksURL), "Where Envoy fetches the issuer's public keys.").otherwise("none"),
			is("require_exp", func(j *JWT) *bool { return &j.RequireExp }, boolean(), "Refuse tokens that never expire (without `exp`)."),
		},
		start:   func(func(string) string) JWT { return JWT{RequireExp: true} },
		example: "{issuer: ISSUER, jwks_url: URL}",
		extra:   oneOf("jwks_file", "jwks_url"),
		after:   (*reader).wholeJWT,
	}
}
