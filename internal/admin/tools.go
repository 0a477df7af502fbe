package admin

import (
	"net/http"
	"time"
)

// serverView is one MCP server.
type serverView struct {
	Name      string    `json:"name"`
	Connected bool      `json:"connected"`
	Tools     int       `json:"tools"`           // that are offered now
	Error     string    `json:"error,omitempty"` // the class of its last failure; absent when all is well
	Since     time.Time `json:"since,omitzero"`  // of being connected, or not
}

func (h *handler) listTools(w http.ResponseWriter, _ *http.Request) {
	servers := []serverView{}
	for _, s := range h.Tools() {
		servers = append(servers, serverView{s.Name, s.Connected, s.Tools, s.LastError, instant(s.Since)})
	}
	answer(w, http.StatusOK, struct {
		Servers []serverView `json:"servers"`
	}{servers})
}
