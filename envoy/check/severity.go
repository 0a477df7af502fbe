package check

import (
	"fmt"
	"slices"
	"strings"
)

// Severity says what a setting that is missing or wrong leads to. Of two, the greater is the worse.
type Severity uint8

// The severities, the least first.
const (
	Costs   Severity = iota // speed, memory, some requests, or clarity
	Crashes                 // Envoy crashes, hangs or refuses, or requests fail, or go out more often than they should
	Leaks                   // a credential gets out, or somebody passes for another or spends keys that are not theirs
)

var severities = []string{"costs", "crashes", "leaks"}

// String is leaks, crashes or costs.
func (s Severity) String() string { return severities[min(int(s), len(severities)-1)] }

// MarshalText is String, for JSON.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes what String returns.
func (s *Severity) UnmarshalText(text []byte) error {
	i := slices.Index(severities, string(text))
	if i < 0 {
		return fmt.Errorf("%q is none of %s", text, strings.Join(severities, ", "))
	}
	*s = Severity(i)
	return nil
}
