package attach

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/envoy"
)

// Who the clients of a listener are, beyond this machine.
const (
	ClientsOwn     = ""        // the listener asks them itself, or only this machine reaches it
	ClientsOpen    = "open"    // nobody asks: whoever reaches the listener spends the pools' keys
	ClientsKeyturn = "keyturn" // Keyturn asks, for the keys of envoy.clients in keyturn.yaml, on the routes to pools alone
)

// Options say what is attached.
type Options struct {
	Pools     []Pool `json:"pools"`
	Processor string `json:"processor"`         // where Keyturn listens: "unix:path", relative to the folder in which Envoy runs, or "host:port"
	Clients   string `json:"clients,omitempty"` // ClientsOwn, ClientsOpen or ClientsKeyturn
	Others    bool   `json:"others,omitempty"`  // edits are made that other routes and listeners notice
}

// Pool is a pool of keys and what of the Envoy is for it.
type Pool struct {
	Name    string   `json:"name"`             // in keyturn.yaml
	Cluster string   `json:"cluster"`          // Envoy's cluster of the provider, which stays as it is
	Routes  []string `json:"routes,omitempty"` // the names of the routes to it that lead to Keyturn; empty: all routes to it
	Keys    int      `json:"keys,omitempty"`   // how many keys the pool may have; 0 = 20
}

const defaultKeys = 20

// Result is an edited file.
type Result struct {
	Doc      []byte
	Edits    []Edit   // in the file's order; none: the file has all of it
	LeftOut  []Edit   // what other routes or listeners would notice, and Options.Others does not allow
	Notes    []string // what to know, a sentence each
	Upstream []string // of each of the pools: where its cluster leads, "" where the file does not tell
	before   []byte
	again    bool // the file had been edited before
}

// Edit is a change of whole lines.
type Edit struct {
	Line int      // of the first line in the file before, from 1
	Old  string   // the lines that go, "" = none
	New  string   // the lines that come
	Whys []string // a sentence each
}

// Merge adds the pools of options to those with which a file was edited before.
func (o Options) Merge(before Options) Options {
	o.Pools = slices.Clone(o.Pools)
	for _, p := range before.Pools {
		if !slices.ContainsFunc(o.Pools, func(own Pool) bool { return own.Name == p.Name }) {
			o.Pools = append(o.Pools, p)
		}
	}
	slices.SortStableFunc(o.Pools, func(a, b Pool) int { return strings.Compare(a.Name, b.Name) })
	o.Processor = cmp.Or(o.Processor, before.Processor)
	o.Clients = cmp.Or(o.Clients, before.Clients)
	o.Others = o.Others || before.Others
	return o
}

// Attach edits an Envoy's bootstrap, or a file of listeners, routes or clusters that Envoy is told to watch. A file that it has edited
// before is edited anew, for the pools of both. The error joins every reason why the file cannot be edited.
func Attach(file []byte, o Options) (*Result, error) {
	o = o.Merge(Options{}) // in order
	doc := file
	switch before, err := Attached(file); {
	case err == nil:
		o = o.Merge(before)
		if doc, err = Detach(file); err != nil {
			return nil, err
		}
	case !errors.Is(err, ErrNothing):
		return nil, err
	}
	t, err := read(doc)
	if err != nil {
		return nil, err
	}
	a := &attacher{editor: &editor{text: t}, options: o, result: &Result{before: file, again: len(doc) != len(file)}}
	if err := a.attach(); err != nil {
		return nil, err
	}
	return a.finish(doc)
}

// attacher edits one file.
type attacher struct {
	*editor
	options Options
	result  *Result
	found   *places
	parts   *envoy.Parts
	pools   map[string]*envoy.Pool // by name
	hosts   map[*node]bool         // see shared
}

