package genai

import (
	"strconv"
	"sync"

	"github.com/keyturn/keyturn/internal/record"
)

// MaxValues is how many values a label has at most; others are Other.
const MaxValues = 200

// Other stands for the values of a label beyond MaxValues.
const Other = "_other"

// values are those that a label has, the first that came.
type values struct {
	mu   sync.Mutex // protects all below
	seen map[string]struct{}
}

func newValues() *values { return &values{seen: map[string]struct{}{}} }

// bound is v, or Other where the label has enough already.
func (s *values) bound(v string) string {
	if v == "" {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.seen[v]; ok {
		return v
	}
	if len(s.seen) >= MaxValues {
		return Other
	}
	s.seen[v] = struct{}{}
	return v
}

// failure is the error.type of an attempt, "" of a good one.
func failure(a *record.Attempt) string {
	switch {
	case a.Class != "":
		return a.Class
	case a.Status >= 400:
		return strconv.Itoa(a.Status)
	case a.Status == 0:
		return a.Outcome
	}
	return ""
}
