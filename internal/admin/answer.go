package admin

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"time"
)

// problem is the error part of an answer. Its message says what to do about it. It never repeats what the request held: an
// operator may have pasted a key where a name belongs.
type problem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func fail(w http.ResponseWriter, status int, code, message string) {
	answer(w, status, struct {
		Error problem `json:"error"`
	}{problem{code, message}})
}

// answer writes JSON, indented: it is read by people as often as by programs.
func answer(w http.ResponseWriter, status int, body any) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(body); err != nil {
		http.Error(w, "the answer could not be encoded", http.StatusInternalServerError) // no type here does that
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = out.WriteTo(w) // a client that left needs no answer
}

// instant cuts a time to milliseconds, in UTC. Zero stays zero, which the answers leave out.
func instant(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Millisecond)
}

// seconds rounds up to milliseconds, so that who waits that long has waited enough.
func seconds(d time.Duration) float64 {
	return math.Ceil(float64(d)/float64(time.Millisecond)) / 1000
}