func (a *attacher) attach() error {
	if a.found = a.look(); !a.found.bootstrap && !a.found.resources {
		return errors.New("neither an Envoy configuration, which has static_resources or dynamic_resources, nor a file of resources, which has resources")
	}
	a.taken()
	a.weighted()
	if err := errors.Join(a.errs...); err != nil {
		return err
	}
	if err := a.makeParts(); err != nil {
		return err
	}
	routes := a.concerned()
	if err := errors.Join(a.errs...); err != nil {
		return err
	}
	for _, r := range routes {
		a.route(r)
	}
	for _, m := range a.found.managers {
		if slices.ContainsFunc(routes, func(r *routeAt) bool { return r.manager == m }) {
			a.manager(m, routes)
		}
	}
	if err := a.whole(len(routes) > 0); err != nil {
		return err
	}
	return errors.Join(a.errs...)
}

// taken refuses what has the names of Keyturn's own.
func (a *attacher) taken() {
	for _, n := range slices.Concat(a.found.listeners, a.found.clusters) {
		if name := n.word("name"); name == envoy.InnerName || name == envoy.ProcessorName {
			a.refuse(n, "%s is there already, and attach did not write it: take it out, or see with keyturn check --envoy whether anything is missing", name)
		}
	}
}

// weighted refuses routes of which a pool's cluster is a part.
func (a *attacher) weighted() {
	for _, r := range a.found.routes {
		for _, w := range r.node.items("route", "weighted_clusters", "clusters") {
			for _, p := range a.options.Pools {
				if w.word("name") == p.Cluster && (len(p.Routes) == 0 || slices.Contains(p.Routes, r.node.word("name"))) {
					a.refuse(w, "a route with weighted_clusters leads to %s in part: Keyturn would see that part alone. Lead the route to one cluster, or write the lines of docs/envoy.md by hand", p.Cluster)
				}
			}
		}
	}
}

// concerned are the routes that lead to pools.
func (a *attacher) concerned() (routes []*routeAt) {
	for _, p := range a.options.Pools {
		before, named := len(routes), map[string]bool{}
		for _, r := range a.found.routes {
			if name := r.node.word("name"); r.node.word("route", "cluster") == p.Cluster && (len(p.Routes) == 0 || slices.Contains(p.Routes, name)) {
				one := *r
				one.pool = p.Name
				routes, named[name] = append(routes, &one), true
			}
		}
		for _, name := range p.Routes {
			if !named[name] {
				a.errs = append(a.errs, fmt.Errorf("no route of the name %s leads to the cluster %s; those that do: %s", name, p.Cluster, a.leading(p.Cluster)))
			}
		}
		if hidden := leads(a.plain, p.Cluster) - a.number(p.Cluster); hidden > 0 {
			a.errs = append(a.errs, fmt.Errorf("%d routes to the cluster %s stand behind an alias (*) or a merge key (<<), and others use what is written there: write them out, or write the lines of docs/envoy.md by hand", hidden, p.Cluster))
			continue
		}
		if len(routes) == before && len(p.Routes) == 0 && !a.hasCluster(p.Cluster) {
			a.errs = append(a.errs, fmt.Errorf("no route leads to a cluster %s, and there is none; routes lead to: %s", p.Cluster, cmp.Or(strings.Join(a.led(), ", "), "none")))
		} else if len(routes) == before && len(p.Routes) == 0 && len(a.found.routes) > 0 {
			a.errs = append(a.errs, fmt.Errorf("no route leads to the cluster %s; routes lead to: %s", p.Cluster, cmp.Or(strings.Join(a.led(), ", "), "none")))
		}
	}
	return routes
}

// hasCluster reports whether the file has a cluster of this name.
func (a *attacher) hasCluster(name string) bool {
	return slices.ContainsFunc(a.found.clusters, func(c *node) bool { return c.word("name") == name })
}

// leading names the routes to a cluster.
func (a *attacher) leading(cluster string) string {
	var names []string
	for _, r := range a.found.routes {
		if r.node.word("route", "cluster") == cluster {
			names = append(names, cmp.Or(r.node.word("name"), fmt.Sprintf("one without a name in line %d", a.line(r.node.start))))
		}
	}
	return cmp.Or(strings.Join(names, ", "), "none")
}

