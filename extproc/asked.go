package extproc

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/wire"
)

// This file decides which requests the tools of a pool go into, and what the models are told of them.

// The values of Tools.When.
const (
	ToolsAlways        = "always"
	ToolsBesideClients = "client_has_tools"
	ToolsByHeader      = "header"
)

// The values of Tools.Usage.
const (
	UsageSum  = "sum"
	UsageLast = "last"
)

var countings = map[string]dialect.Counting{"": dialect.UsualCounting, UsageSum: dialect.SumOfTurns, UsageLast: dialect.LastTurn}

// put puts the tools that the pool has at this moment into an attempt's request.
func (s *Server) put(ctx context.Context, a *attempt) {
	if a.translates {
		a.translate(a.message)
		a.share.end()
		return
	}
	var tools []dialect.Tool
	if a.home.tools != nil {
		tools = s.offer(ctx, a.home.tools, takes(a.pool.schemas, a.dialect))
		a.tools.instructions = s.instruct(a.home)
	}
	a.putTools(a.message, tools, s.without(a))
	if a.prompt != "" && s.said != nil {
		s.said(string(a.id), a.prompt, a.promptCut)
		a.prompt = ""
	}
	s.tellLeft(a)
	a.left = s.clock.Now()
	if a.tools != nil {
		a.share.keep(a.tools.size)
	} else {
		a.share.end()
	}
}

// offers reports whether the pool's tools go into a request that names a model and has so many tools of the client's. Where they do not,
// what the client was shown before is understood all the same.
func (x *exchange) offers(model string, tools int) bool {
	t, asked := x.home.tools, x.tools.asked
	if t == nil {
		return false
	}
	off := slices.Contains([]string{"off", "false", "no", "0"}, asked)
	switch model = cmp.Or(x.model, model); { // a path that names the model decides
	case off,
		t.When == ToolsByHeader && asked == "",
		t.When == ToolsBesideClients && tools == 0 && asked == "",
		len(t.Models) > 0 && !matchesAny(t.Models, model),
		matchesAny(t.ExceptModels, model):
		return false
	}
	return true
}

// matchesAny reports whether a text is like one of some patterns, in which * stands for any text.
func matchesAny(patterns []string, text string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		first, rest, wild := strings.Cut(pattern, "*")
		left, ok := strings.CutPrefix(text, first)
		if !wild {
			return ok && left == ""
		}
		words := strings.Split(rest, "*")
		last := words[len(words)-1]
		for _, w := range words[:len(words)-1] {
			_, after, found := strings.Cut(left, w)
			left, ok = after, ok && found
		}
		return ok && strings.HasSuffix(left, last)
	})
}

// maxInstructions bounds what the instructions of all servers may add to a request, in bytes.
const maxInstructions = 32 << 10

// instruct is what the pool's servers that offer tools say of their use, each under its name. What has no room is left out.
func (s *Server) instruct(b *bound) string {
	if !b.tools.Instructions || s.advice == nil {
		return ""
	}
	var all strings.Builder
	for _, a := range s.advice(b.tools.Servers) {
		text := fmt.Sprintf("How to use the tools whose names begin with %s%s_, as their server says:\n%s", wire.ToolPrefix, a.Server, strings.TrimSpace(a.Text))
		if all.Len()+len(text) > maxInstructions {
			if s.offers.againOnce(a.Server, "\ninstructions") {
				s.log.Warn("instructions left out: those of all servers are larger than a request may have", slog.String("server", a.Server), slog.Int("most", maxInstructions))
			}
			continue
		}
		if all.Len() > 0 {
			all.WriteString("\n\n")
		}
		all.WriteString(text)
	}
	return all.String()
}

// continued is a path to a stored response that Keyturn has continued, with the id by which the provider knows its last turn: a
// client knows the first one's. It returns the path itself for any other.
func (x *exchange) continued(path string, own []byte) string {
	if !x.stored || x.laterTurn {
		return path
	}
	return dialect.UpstreamPath(path, x.memory(own))
}
