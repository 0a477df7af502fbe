package test

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// soakAnswer is a row of what docs/operations.md says of providers.
type soakAnswer struct {
	provider string
	statuses []int
	word     string // the error's code or type
	message  string
	class    string
	rests    string // what the pool does to the key: permanent or cooldown; "" when it blames nobody for longer than a moment
	sure     bool   // it does so at once, and not only when the next request says the same
}

// String is the row as a failing test names it.
func (a soakAnswer) String() string {
	return fmt.Sprintf("%s %q %q: %s", a.provider, a.word, a.message, a.class)
}

// usually are the statuses at which a class is met, where a row is for any.
var usually = map[string][]int{
	"credential": {401, 403}, "quota": {402, 403, 429}, "rate_limit": {429}, "transient": {429}, "caller_fault": {400, 403}, "region": {403},
	"elsewhere": {400}, "model_access": {403}, "model_gone": {404},
}

// readSoakTable reads the table of what providers say.
func readSoakTable(t *testing.T) (table []soakAnswer) {
	t.Helper()
	b, err := os.ReadFile("../docs/operations.md")
	require.NoError(t, err)
	_, doc, ok := strings.Cut(string(b), "| provider | status | code or type | message begins | class | source |\n|---|---|---|---|---|---|\n")
	require.True(t, ok)
	doc, _, _ = strings.Cut(doc, "\n\n")
	for line := range strings.SplitSeq(doc, "\n") {
		cells := strings.Split(strings.Trim(line, "|"), " | ")
		require.Len(t, cells, 6, line)
		for i := range cells {
			cells[i] = strings.Trim(strings.TrimSpace(cells[i]), "`")
		}
		a := soakAnswer{provider: cells[0], word: cells[2], message: strings.ReplaceAll(cells[3], "…", "something"), class: cells[4]}
		if status, err := strconv.Atoi(cells[1]); err == nil {
			a.statuses = []int{status}
		} else {
			require.Equal(t, "any", cells[1])
			a.statuses = usually[a.class]
			require.NotEmpty(t, a.statuses, line)
		}
		a.sure = a.word != "" && a.message == ""
		if a.message == "(no message)" {
			a.message = ""
		}
		switch a.class {
		case "credential":
			a.rests = "permanent"
		case "quota":
			a.rests = "cooldown"
		}
		table = append(table, a)
	}
	require.Greater(t, len(table), 90)
	return table
}

// body is the answer in one of the forms that errors have.
func (a soakAnswer) body(provider string, status int) string {
	e := map[string]any{"message": a.message}
	if a.message != "" {
		e["message"] = a.message + " and more words."
	}
	if a.message == "" && a.sure {
		e["message"] = "something is wrong"
	}
	doc := map[string]any{"error": e}
	switch {
	case provider == "anthropic":
		doc["type"] = "error"
		e["type"] = a.word
	case a.provider == "Google" || a.provider == "Gemini":
		e["code"], e["status"] = status, strings.ToUpper(a.word)
	case len(a.word)%2 == 0:
		e["code"] = a.word
	default:
		e["type"] = a.word
	}
	b, err := json.Marshal(doc)
	if err != nil {
		panic(err) // strings and numbers
	}
	return string(b)
}
