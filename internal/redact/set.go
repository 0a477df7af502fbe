// Package redact finds secrets by their value in what others write: as they are, escaped, within base64, in one case, or in hexadecimal. The work is linear
// in the bytes, whatever they are, and a stream is read in pieces of any size.
package redact

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// Shorter values are found in ordinary words, and are no secrets.
const (
	MinBytes  = 4 // of a secret that is looked for
	minBase64 = 6 // characters of base64 that a secret fills alone
	minFolded = 8 // of a secret that is looked for in another case, where a shorter one is a word
)

// Set is what is looked for: an automaton of Aho and Corasick, https://doi.org/10.1145/360825.360855. It never changes. A nil
// Set finds nothing.
type Set struct {
	first   [256]int32 // where the first byte of a form leads
	nodes   []node     // nodes[0] is where nothing has begun
	longest int        // bytes of the longest form
	least   int        // of the shortest
}

// node is what has been read of some form.
type node struct {
	child, sibling int32 // 0 = none
	fail           int32 // the longest other beginning of a form that ends here
	depth          int32 // bytes that have been read
	open           int32 // bytes of them, the last ones, that may go on to be a form
	found          int32 // bytes of the longest form that ends here; 0 = none
	b              byte  // the last of them
	base64         bool  // that form is base64, whose neighbours may hold bits of the secret
}

// New makes a Set of the secrets; nil if none is long enough to be looked for.
func New(secrets []string) *Set {
	s := &Set{nodes: make([]node, 1)}
	for _, secret := range secrets {
		if len(secret) < MinBytes {
			continue
		}
		s.add(secret, false)
		s.add(canonical(secret), false)
		s.add(strings.ReplaceAll(secret, `\`, ""), false) // with each byte of it escaped
		for _, form := range base64Forms(secret) {
			s.add(form, true)
		}
		if len(secret) >= minFolded {
			s.addFolded(secret)
		}
	}
	if len(s.nodes) == 1 {
		return nil
	}
	s.link()
	return s
}

// addFolded adds what a secret becomes in the name of a header, or where bytes are shown: in one case, and in hexadecimal.
func (s *Set) addFolded(secret string) {
	inHex := hex.EncodeToString([]byte(secret))
	for _, form := range []string{strings.ToLower(secret), strings.ToUpper(secret), inHex, strings.ToUpper(inHex)} {
		s.add(form, false)
	}
}

// base64Forms are what base64 of a text shows where the secret stands in it: at each of the three alignments, what no neighbour has
// a part in. RFC 4648 sections 4 and 5.
func base64Forms(secret string) (forms []string) {
	for _, skip := range []int{0, 1, 2} {
		inner := secret[min(skip, len(secret)):]
		std := base64.RawStdEncoding.EncodeToString([]byte(inner))
		std = std[:len(inner)*8/6]
		if len(std) < minBase64 {
			continue
		}
		forms = append(forms, std)
		if url := strings.NewReplacer("+", "-", "/", "_").Replace(std); url != std {
			forms = append(forms, url)
		}
	}
	return forms
}

func (s *Set) add(form string, base64 bool) {
	if form == "" {
		return
	}
	at := int32(0)
	for i := range len(form) {
		next := s.below(at, form[i])
		if next == 0 {
			next = int32(len(s.nodes))
			s.nodes = append(s.nodes, node{b: form[i], depth: int32(i + 1)})
			if at == 0 {
				s.first[form[i]] = next
			} else {
				s.nodes[next].sibling, s.nodes[at].child = s.nodes[at].child, next
			}
		}
		at = next
	}
	s.nodes[at].found, s.nodes[at].base64 = int32(len(form)), base64
	s.longest = max(s.longest, len(form))
	if s.least == 0 || len(form) < s.least {
		s.least = len(form)
	}
}

// below is the node that b leads to from at, without falling back; 0 if none.
func (s *Set) below(at int32, b byte) int32 {
	if at == 0 {
		return s.first[b]
	}
	for c := s.nodes[at].child; c != 0; c = s.nodes[c].sibling {
		if s.nodes[c].b == b {
			return c
		}
	}
	return 0
}

// link sets where to fall back, breadth first: a shorter beginning comes before a longer one.
func (s *Set) link() {
	var queue []int32
	for _, c := range s.first {
		if c != 0 {
			queue = append(queue, c)
		}
	}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		n := &s.nodes[at]
		f := &s.nodes[n.fail]
		if n.found == 0 && f.found > 0 {
			n.found, n.base64 = f.found, f.base64
		}
		if n.open = n.depth; n.child == 0 {
			n.open = f.open
		}
		for c := n.child; c != 0; c = s.nodes[c].sibling {
			s.nodes[c].fail = s.step(n.fail, s.nodes[c].b)
			queue = append(queue, c)
		}
	}
}

// step is where b leads from at.
func (s *Set) step(at int32, b byte) int32 {
	for {
		next := s.below(at, b)
		if next != 0 || at == 0 {
			return next
		}
		at = s.nodes[at].fail
	}
}

// In reports whether one of the secrets stands in b.
func (s *Set) In(b []byte) bool {
	if s == nil || len(b) < s.least {
		return false
	}
	at := int32(0)
	for _, c := range b {
		if at = s.step(at, c); s.nodes[at].found > 0 {
			return true
		}
	}
	if bytes.IndexByte(b, '\\') < 0 && bytes.IndexByte(b, '%') < 0 {
		return false
	}
	sc := newScanner(s, false)
	sc.scan(b, 0, true)
	return len(sc.spans) > 0
}

// Blank puts asterisks in the place of the secrets in b, as many as the bytes that they had, and reports whether there was one.
func (s *Set) Blank(b []byte) bool {
	if !s.In(b) {
		return false
	}
	sc := newScanner(s, false)
	sc.scan(b, 0, true)
	for _, at := range sc.spans {
		fill(b, 0, at)
	}
	return len(sc.spans) > 0
}

// fill blanks what of a span stands in b, whose first byte has the offset base.
func fill(b []byte, base int64, at span) {
	for i := max(at.from-base, 0); i < min(at.to-base, int64(len(b))); i++ {
		b[i] = '*'
	}
}
