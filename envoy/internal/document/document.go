// Package document writes JSON as YAML for people, with comments where a reader would ask why.
package document

import (
	"bytes"
	"cmp"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Document is one of a YAML stream.
type Document struct {
	Comment string // what it is; stands above it
	JSON    []byte
}

// Marshal writes documents as YAML, with each comment once. The comments in more stand before those of all renderings.
func Marshal(docs []Document, more map[string]string) ([]byte, error) {
	w := yamlWriter{more: more, commented: map[string]bool{}}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(indent)
	enc.CompactSeqIndent()
	for _, d := range docs {
		var doc yaml.Node
		if err := yaml.Unmarshal(d.JSON, &doc); err != nil { // JSON is YAML, and this keeps the order of the fields
			return nil, err
		}
		w.tidy(&doc, nil, 0, 0)
		doc.HeadComment = d.Comment
		if err := enc.Encode(&doc); err != nil {
			return nil, err
		}
	}
	if err := enc.Close(); err != nil {
		return nil, err
	}
	return fold(out.Bytes()), nil
}

// Of a list that is folded: how many short values it has at least, and how long they are at most, in bytes.
const (
	longList   = 8
	shortValue = 64
)

// listed is a value of a list, entered a short field of a mapping.
var (
	listed  = regexp.MustCompile(`^( *)- ([^ #{}\[\]]+|"[^"\\]+"|\{[^#]+\})$`)
	entered = regexp.MustCompile(`^( *)([a-z_]+: (?:[^ #{}\[\]"]+|"[^"\\]+"))$`)
)

// fold puts several values of a long list of short ones on each line, and several fields of a long mapping: the encoder knows only all of them, or
// one.
func fold(doc []byte) []byte {
	lines := strings.Split(string(doc), "\n")
	lines = foldRuns(lines, listed, "[", "]")
	lines = foldRuns(lines, entered, "{", "}")
	return []byte(strings.Join(lines, "\n"))
}

// foldRuns folds what consists of values of one form alone.
func foldRuns(lines []string, form *regexp.Regexp, open, end string) []string {
	out := make([]string, 0, len(lines))
	for i := 0; i < len(lines); {
		values, column := runOf(lines[i:], form)
		if len(values) < longList || len(out) == 0 || !strings.HasSuffix(out[len(out)-1], ":") || open == "{" && continues(lines[i+len(values):], column) {
			out = append(out, lines[i:i+max(len(values), 1)]...)
			i += max(len(values), 1)
			continue
		}
		i += len(values)
		out[len(out)-1] += " " + open
		line := column + strings.Repeat(" ", indent) + values[0]
		for _, v := range values[1:] {
			if len(line)+len(", ")+len(v) > maxColumns {
				out = append(out, line+",")
				line = column + strings.Repeat(" ", indent) + v
				continue
			}
			line += ", " + v
		}
		out = append(out, line+end)
	}
	return out
}

// runOf are the short values of one form, in one column, with which lines begin.
func runOf(lines []string, form *regexp.Regexp) (values []string, column string) {
	for _, l := range lines {
		m := form.FindStringSubmatch(l)
		if m == nil || len(m[2]) > shortValue || len(values) > 0 && m[1] != column {
			break
		}
		values, column = append(values, m[2]), m[1]
	}
	return values, column
}

// continues reports whether what stands in a column goes on with a line of another form.
func continues(lines []string, column string) bool {
	return len(lines) > 0 && strings.HasPrefix(lines[0], column) && !strings.HasPrefix(lines[0], column+"- ")
}

// comments say why, by the end of a field's path; a value's comment is written where it first appears.
var comments = map[string]string{
	"overload_manager":                            "A bound for clients' connections: without one, whoever reaches the listener can exhaust Envoy's memory.",
	"admin/allow_paths":                           "Other machines reach this address, and Envoy's admin interface has no authentication.",
	"address/pipe/mode":                           "0600 in decimal: only processes of Envoy's user may speak here.",
	"internal_listener":                           "Only Envoy itself reaches it.",
	"listeners/*/ignore_global_conn_limit":        "A full house of clients must not stop requests that already run.",
	"traffic_direction=INBOUND":                   "An orderly stop drains this listener only: open requests still go through the others.",
	"http_filters/*/typed_config/key_sources":     "The first that is there counts.",
	"envoy.filters.http.api_key_auth/key_sources": "Only the gateway's own header: the others may hold the client's own credential for the provider.",
	"hide_credentials":                            "The provider must not see the gateway's keys.",
	"requires_any":                                "One provider for each header: with one for all, Envoy would want every token it finds to be valid.",
	"http_filters/*/typed_config/response_rules":  "What the last attempt used: for the log, and not for clients.",
	"http_filters/*/disabled":                     "Off here and on for each route that needs it.",
	"allow_mode_override":                         "Keyturn asks for the bodies that it must read, such as an error's, and for no others.",
	"status_on_error":                             "Without Keyturn a request ends here: it must not reach the provider without a key, or with the client's.",
	"route_cache_action":                          "The route is looked for again when Keyturn has named the cluster.",
	"response_attributes":                         "They tell Envoy's own 502, 503 and 504 from a provider's.",
	"mutation_rules":                              "Otherwise Envoy drops changes of :path, :authority and x-envoy-* headers without a word.",
	"forward_rules/disallowed_headers":            "All others are sent: the later turns of a response repeat the client's headers, such as anthropic-beta.",
	"route/idle_timeout":                          "Ends a stream on which nothing moves: later where tools run, for an answer that is not a stream.",
	"max_request_headers_kb":                      "A client's headers, and some of the front's and of Keyturn's: more than a client may send.",
	"initial_stream_window_size":                  "This and per_connection_buffer_limit_bytes bound what is held for a client that does not read; Envoy's defaults are 16 MiB and 1 MiB.",
	"request_body_buffer_limit":                   "What can be sent again with the next key; larger requests pass. The inner listener's is never lower: a larger body that\nKeyturn reads whole would hang.",
	"request_headers_to_add":                      "Overwritten, so that no client can say them.",
	"request_headers_to_remove":                   "A client's credential for the gateway ends here, and what only Keyturn may say.",
	"response_headers_to_remove":                  "Keyturn's word to Envoy, not to clients.",
	"route/timeout":                               "No end to a stream but idleness: Envoy's default of 15 s cuts long answers.",
	"retry_policy":                                "Envoy retries when Keyturn asks, at once. Never rate_limited_retry_back_off: it would wait for the provider's Retry-After.",
	"num_retries":                                 "At least the pool's keys less one; some more, since a reload may add keys.",
	"typed_config/http_protocol_options":          "Proxies such as nginx speak HTTP/1.0 unless they are told otherwise.",
	"local_reply_config":                          "Envoy's own errors in a shape that SDKs read. What comes from the inner listener is not Envoy's own here, and stays.",
	"envoy.extensions.upstreams.http.v3.HttpProtocolOptions/common_http_protocol_options/max_headers_count": "Envoy's limits of 100 lines and 60 KiB are near what providers send.",
	"explicit_http_config/http_protocol_options":                                                            "HTTP/1.1: WebSocket upgrades pass, and a request that is cut off or sent again takes no other with it.",
	"match_typed_subject_alt_names":                                                                         "Without it any certificate of a trusted authority would get the keys.",
	"stream_idle_timeout=0s":                                                                                "The listener in front ends what is idle.",
	"common_http_protocol_options/idle_timeout=50s":                                                         "Before the provider's load balancer closes the connection: a request that crosses its closing fails.",
	"circuit_breakers":                                                                                      "Far above any load: Envoy's defaults are 3 retries and 1024 of the rest, and streams are long.",
	"dns_lookup_family":                                                                                     "IPv4 and IPv6 side by side, whichever connects first.",
	"access_log/*/typed_config/common_config":                                                               "Envoy tells Keyturn of each request when it is over; nothing waits for it.",
	"response_handling":                                                                                     "The tokens that the provider's answer names, read as it streams past. Nothing is held or changed.",
	"use_remote_address":                                                                                    "A client's own x-forwarded-for, x-request-id and x-envoy-* count for nothing.",
}

// yamlWriter turns a node tree read from JSON into one for people.
type yamlWriter struct {
	more      map[string]string // comments that stand before those of all renderings
	commented map[string]bool
}

// plain strings need no quotes in YAML 1.2 nor in 1.1, which is what Envoy reads: there off and no are booleans too.
var (
	plain    = regexp.MustCompile(`^[A-Za-z/_][A-Za-z0-9/_.+-]*$|^[0-9.]+s$`)
	notPlain = regexp.MustCompile(`(?i)^(y|n|yes|no|on|off|true|false|null)$`)
)

// numbers64 are the 64-bit fields that Render sets.
var numbers64 = []string{"request_body_buffer_limit", "max_active_downstream_connections"}

// indent is what a value stands further to the right than its field's name.
const indent = 2

// tidy sets how a value is written. column is where it begins when it has lines of its own, and used what stands before it
// when it has not.
func (w *yamlWriter) tidy(n *yaml.Node, path []string, column, used int) {
	n.Style = 0
	switch n.Kind {
	case yaml.DocumentNode:
		w.tidy(n.Content[0], path, 0, 0)
	case yaml.SequenceNode:
		column -= indent // a dash stands below its field's name
		for _, c := range n.Content {
			w.tidy(c, append(path, "*"), column+indent, column+indent)
		}
		w.inline(n, used)
	case yaml.MappingNode:
		for i := 0; i < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			w.tidy(key, nil, 0, 0)
			below := append(path, key.Value)
			w.comment(key, value, below)
			w.tidy(value, below, column+indent, column+len(key.Value)+len(": "))
		}
		w.inline(n, used)
	default:
		// 64-bit numbers are strings in protobuf's JSON, and Envoy takes them as numbers too.
		if len(path) > 0 && slices.Contains(numbers64, path[len(path)-1]) {
			n.Tag = "!!int"
		}
		if n.Tag == "!!str" && (!plain.MatchString(n.Value) || notPlain.MatchString(n.Value)) {
			n.Style = yaml.DoubleQuotedStyle
		}
	}
}

