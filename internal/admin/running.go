package admin

import (
	"net/http"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/page"
)

// The shapes of what is in force. Times are RFC 3339 in UTC.
type (
	// Running is what is in force.
	Running struct {
		Version  string       `json:"version"`
		Go       string       `json:"go"`
		Started  time.Time    `json:"started"`
		File     string       `json:"file"`
		Settings []Setting    `json:"settings"`
		Warnings []string     `json:"warnings"` // about the configuration
		Reload   Reload       `json:"reload"`   // the last
		Envoy    *EnvoyAnswer `json:"envoy,omitempty"`
		Limits   []Limit      `json:"limits"`
		Recorder Recorder     `json:"recorder"`
		Shared   string       `json:"shared_state"` // in words
	}
	// Setting is a value of the configuration.
	Setting struct {
		Path  string `json:"path"`
		Value string `json:"value"`          // secrets by reference
		Line  int    `json:"line,omitempty"` // of the file; absent: the default
	}
	// Reload is the answer to reading the configuration.
	Reload struct {
		At    time.Time `json:"at,omitzero"`
		By    string    `json:"by,omitempty"`            // what made Keyturn read it
		Error string    `json:"error,omitempty"`         // why it was refused
		Later []string  `json:"at_next_start,omitempty"` // what of it takes effect when Keyturn starts again
	}
	// EnvoyAnswer is what check says of the Envoy that runs.
	EnvoyAnswer struct {
		At       time.Time `json:"at"`
		Version  string    `json:"version,omitempty"`
		Error    string    `json:"error,omitempty"` // why it could not be asked
		Findings []Finding `json:"findings"`
	}
	// Finding is a setting that Envoy lacks.
	Finding struct {
		Severity    string `json:"severity"` // leaks, crashes or costs
		Where       string `json:"where"`
		Setting     string `json:"setting"`
		Found       string `json:"found"`
		Want        string `json:"want"`
		Consequence string `json:"consequence"`
		Remedy      string `json:"remedy"`
	}
	// Limit is a bound, and how near it is.
	Limit struct {
		Name string `json:"name"`
		Now  int64  `json:"now"`
		Most int64  `json:"most"`
		Unit string `json:"unit,omitempty"` // "bytes", or what is counted
	}
	// Recorder is where records go.
	Recorder struct {
		Where        string `json:"where"` // in words
		Stored       bool   `json:"stored"`
		WaitingTurns int64  `json:"waiting_turns"` // that the store does not have yet
		WaitingBytes int64  `json:"waiting_bytes"`
		Losses       []Loss `json:"losses,omitempty"`
	}
	// Loss is what was not recorded.
	Loss struct {
		What  string `json:"what"` // turn or content
		Cause string `json:"cause"`
		Count int64  `json:"count"`
	}
)

// High is above which the limit is near.
func (l Limit) High() int64 { return l.Most - l.Most/5 }

// running is what is in force, with the endpoint's own limits.
func (h *handler) running(r *http.Request) Running {
	v := h.Running(r.Context())
	v.Limits = append(v.Limits, Limit{Name: "open views and followers of this endpoint", Now: int64(h.following.Load()), Most: maxFollowing})
	if h.Records != nil && h.Records.Losses != nil {
		h.Records.Losses().Each(func(what, cause string, n int64) {
			if n > 0 {
				v.Recorder.Losses = append(v.Recorder.Losses, Loss{what, cause, n})
			}
		})
	}
	return v
}

func (h *handler) showRunning(w http.ResponseWriter, r *http.Request) {
	answer(w, http.StatusOK, h.running(r))
}

type (
	runningPage struct {
		Running
		Sections []settingsPage
	}
	settingsPage struct {
		Name            string
		Given, Defaults int
		Settings        []Setting
	}
)

// shownSettings is how many settings of a section the page shows; the API has all.
const shownSettings = 2000

func (h *handler) runningPage(r *http.Request) *page.Frame {
	f := h.frame(r, "running", "Running", "/api/v1/running")
	if h.Running == nil {
		f.View, f.Twin, f.Here, f.Data = "problem", "", "", "What is in force is not shown here."
		return f
	}
	f.Acts = f.Acts && h.Reload != nil
	p := runningPage{Running: h.running(r)}
	var s *settingsPage
	for _, one := range p.Settings {
		name := one.Path
		if at := strings.IndexAny(name, ".["); at >= 0 && !strings.HasPrefix(name, "pools[") {
			name = name[:at]
		} else if end := strings.IndexByte(name, ']'); at >= 0 && end > 0 {
			name = name[:end+1]
		}
		if s == nil || s.Name != name {
			p.Sections = append(p.Sections, settingsPage{Name: name})
			s = &p.Sections[len(p.Sections)-1]
		}
		if one.Line > 0 {
			s.Given++
		} else {
			s.Defaults++
		}
		if len(s.Settings) < shownSettings {
			s.Settings = append(s.Settings, one)
		}
	}
	f.Data = p
	return f
}
