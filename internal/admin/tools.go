package admin

import (
	"net/http"
	"time"

	"github.com/keyturn/keyturn/mcp"
)

type (
	// toolsView is what there is of MCP servers and their tools.
	toolsView struct {
		Servers []serverView `json:"servers"`
		Pools   []offerView  `json:"pools,omitempty"` // that have tools
	}
	// serverView is one MCP server. What it says of itself and of its tools is as little to be trusted as it is.
	serverView struct {
		Name      string     `json:"name"`
		Connected bool       `json:"connected"`
		Tools     int        `json:"tools"`           // that are offered now
		Error     string     `json:"error,omitempty"` // the class of its last failure; absent when all is well
		Since     time.Time  `json:"since,omitzero"`  // of being connected, or not
		Protocol  string     `json:"protocol,omitempty"`
		Software  string     `json:"software,omitempty"`
		Offered   []toolView `json:"offered,omitempty"`
	}
	toolView struct {
		Name        string    `json:"name"`
		ModelName   string    `json:"model_name"` // that models see
		Description string    `json:"description,omitempty"`
		SchemaBytes int64     `json:"schema_bytes"`
		ReadOnly    bool      `json:"read_only,omitempty"` // it says so
		Calls       uint64    `json:"calls"`
		Failed      uint64    `json:"failed"`
		P50         float64   `json:"p50_seconds,omitempty"` // of the last 128 calls
		P95         float64   `json:"p95_seconds,omitempty"`
		P99         float64   `json:"p99_seconds,omitempty"`
		LastError   string    `json:"last_error,omitempty"` // its class
		LastErrorAt time.Time `json:"last_error_at,omitzero"`
	}
	// offerView is what a pool gives to models.
	offerView struct {
		Pool    string   `json:"pool"`
		Servers []string `json:"servers"`
		Tools   int      `json:"tools"`
		Tokens  int      `json:"tokens"` // about: a quarter of the bytes of names, descriptions and schemas
	}
)

// tokenBytes is about how many bytes of a tool's definition make a token.
const tokenBytes = 4

func (h *handler) toolsView() toolsView {
	v := toolsView{Servers: []serverView{}}
	of := map[string]mcp.ServerDetail{}
	for _, s := range h.Tools() {
		of[s.Name] = s
		one := serverView{
			Name: s.Name, Connected: s.Connected, Tools: s.Tools, Error: s.LastError, Since: instant(s.Since), Protocol: s.Protocol, Software: s.Software,
		}
		for _, t := range s.Offered {
			one.Offered = append(one.Offered, toolView{
				Name: t.Name, ModelName: t.ModelName, Description: t.Description, SchemaBytes: int64(len(t.Schema)), ReadOnly: t.ReadOnly,
				Calls: t.Calls, Failed: t.Failed, P50: t.P50.Seconds(), P95: t.P95.Seconds(), P99: t.P99.Seconds(),
				LastError: t.LastError, LastErrorAt: instant(t.LastErrorAt),
			})
		}
		v.Servers = append(v.Servers, one)
	}
	for _, about := range h.abouts() {
		if len(about.Tools) == 0 {
			continue
		}
		o := offerView{Pool: about.Name, Servers: about.Tools}
		size := 0
		for _, name := range about.Tools {
			for _, t := range of[name].Offered {
				o.Tools++
				size += len(t.ModelName) + len(t.Description) + len(t.Schema)
			}
		}
		o.Tokens = (size + tokenBytes - 1) / tokenBytes
		v.Pools = append(v.Pools, o)
	}
	return v
}

func (h *handler) listTools(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, h.toolsView())
}
