package extproc

import (
	"bytes"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/internal/wire"
)

// credentials are all that a client presents to the provider, in its headers, then those in the path's query, then
// those of a WebSocket's protocols.
func (b *bound) credentials(m *message) (all []string) {
	for _, name := range b.ownHeaders() {
		all = append(all, m.credentials(name)...)
	}
	_, inQuery := splitQuery(string(m.header(":path")), func(string) bool { return false })
	_, inProtocols := m.protocols(func(string) bool { return false })
	return slices.Concat(all, inQuery, inProtocols)
}

// subscriptionHeader is where Azure API Management has its keys.
// https://learn.microsoft.com/azure/api-management/api-management-subscriptions
const subscriptionHeader = "ocp-apim-subscription-key"

// ownHeaders are those in which a client may bring a credential of its own for the provider.
func (b *bound) ownHeaders() []string {
	names := append(slices.Clip(wire.Credentials), subscriptionHeader)
	if !slices.Contains(names, b.header) {
		names = append(names, b.header)
	}
	return names
}

// ownCredential is the credential that a client brings for the provider and that the pool leaves alone; nil means that the
// pool's key is to be used.
func (b *bound) ownCredential(m *message) []byte {
	if !b.byok {
		return nil
	}
	for _, c := range b.credentials(m) {
		if !b.placeholders[c] {
			return []byte(c)
		}
	}
	return nil
}

// credentials are those in all headers of a name, without the scheme Bearer: one in each of them, or several that commas divide.
func (m *message) credentials(name string) (all []string) {
	for i := range m.headers {
		if string(m.headers[i].name) != name {
			continue
		}
		for v := range bytes.SplitSeq(m.headers[i].value, []byte(",")) {
			if v = bytes.TrimSpace(v); name == wire.AuthorizationHeader {
				if token := bearer(v); token != nil {
					v = token
				} else if slices.ContainsFunc(schemes, func(s string) bool { return strings.EqualFold(string(v), s) }) {
					continue // and nothing behind it
				}
			}
			if len(v) > 0 {
				all = append(all, string(v))
			}
		}
	}
	return all
}

// schemes are those of Authorization that an empty credential may stand behind: SDKs send one where they were given an empty key.
var schemes = []string{"bearer", "basic", "token", "key", "apikey", "api-key"}

// bearer is the token of an Authorization value, RFC 6750 section 2.1: exactly two fields, the scheme in any case.
func bearer(v []byte) []byte {
	f := bytes.Fields(v)
	if len(f) != 2 || !strings.EqualFold(string(f[0]), "bearer") {
		return nil
	}
	return f[1]
}

// splitQuery takes the parameters that are credentials out of a path, but for those that keep wants. It returns the path, the same one
// where nothing was taken, and all credentials that it found.
func splitQuery(path string, keep func(credential string) bool) (clean string, found []string) {
	before, query, has := strings.Cut(path, "?")
	if !has || query == "" {
		return path, nil
	}
	kept := make([]byte, 0, len(query))
	for rest := query; rest != ""; {
		end := strings.IndexAny(rest, "&;") // some servers take ; for &
		piece, next := rest, ""
		if end >= 0 {
			piece, next = rest[:end+1], rest[end+1:]
		}
		rest = next
		name, value, _ := strings.Cut(strings.TrimRight(piece, "&;"), "=")
		if plain, ok := decodedText(name); ok && !wire.IsCredentialParam(plain) {
			kept = append(kept, piece...)
			continue
		}
		secret, _ := decodedText(value)
		secret = strings.TrimSpace(secret)
		if secret != "" {
			found = append(found, secret)
		}
		if keep(secret) {
			kept = append(kept, piece...)
		}
	}
	switch {
	case len(kept) == len(query):
		return path, found
	case len(bytes.Trim(kept, "&;")) == 0:
		return before, found
	}
	return before + "?" + string(bytes.TrimRight(kept, "&;")), found
}

// decodedText is a part of a query without its escapes. ok is false where nobody can tell what it means: it was escaped too often.
func decodedText(s string) (plain string, ok bool) {
	return decoded(s, func(s string) string { return unescaped(strings.ReplaceAll(s, "+", " ")) })
}

// Items of a WebSocket's protocols that are no protocols. Browsers can set no other header, so providers and gateways look here.
// https://github.com/openai/openai-node (openai-insecure-api-key.KEY, openai-organization.ID, openai-project.ID),
// https://docs.x.ai/docs/guides/voice (xai-client-secret.KEY), https://developers.deepgram.com/docs/using-the-sec-websocket-protocol (token, KEY)
var (
	protocolWords = []string{ // before a credential
		"token", "bearer", "authorization", "auth", "basic", "jwt", "key", "api-key", "apikey", "api_key", "x-api-key", "access_token", "access-token", "secret", "password",
	}
	keyBeginnings = []string{"sk-", "ek_", "eyj", "gsk_", "aiza", "xai-", "bearer "} // of what is a key itself, in lower case
	accountItems  = []string{"openai-organization.", "openai-project."}
)

