package turn

import (
	"strings"

	"github.com/keyturn/keyturn/internal/wire"
)

// OwnPrefix begins the names of all of Keyturn's tools: a model that calls one which is not offered means one of them.
const OwnPrefix = wire.ToolPrefix

// MaxTools is how many tools a request may have, the client's included, where nothing else is known: OpenAI and what speaks like it refuse more.
const MaxTools = 128

// AnyTools is Options.MaxTools of a provider that sets no limit.
const AnyTools = -1

// Names tells by its name whose a tool is. The zero value knows none.
type Names struct {
	own     map[string]Tool
	clients map[string]struct{}
	most    int // tools of a request; 0: MaxTools
	left    int // tools of Keyturn's for which there was no room
	none    bool
}

// Limit sets how many tools the request may have: see Options.MaxTools.
func (n *Names) Limit(most int) { n.most = most }

// Full reports whether no tool more goes in beside so many.
func (n *Names) Full(tools int) bool {
	switch n.most {
	case AnyTools:
		return false
	case 0:
		return tools >= MaxTools
	}
	return tools >= n.most
}

// Left is how many of the tools that were offered had no room.
func (n *Names) Left() int { return n.left }

// Declare notes the name of a tool of the client's.
func (n *Names) Declare(name string) {
	if n.clients == nil {
		n.clients = map[string]struct{}{}
	}
	n.clients[name] = struct{}{}
}

// Declared is how many names of the client's tools are known.
func (n *Names) Declared() int { return len(n.clients) }

// Choose tells how a turn after the first may call tools, where the client's choice is that the model must: it need not once it has called one of
// Keyturn's, or it would never answer, unless it has tools of the client's to call.
func (n *Names) Choose(c Choice, clients int, last bool) Next {
	must := c == ChoiceRequired && clients > 0
	switch {
	case last && must:
		return OnlyClients
	case last:
		return None
	case must, c != ChoiceRequired && c != ChoiceNamed && c != ChoiceAllowed:
		return AsBefore
	}
	return Freely
}

// Offer takes a tool of Keyturn's into the request, which has that many tools of the client's; t is zero if the tool is there no more
// and only its name is put in. It returns false where the client gave the name to a tool of its own, or no more tools fit.
func (n *Names) Offer(name string, t Tool, clients int) bool {
	if _, taken := n.clients[name]; taken {
		return false
	}
	if n.Full(clients + len(n.own)) {
		n.left++
		return false
	}
	if n.own == nil {
		n.own = map[string]Tool{}
	}
	n.own[name] = t
	return true
}

// Withdraw takes all tools of Keyturn's out again.
func (n *Names) Withdraw() { clear(n.own) }

// Disown says that no call is Keyturn's, whatever its name.
func (n *Names) Disown() { n.none = true }

// Offered reports whether any tool of Keyturn's is in the request.
func (n *Names) Offered() bool { return len(n.own) > 0 }

// Own is the tool of Keyturn's that was put in with that name.
func (n *Names) Own(name string) (Tool, bool) {
	t, ok := n.own[name]
	return t, ok
}

// Next is how a turn after the first may call tools.
type Next uint8

// The ways.
const (
	AsBefore    Next = iota
	Freely           // it need not call any
	None             // it must not: the tools stay in the request, and with them the provider's cache
	OnlyClients      // as before, but Keyturn's tools are not there any more
)

// Owner tells whose a tool is.
type Owner uint8

// The owners.
const (
	Undecided Owner = iota // the name may grow to one of Keyturn's
	Keyturn                // also of a tool that is not offered, but has OwnPrefix: its call is settled with an error
	Client
)

// Owner tells whose a call of that name is.
func (n *Names) Owner(name string) Owner {
	if n.none {
		return Client
	}
	_, clients := n.clients[name]
	_, own := n.own[name]
	if !clients && (own || len(name) > len(OwnPrefix) && strings.HasPrefix(name, OwnPrefix)) {
		return Keyturn
	}
	return Client
}

// OwnerSoFar tells whose a call is of whose name more may come.
func (n *Names) OwnerSoFar(name string) Owner {
	if _, clients := n.clients[name]; clients || n.none || n.Owner(name) == Keyturn {
		return n.Owner(name)
	}
	if strings.HasPrefix(OwnPrefix, name) {
		return Undecided
	}
	for own := range n.own {
		if strings.HasPrefix(own, name) {
			return Undecided
		}
	}
	return Client
}