const (
	// maxColumns is how long a line may become by what is put on it.
	maxColumns = 190

	// The names of Envoy's extensions and types have up to a hundred bytes and tell little: a line may be longer for them.
	nameColumns = 16
)

// inline puts a value without comments on one line, if it fits.
func (w *yamlWriter) inline(n *yaml.Node, used int) {
	if b := inlineBytes(n); b >= 0 && used+b <= maxColumns {
		n.Style = yaml.FlowStyle
	}
}

// inlineBytes is how long a value is on one line, -1 when it holds a comment or a value that is too long itself.
func inlineBytes(n *yaml.Node) int {
	if len(n.Content) == 0 {
		quotes := 0
		if n.Kind != yaml.ScalarNode || n.Style == yaml.DoubleQuotedStyle {
			quotes = len(`""`) // or {} or []
		}
		if strings.HasPrefix(n.Value, "type.googleapis.com/") || strings.HasPrefix(n.Value, "envoy.") {
			return nameColumns
		}
		return quotes + len(n.Value)
	}
	sum := 0
	for _, c := range n.Content {
		b := inlineBytes(c)
		if b < 0 || c.HeadComment != "" || len(c.Content) > 0 && c.Style != yaml.FlowStyle {
			return -1
		}
		sum += b + len(", ") // or ": "; after the last it stands for the brackets
	}
	return sum
}

// comment puts the field's comment above it, once in a document.
func (w *yamlWriter) comment(key, value *yaml.Node, path []string) {
	for i := range path {
		end := strings.Join(path[i:], "/")
		for _, c := range []string{end + "=" + value.Value, end} {
			if text := cmp.Or(w.more[c], comments[c]); text != "" && !w.commented[c] {
				w.commented[c] = true
				key.HeadComment = text
				return
			}
		}
	}
}
