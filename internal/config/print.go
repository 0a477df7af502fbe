package config

import "fmt"

// The types that hold a secret format themselves, for every verb: what is printed by mistake shows where a key came from, not the key.

// Format writes the path and the number of pools.
func (c Config) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "config %s (pools: %d)", c.Path, len(c.Pools))
}

// Format writes where the endpoint listens.
func (a Admin) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "admin %s (token: %t)", a.Listen, a.Token != "")
}

// Format writes the key's name and origin.
func (k Key) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "key %s (%s)", k.Name, k.From) }

// Format writes the client's name.
func (k ClientKey) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "client %s", k.Name) }

// Format writes the server's name, and whether it is a command: a URL, an argument or a header may tell more than it should.
func (s ToolServer) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "tool server %s (command: %t)", s.Name, len(s.Command) > 0)
}
