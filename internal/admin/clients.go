package admin

import "net/http"

// Client is what a client has used of its limits.
type Client struct {
	Name              string   `json:"name"`          // "" of those that nobody has asked who they are
	Own               bool     `json:"own,omitempty"` // it has an entry of its own; the others have the default's limits
	Pools             []string `json:"pools,omitempty"`
	Models            []string `json:"models,omitempty"`
	Parallel          Used     `json:"parallel"`
	RequestsPerMinute Used     `json:"requests_per_minute"`
	TokensPerMinute   Used     `json:"tokens_per_minute"`
	TokensPerDay      Used     `json:"tokens_per_day"`
	SpendPerMonth     Used     `json:"spend_per_month"` // US dollars
	Reserved          int64    `json:"reserved_tokens"` // of requests whose records have not come; they are not in the others
}

// Used is what is used of a limit.
type Used struct {
	Used  float64 `json:"used"`
	Limit float64 `json:"limit,omitempty"` // absent: there is none
	Left  float64 `json:"left,omitempty"`
}

// UsedOf is what is used of a limit; zero: there is none.
func UsedOf(used, limit float64) Used {
	return Used{Used: used, Limit: limit, Left: max(limit-used, 0)}
}

func (h *handler) listClients(w http.ResponseWriter, _ *http.Request) {
	clients := h.Clients()
	if clients == nil {
		clients = []Client{}
	}
	answer(w, http.StatusOK, struct {
		Clients []Client `json:"clients"`
	}{clients})
}