// protocols takes the items that are credentials, or name a client's account, out of the protocols of a WebSocket, but for the credentials
// that keep wants: then the account stays too. It returns those that stay, and all credentials that it found. The client's key for the
// gateway never stays.
func (m *message) protocols(keep func(credential string) bool) (stay, found []string) {
	value := m.joined(wire.ProtocolHeader)
	if value == "" {
		return nil, nil
	}
	var account []string
	kept, announced := false, ""
	for item := range strings.SplitSeq(value, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		lower := strings.ToLower(item)
		secret, is := protocolCredential(item, lower)
		if announced != "" {
			secret, is = item, true
		}
		switch {
		case strings.HasPrefix(lower, wire.ClientKeyHeader+"."):
		case slices.Contains(protocolWords, lower): // several may stand before one credential
			announced = strings.TrimPrefix(announced+", "+item, ", ")
			continue
		case is:
			found = append(found, secret)
			if keep(secret) {
				kept = true
				stay = append(stay, strings.TrimPrefix(announced+", "+item, ", "))
			}
		case slices.ContainsFunc(accountItems, func(p string) bool { return strings.HasPrefix(lower, p) }):
			account = append(account, item)
		default:
			stay = append(stay, item)
		}
		announced = ""
	}
	if kept {
		stay = append(stay, account...)
	}
	return stay, found
}

// protocolCredential is the credential in an item, if there is one.
func protocolCredential(item, lower string) (secret string, is bool) {
	for _, word := range []string{".bearer.", ".authorization."} {
		if _, _, in := strings.Cut("."+lower, word); in {
			return item[strings.LastIndex(item, ".")+1:], true
		}
	}
	if name, _, dotted := strings.Cut(lower, "."); dotted && wire.IsCredential([]byte(name)) {
		return item[len(name)+1:], true
	}
	return item, slices.ContainsFunc(keyBeginnings, func(p string) bool { return strings.HasPrefix(lower, p) })
}

// clean takes out of a request what no provider may see of a client, in every form that the client can have sent it: where own is false the
// key is the pool's, and it also takes out every credential, names of accounts, and what makes the gateway a web page. Else it takes out
// what stands for the pool's key beside the client's own.
func (x *exchange) clean(m *message, own bool) (path string) {
	keep := func(credential string) bool { return own && !x.pool.placeholders[credential] }
	for i := range m.headers {
		name := m.headers[i].name
		if wire.IsProxied(name) && string(name) != wire.ForwardedProtoHeader || !own && (wire.IsPage(name) || slices.Contains(wire.Accounts, string(name)) || x.foreignCredential(name)) {
			x.mut.removeBytes(name)
		}
	}
	if own {
		x.dropPlaceholders(m)
	}
	if protocols := m.joined(wire.ProtocolHeader); protocols != "" {
		switch stay, _ := m.protocols(keep); {
		case len(stay) == 0:
			x.mut.remove(wire.ProtocolHeader)
		case strings.Join(stay, ", ") != protocols:
			x.mut.set(wire.ProtocolHeader, "", strings.Join(stay, ", "))
		}
	}
	path, _ = splitQuery(string(m.header(":path")), keep)
	return path
}

// foreignCredential reports whether a header has a credential in it that is not the pool's key, nor in one of wire.Credentials: those are
// removed unseen.
func (x *exchange) foreignCredential(name []byte) bool {
	return string(name) != x.pool.header && wire.IsCredential(name) && !slices.Contains(wire.Credentials, string(name))
}

// dropPlaceholders takes placeholders out of the headers of credentials, where the client's own stands beside them.
func (x *exchange) dropPlaceholders(m *message) {
	for _, name := range x.pool.ownHeaders() {
		var stay []string
		dropped := false
		for i := range m.headers {
			if string(m.headers[i].name) != name {
				continue
			}
			for v := range strings.SplitSeq(string(m.headers[i].value), ",") {
				v = strings.TrimSpace(v)
				token := v
				if t := bearer([]byte(v)); t != nil && name == wire.AuthorizationHeader {
					token = string(t)
				}
				if x.pool.placeholders[token] {
					dropped = true
				} else if v != "" {
					stay = append(stay, v)
				}
			}
		}
		switch {
		case dropped && len(stay) == 0:
			x.mut.remove(name)
		case dropped:
			x.mut.set(name, "", strings.Join(stay, ", "))
		}
	}
}
