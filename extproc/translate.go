package extproc

import (
	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/mcp"
)

// translated reports whether clients may send back here what they were shown of calls of Keyturn's tools, and no tools go in.
func (x *exchange) translated(m *message) bool {
	return x.pools.shows && x.hop == 0 && dialect.Translates(string(m.header(":path"))) && x.readsBody(m) && !x.wantsTools(m)
}

// translate makes a request without tools one that the provider understands: clients send back what they were shown of calls of Keyturn's tools,
// and also to a pool that has none, and to endpoints at which there are none. m is its body.
func (x *exchange) translate(m *message) {
	t := x.tools
	x.tools = nil
	body := dialect.Translate(t.origin.Path, t.coded.of(m.body), dialect.Options{ModelName: mcp.ModelName, Memory: t.memory, Gone: x.gone})
	if body == nil || int64(len(body)) > x.pool.maxBody {
		x.out.pass(m.kind, &x.mut, modes{}, &x.dyn)
		return
	}
	if t.coded.codes() {
		x.mut.remove("content-encoding")
	}
	x.mut.length(len(body))
	x.out.body(m.kind, &x.mut, body, &x.dyn)
}
