package wire

import (
	"bytes"
	"slices"
)

// Headers of an answer that change what a browser, or another client, does with its origin from then on. To the client the origin is the
// gateway, which all providers and all users share: no provider may open it to web pages, move it elsewhere, leave cookies in it or have it
// reported on. https://fetch.spec.whatwg.org/#http-responses, https://www.rfc-editor.org/rfc/rfc7838, https://www.rfc-editor.org/rfc/rfc6797,
// https://w3c.github.io/webappsec-clear-site-data/, https://w3c.github.io/reporting/, https://www.rfc-editor.org/rfc/rfc8942
var (
	originHeaders = []string{
		"set-cookie", "set-cookie2", "set-login", "alt-svc", "clear-site-data", "strict-transport-security",
		"public-key-pins", "public-key-pins-report-only", "expect-ct", "expect-staple",
		"nel", "report-to", "reporting-endpoints", "service-worker-allowed", "origin-agent-cluster", "timing-allow-origin",
		"accept-ch", "accept-ch-lifetime", "critical-ch", "origin-trial", "activate-storage-access", "observe-browsing-topics", "set-txn",
		"proxy-authenticate", "proxy-authentication-info", "refresh", "p3p", "cross-origin-resource-policy", "no-vary-search", "use-as-dictionary",
	}
	originPrefixes = []string{"access-control-", "attribution-reporting-", "sec-session-", "sec-shared-storage-"}
)

// IsOrigin reports whether a header of an answer, named in lower case, is about the origin that it comes from, and so is the gateway's
// alone to send.
func IsOrigin(name []byte) bool {
	for _, p := range originPrefixes {
		if len(name) > len(p) && name[0] == p[0] && bytes.HasPrefix(name, []byte(p)) {
			return true
		}
	}
	return slices.ContainsFunc(originHeaders, func(h string) bool { return len(h) == len(name) && string(name) == h })
}
