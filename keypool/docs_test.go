package keypool

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write what docs/operations.md should hold")

// TestOperationsTellsTheTables holds docs/operations.md equal to the tables of this package.
func TestOperationsTellsTheTables(t *testing.T) {
	const file, begin, end = "../docs/operations.md", "<!-- sayings: begin -->\n", "<!-- sayings: end -->"
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(b), begin)
	require.True(t, ok, "%s lacks %q", file, begin)
	got, after, ok := strings.Cut(rest, end)
	require.True(t, ok, "%s lacks %q", file, end)
	want := classTable() + "\n" + sayingTable() + "\n" + phraseTable()
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(before+begin+want+end+after), 0o600))
		return
	}
	require.True(t, want == got, "run: go test ./keypool -run TestOperationsTellsTheTables -update") // it is long
}

// classTable tells what follows from each class, at the statuses that have it.
func classTable() string {
	var b strings.Builder
	b.WriteString("| class | `strict` | `lenient` |\n|---|---|---|\n")
	for c := Credential; int(c) < len(classNames); c++ {
		fmt.Fprintf(&b, "| %v | %s | %s |\n", c, actionsOf(Strict, c), actionsOf(Lenient, c))
	}
	return b.String()
}

// actionsOf are the actions of a class: the usual one, and where another one follows.
func actionsOf(p Preset, c Class) string {
	by := map[Action][]string{}
	for _, status := range []int{400, 401, 402, 403, 429} {
		a := p.action(status, c)
		by[a] = append(by[a], fmt.Sprint(status))
	}
	usual := Surface
	for a, statuses := range by {
		if len(statuses) > len(by[usual]) {
			usual = a
		}
	}
	var said strings.Builder
	said.WriteString("`" + usual.String() + "`")
	for _, a := range []Action{Surface, NextKey, CoolDown, Retire} {
		if a != usual && len(by[a]) > 0 {
			fmt.Fprintf(&said, "; %s: `%v`", strings.Join(by[a], ", "), a)
		}
	}
	return said.String()
}

func sayingTable() string {
	var b strings.Builder
	b.WriteString("| provider | status | code or type | message begins | class | source |\n|---|---|---|---|---|---|\n")
	for _, s := range sayings {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %v | %s |\n", s.who, anyOr(s.status), quoted(s.word), messageOf(s.begins), s.class, link(s.from))
	}
	return b.String()
}

func phraseTable() string {
	var b strings.Builder
	b.WriteString("| status | in other words | class |\n|---|---|---|\n")
	for _, p := range phrases {
		fmt.Fprintf(&b, "| %s | %s | %v |\n", strings.Trim(strings.ReplaceAll(fmt.Sprint(p.statuses), " ", ", "), "[]"), p.says, p.class)
	}
	for _, f := range forms {
		fmt.Fprintf(&b, "| any | a code such as %s | %v |\n", f.says, f.class)
	}
	return b.String()
}

func anyOr(status int) string {
	if status == 0 {
		return "any"
	}
	return fmt.Sprint(status)
}

func quoted(text string) string {
	if text == "" {
		return ""
	}
	return "`" + strings.ReplaceAll(text, "*", "…") + "`"
}

func messageOf(begins string) string {
	if begins == "$" {
		return "(no message)"
	}
	return quoted(begins)
}

var issue = regexp.MustCompile(`^([\w.-]+/[\w.-]+)#(\d+)$`)

func link(from string) string {
	if m := issue.FindStringSubmatch(from); m != nil {
		return fmt.Sprintf("[%s](https://github.com/%s/issues/%s)", from, m[1], m[2])
	}
	return "[documented](" + from + ")"
}

// TestSayings holds the table to its form: each row has a source and matches something, and no row stands in another's shadow.
func TestSayings(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range sayings {
		name := fmt.Sprintf("%+v", s)
		require.True(t, strings.HasPrefix(s.from, "https://") || issue.MatchString(s.from), "%s: a source is an address, or an issue", name)
		require.NotEmpty(t, s.who+s.word+s.begins, name)
		require.NotEmpty(t, s.word+s.begins, "%s matches everything", name)
		require.Equal(t, strings.ToLower(s.word), s.word, name)
		require.Equal(t, headOf(s.begins), strings.TrimSpace(s.begins), "%s: messages are compared in lower case", name)
		require.NotEqual(t, None, s.class, name)
		key := fmt.Sprint(s.status, s.word, s.begins)
		require.False(t, seen[key], "%s stands twice", name)
		seen[key] = true

		status := s.status
		if status == 0 {
			status = 403
		}
		message := strings.TrimSuffix(strings.ReplaceAll(s.begins, "*", "x"), "$")
		p := problem{code: s.word, message: message}
		class, _ := p.named(status, headOf(message))
		require.Equal(t, s.class, class, "%s is not what is found", name)
	}
}

// TestPhrasesBlameFromTheBeginning holds that no words within a message blame a key where a client's text may stand.
func TestPhrasesBlameFromTheBeginning(t *testing.T) {
	for _, p := range phrases {
		if p.class == Credential || p.class == Quota {
			require.Contains(t, p.match.String(), opening, p.says)
			require.NotContains(t, p.statuses, 404)
			for _, said := range []string{"your api key has been revoked", "insufficient credits", "invalid api key", "authentication failed", "your account is overdue"} {
				for _, before := range []string{"messages[0]: ", `the value "`, "unknown role `", "tool 'x': "} {
					require.False(t, p.match.MatchString(before+said), "%s: %q", p.says, before+said)
				}
			}
		}
	}
	require.True(t, slices.IsSortedFunc(phrases, func(a, b phrase) int { return rank(a.class) - rank(b.class) }), "what blames a key is sure of itself, so it comes first")
}

func rank(c Class) int {
	switch c {
	case Credential:
		return 0
	case Quota:
		return 1
	default:
		return 2
	}
}
