// Package check says what Keyturn needs and an Envoy's configuration lacks, and what would happen.
package check

import (
	"fmt"

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
	Setting     string `json:"setting"`     // the field, as a path in Envoy's API: route.retry_policy.num_retries
	Where       string `json:"where"`       // the listener and route, or the cluster: listener main, route openai
	Found       string `json:"found"`       // what the document says; "not set" when it says nothing
	Want        string `json:"want"`        // what it should say
	Consequence string `json:"consequence"` // what happens otherwise
	Fatal       bool   `json:"fatal"`       // Envoy crashes or refuses, a credential may leak, or keys do not turn; else it costs speed, requests or clarity
}

// String is the finding on one line.
func (f Finding) String() string {
	return fmt.Sprintf("%s: %s is %s, want %s: %s", f.Where, f.Setting, f.Found, f.Want, f.Consequence)
}

// Envoy reads a bootstrap (YAML or JSON) or the answer of Envoy's /config_dump and reports what Keyturn needs and the
// document lacks: first about the whole, then by listener and route, then by cluster. The error is about a document
// that cannot be read or is neither.
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
		document: d, want: want, proxy: proxy, pools: map[string]*envoy.Pool{},
		hops: map[string]bool{}, processors: map[string]bool{}, seen: map[string]bool{},
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
	c.version()
	if !c.firstForm() {
		c.recognize()
		c.whole()
		for _, m := range c.managers {
			c.manager(m)
		}
		for _, name := range c.clusterNames {
			c.cluster(c.clusters[name])
		}
	}
	if proxy != nil {
		if err := c.inMesh(); err != nil {
			return nil, err
		}
	}
	return c.findings, nil
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
	want       Want
	proxy      *Proxy // nil for an Envoy that no mesh configures
	processor  address.Address
	pools      map[string]*envoy.Pool // by cluster
	hops       map[string]bool        // clusters that lead to the inner listener
	processors map[string]bool        // clusters that lead to Keyturn
	seen       map[string]bool        // findings reported, by setting, place and consequence
	findings   []Finding
}

// find reports a setting once for each place.
func (c *checker) find(s setting, where, found string) {
	id := s.name + "\x00" + where + "\x00" + s.consequence
	if c.seen[id] {
		return
	}
	c.seen[id] = true
	c.findings = append(c.findings, Finding{
		Setting: s.name, Where: where, Found: found, Want: s.want, Consequence: s.consequence, Fatal: s.fatal,
	})
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
