// Package check says what Keyturn needs and an Envoy's configuration lacks, and what would happen.
package check

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/internal/address"
)

// Want says what a configuration is checked for beyond what every configuration with Keyturn needs. The zero value
// checks only what the document shows.
type Want struct {
	Processor string       // where Keyturn listens, "unix:path" or "host:port": finds filters of another name; "" = by the name keyturn
	Loopback  bool         // Keyturn makes requests of its own: a loopback listener must be there
	Open      bool         // clients need not authenticate
	Pools     []envoy.Pool // a route must name each of them, with retries for its keys, and its cluster must be there
}

// Finding is a setting that is missing or wrong.
type Finding struct {
	Severity    Severity `json:"severity"`    // what kind of harm it does
	Setting     string   `json:"setting"`     // the field, as a path in Envoy's API: route.retry_policy.num_retries
	Where       string   `json:"where"`       // the listener and route, or the cluster: listener main, route openai
	Path        string   `json:"path"`        // where in the document that is, or what should have it, in the document's own words; "" = the whole
	Line        int      `json:"line"`        // the line of the document's text, from 1; 0 = it has none that tell
	Found       string   `json:"found"`       // what the document says; "not set" when it says nothing
	Want        string   `json:"want"`        // what it should say
	Consequence string   `json:"consequence"` // what happens otherwise
	Remedy      string   `json:"remedy"`      // what to do
}

// String is the finding on one line.
func (f Finding) String() string {
	return fmt.Sprintf("%s: %s: %s is %s, want %s: %s %s", f.Severity, f.Where, f.Setting, f.Found, f.Want, f.Consequence, f.Remedy)
}

// Envoy reads a bootstrap (YAML or JSON) or the answer of Envoy's /config_dump and reports what Keyturn needs and the
// document lacks or says wrong, the worst first: of each severity first about the whole, then by listener and route, then by cluster.
// The error is about a document that cannot be read or is neither.
//
// Of a document that has Keyturn in Envoy's upstream filters, as its first form had, it says that alone.
//
// What the document does not hold cannot be checked: extensions whose configuration is discovered elsewhere, and in a
// bootstrap whatever Envoy gets from a control plane; /config_dump has the latter.
func Envoy(doc []byte, want Want) ([]Finding, error) { return check(doc, want, nil) }

// check is Envoy, and Istio with a proxy.
func check(doc []byte, want Want, proxy *Proxy) ([]Finding, error) {
	d, err := readDocument(doc)
	if err != nil {
		return nil, err
	}
	c := &checker{
		document: d, want: want, proxy: proxy, credentials: credentialNames(want.Pools), pools: map[string]*envoy.Pool{},
		hops: map[string]bool{}, processors: map[string]bool{}, bases: map[string][]steps{}, seen: map[string]bool{},
	}
	if want.Processor != "" {
		if c.processor, err = address.Parse(want.Processor); err != nil {
			return nil, fmt.Errorf("processor: %w", err)
		}
	}
	for i := range want.Pools {
		pool := &want.Pools[i]
		for _, name := range clustersOf(pool) {
			c.pools[name] = pool
		}
	}
	c.locate()
	c.version()
	if !c.firstForm() {
		c.recognize()
		c.whole()
		c.process()
		c.tunnels()
		for _, m := range c.managers {
			c.manager(m)
		}
		for _, name := range c.clusterNames {
			c.cluster(c.clusters[name])
		}
		c.everywhere()
	}
	if proxy != nil {
		if err := c.inMesh(); err != nil {
			return nil, err
		}
	}
	c.order(doc)
	return c.findings, nil
}

// order puts the worst first, and adds the lines.
func (c *checker) order(doc []byte) {
	slices.SortStableFunc(c.findings, func(a, b Finding) int { return cmp.Compare(b.Severity, a.Severity) })
	at := lines(doc, c.found)
	for i := range c.findings {
		c.findings[i].Line = at[c.findings[i].Path]
	}
}

// clustersOf are the names of Envoy's clusters of the pool's provider. Attempts go to the first.
func clustersOf(pool *envoy.Pool) []string {
	if len(pool.Clusters) == 0 {
		return []string{pool.Name}
	}
	return pool.Clusters
}

// checker compares a document with the settings.
type checker struct {
	*document
	want        Want
	proxy       *Proxy // nil for an Envoy that no mesh configures
	processor   address.Address
	pools       map[string]*envoy.Pool // by cluster
	credentials []string               // headers that may hold one
	metadata    []string               // places in the dynamic metadata that do, as namespace:key
	hops        map[string]bool        // clusters that lead to the inner listener
	processors  map[string]bool        // clusters that lead to Keyturn
	bases       map[string][]steps     // where the fields of a listener, a route or a cluster stand, by its name in findings
	seen        map[string]bool        // findings reported, by setting, place and consequence
	found       []steps                // the findings' places in the document
	findings    []Finding
}

// find reports a setting of a listener, a route, a cluster or the whole, once for each.
func (c *checker) find(s setting, where, found string) {
	c.findAt(s, where, c.place(s.name, where), found)
}

// findAt reports a setting, once for each place in the document.
func (c *checker) findAt(s setting, where string, at steps, found string) {
	if _, written, all := descend(c.root, at); all {
		at = written // in the document's own words
	}
	id := strings.Join([]string{s.name, where, at.String(), s.consequence}, "\x00")
	if c.seen[id] {
		return
	}
	c.seen[id] = true
	c.found = append(c.found, at)
	c.findings = append(c.findings, Finding{
		Severity: s.severity, Setting: s.name, Where: where, Path: at.String(),
		Found: found, Want: s.want, Consequence: s.consequence, Remedy: s.toDo(),
	})
}

// place is where in the document a setting stands, or what should have it.
func (c *checker) place(name, where string) steps {
	fields := strings.Split(name, ".")
	bases := c.bases[where]
	if len(bases) == 0 {
		return nil
	}
	best, most := bases[0], 0
	for _, base := range bases {
		for _, below := range []steps{fields, fields[1:]} { // the first may only say what it is a field of
			if _, taken, _ := descend(c.at(base), below); len(taken) > most {
				best, most = base.to(taken...), len(taken)
			}
		}
	}
	return best
}

// wanting is a setting whose value depends on the pool.
func (s setting) wanting(format string, args ...any) setting {
	s.want = fmt.Sprintf(format, args...)
	return s
}

// manager checks a listener by what it is for.
func (c *checker) manager(m *manager) {
	if m.role != roleInner && c.keyturn(m.HttpFilters) != nil {
		c.find(filterPlace, m.where(), "in the listener's chain")
	}
	switch m.role {
	case roleInner:
		c.inner(m)
	case roleFront, roleLoopback:
		c.front(m)
	case roleOther:
	}
	for _, r := range m.routes {
		if r.past {
			c.find(routePast, r.place, r.cluster)
		}
	}
}
