package record

// name returns the n-th of names, or "unknown".
func name(n uint8, names ...string) string {
	if int(n) < len(names) {
		return names[n]
	}
	return "unknown"
}

// String is the ending in a word.
func (e Ending) String() string { return name(uint8(e), "whole", "cancelled", "broken", "refused") }

// String is the state in a word.
func (s UsageState) String() string { return name(uint8(s), "unknown", "partial", "complete") }

// String is the kind in a word.
func (k ContentKind) String() string { return name(uint8(k), "prompt", "answer", "thought", "tool") }
