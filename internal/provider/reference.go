package provider

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Reference returns a markdown table of the providers.
func Reference() []byte {
	var b bytes.Buffer
	b.WriteString("| provider | upstream | a client's base URL after the pool's name | a key | dialects |\n|---|---|---|---|---|\n")
	for _, p := range All {
		upstream := "`" + p.Upstream + "`"
		if p.Upstream == "" {
			upstream = "required, such as `" + p.Example + "`"
		}
		key := "`" + strings.TrimSpace(p.Header+": "+p.Scheme) + " KEY`"
		if p.Keyless {
			key += ", or none"
		}
		dialects := "none: requests pass unread"
		if len(p.Dialects) > 0 {
			names := make([]string, 0, len(p.Dialects))
			for _, d := range p.Dialects {
				names = append(names, string(d))
			}
			dialects = strings.Join(names, ", ")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", p.Name, upstream, p.bases(), key, dialects)
	}
	return b.Bytes()
}

// bases are what base URLs have after the pool's name, of clients of each dialect.
func (p Provider) bases() string {
	base := "nothing"
	if after := p.After(strings.TrimPrefix(p.Example, "https://")); after != "" {
		base = "`" + after + "`"
	}
	if p.Base != "" && slices.Contains(p.Dialects, Messages) {
		base += "; Messages: nothing"
	}
	return base
}