func (a *attacher) number(cluster string) (n int) {
	for _, r := range a.found.routes {
		if r.node.word("route", "cluster") == cluster {
			n++
		}
	}
	return n
}

// led are the clusters that routes lead to.
func (a *attacher) led() (names []string) {
	for _, r := range a.found.routes {
		if name := r.node.word("route", "cluster"); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// leads counts the routes to a cluster, however they are written.
func leads(v any, cluster string) (n int) {
	switch v := v.(type) {
	case map[string]any:
		if route, ok := v["route"].(map[string]any); ok && route["cluster"] == cluster {
			n++
		}
		for _, below := range v {
			n += leads(below, cluster)
		}
	case []any:
		for _, below := range v {
			n += leads(below, cluster)
		}
	}
	return n
}

// makeParts has the parts made that are put in.
func (a *attacher) makeParts() error {
	cfg := envoy.Config{
		Listen: "127.0.0.1:0", Processor: a.options.Processor, Attach: envoy.Route, AccessLog: "off",
		MaxRequestBytes: a.largestBody(),
	}
	if a.options.Clients == ClientsKeyturn {
		cfg.Clients.APIKeys = []envoy.ClientKey{{Name: "client", Secret: "is not written"}}
	}
	for _, p := range a.options.Pools {
		upstream := a.upstream(p.Cluster)
		a.result.Upstream = append(a.result.Upstream, upstream)
		u, err := url.Parse(cmp.Or(upstream, "https://provider.invalid"))
		if err != nil {
			return err
		}
		const spare = 15 // that envoy.Parts allows beyond the keys
		cfg.Pools = append(cfg.Pools, envoy.Pool{Name: p.Name, Upstream: u, Clusters: []string{p.Cluster}, Keys: max(1, cmp.Or(p.Keys, defaultKeys)-spare)})
	}
	parts, err := envoy.NewParts(cfg)
	if err != nil {
		return err
	}
	a.parts, a.pools = parts, map[string]*envoy.Pool{}
	all := parts.Config().Pools
	for i := range all {
		a.pools[all[i].Name] = &all[i]
	}
	return nil
}

// finish makes the result of the edits, and holds that it can be undone and says what it should.
func (a *attacher) finish(before []byte) (*Result, error) {
	r := a.result
	r.Doc = before
	if len(a.splices) > 0 {
		sorted := a.hunks()
		if err := a.overlaps(); err != nil {
			return nil, err
		}
		if a.json {
			if err := a.recorded(a.options); err != nil {
				return nil, err
			}
			sorted = a.hunks()
		} else {
			var err error
			if sorted, err = a.marked(sorted, a.options); err != nil {
				return nil, err
			}
		}
		r.Doc = a.apply(sorted)
		if err := a.verify(r.Doc); err != nil {
			return nil, err
		}
		for _, h := range sorted {
			r.Edits = append(r.Edits, a.edit(h))
		}
	}
	if back, err := Detach(r.Doc); len(r.Edits) > 0 && (err != nil || string(back) != string(before)) {
		return nil, errors.Join(errors.New("the file is written in a way in which what is edited could not be taken out again"), err)
	}
	return r, nil
}

// edit is a hunk as a change of lines of the file. A mark before the document is on its first line, whichever that is.
func (a *attacher) edit(h hunk) Edit {
	e := Edit{Line: a.line(h.start), Old: string(a.bytes[h.start:h.end]), New: h.new, Whys: h.whys}
	if h.start > 0 || len(a.bom) == 0 {
		return e
	}
	if e.Old == "" {
		first, _, _ := strings.Cut(string(a.bytes), "\n")
		e.Old = first + "\n"
		e.New += e.Old
	}
	e.Old, e.New = string(a.bom)+e.Old, string(a.bom)+e.New
	return e
}
