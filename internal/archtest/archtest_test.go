package archtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/wire"
)

// listed is what `go list -json` says of a package.
type listed struct {
	ImportPath, Dir, Doc             string
	GoFiles, IgnoredGoFiles, Imports []string
}

// name is the package's path without the module's.
func (p listed) name() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

// packages lists the module's packages.
func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json", "./...")
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Fatalf("go list: %s", exit.Stderr)
	}
	require.NoError(t, err)
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		all = append(all, p)
	}
	require.NotEmpty(t, all)
	return all
}

func TestImports(t *testing.T) {
	var problems []string
	for _, p := range packages(t) {
		problems = append(problems, violations(p.name(), p.Imports)...)
	}
	require.Empty(t, problems)
}

func TestNoRowWithoutPackage(t *testing.T) {
	all := packages(t)
	for name := range table {
		require.True(t, slices.ContainsFunc(all, func(p listed) bool { return p.name() == name }), "the table has a row for %s, and there is no such package", name)
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) > 0 { // go list reads no documentation from tests
			require.NotEmpty(t, p.Doc, "%s has no package comment: one sentence that says what it is for", p.name())
		}
	}
}

// TestTime keeps waiting out of the program, where it would not end with its context, and the clock out of keypool,
// which is handed one: only its clock.go, where none is, may ask the machine's.
func TestTime(t *testing.T) {
	parsed := 0
	for _, p := range packages(t) {
		banned := []string{"After", "Sleep", "Tick"}
		for _, file := range slices.Concat(p.GoFiles, p.IgnoredGoFiles) {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			banned := banned
			if p.name() == "keypool" && file != "clock.go" {
				banned = slices.Concat(banned, []string{"Now", "Since", "Until", "AfterFunc", "NewTimer", "NewTicker"})
			}
			uses, err := timeCalls(filepath.Join(p.Dir, file), nil, banned)
			require.NoError(t, err)
			require.Empty(t, uses, "use a timer that ends with its context; in keypool, the clock")
			parsed++
		}
	}
	require.NotZero(t, parsed)
}

// TestHeadersStandOnce keeps the names of Keyturn's headers in one place: whoever writes one and whoever reads it mean the same.
func TestHeadersStandOnce(t *testing.T) {
	parsed := 0
	for _, p := range packages(t) {
		if r, _ := row(p.name()); r.test {
			continue
		}
		for _, file := range slices.Concat(p.GoFiles, p.IgnoredGoFiles) {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			found, err := literals(filepath.Join(p.Dir, file), nil, wire.HeaderPrefix)
			require.NoError(t, err)
			if p.name() == "internal/wire" {
				parsed += len(found)
				continue
			}
			require.Empty(t, found, "name the header by its constant in internal/wire")
		}
	}
	require.Equal(t, 1, parsed, "internal/wire has the prefix once")
}

// literals returns where a text stands in a file's string literals, in whatever case. The source is read from path when it is nil.
func literals(path string, src any, text string) (found []string, err error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING && strings.Contains(strings.ToLower(lit.Value), text) {
			found = append(found, fmt.Sprintf("%s: %s", files.Position(n.Pos()), lit.Value))
		}
		return true
	})
	return found, nil
}

func TestLiterals(t *testing.T) {
	const src = "package p\n// x-keyturn-a in a comment\nconst c = \"see X-Keyturn-Pool\"\nvar d, e = `x-keyturn-`, \"x-envoy-\"\n"
	found, err := literals("x.go", src, wire.HeaderPrefix)
	require.NoError(t, err)
	require.Equal(t, []string{`x.go:3:11: "see X-Keyturn-Pool"`, "x.go:4:12: `x-keyturn-`"}, found)
}

// timeCalls returns where a file names one of those functions of package time. The source is read from path when it
// is nil.
func timeCalls(path string, src any, banned []string) (uses []string, err error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	local := ""
	for _, imp := range file.Imports {
		if quoted, err := strconv.Unquote(imp.Path.Value); err == nil && quoted == "time" {
			local = "time"
			if imp.Name != nil {
				local = imp.Name.Name
			}
		}
	}
	if local == "" {
		return nil, nil
	}
	ast.Inspect(file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if of, ok := sel.X.(*ast.Ident); ok && of.Name == local && slices.Contains(banned, sel.Sel.Name) {
			uses = append(uses, fmt.Sprintf("%s: time.%s", files.Position(n.Pos()), sel.Sel.Name))
		}
		return true
	})
	return uses, nil
}

func TestViolations(t *testing.T) {
	for _, tc := range []struct {
		name, of string
		imports  []string
		want     []string
	}{
		{"a pure package does HTTP", "keypool", []string{"net/http"}, []string{"keypool is pure and must not import net/http"}},
		{"below it", "keypool", []string{"net/http/httptrace", "os/exec"}, []string{"keypool is pure and must not import net/http", "keypool is pure and must not import os"}},
		{"addresses are no I/O", "keypool", []string{"net/netip", "net/url", "time"}, nil},
		{"dialing is", "internal/dialect", []string{"net"}, []string{"internal/dialect is pure and must not import net"}},
		{"not in the row", "keypool", []string{module + "/internal/dialect"}, []string{"keypool is pure and must not import internal/dialect: it imports nothing of this module"}},
		{"in the row", "extproc", []string{module + "/keypool", "google.golang.org/grpc"}, nil},
		{"another", "extproc", []string{module + "/internal/config"}, []string{"extproc is told everything and must not import internal/config: of this module it imports keypool, mcp, internal/dialect, internal/agent, internal/coding, internal/schema, internal/redact, internal/quota"}},
		{"cmd may", "cmd/keyturn", []string{module + "/internal/config", "os"}, nil},
		{"but no tests", "cmd/keyturn", []string{module + "/test/gateway"}, []string{"cmd/keyturn must not import test/gateway, which is for tests"}},
		{"tests may", "test/gateway", []string{module + "/internal/config", module + "/test", "net/http"}, nil},
		{"Envoy's messages", "internal/admin", []string{"github.com/envoyproxy/go-control-plane/envoy/admin/v3"}, []string{"internal/admin shows and does not decide and must not import go-control-plane"}},
		{"what all may", "keypool", []string{module + "/internal/wire"}, nil},
		{"and what that may", "internal/wire", []string{module + "/keypool"}, []string{"internal/wire is data and must not import keypool: it imports nothing of this module"}},
		{"a part of its own", "extproc", []string{module + "/extproc/wire"}, nil},
		{"but not what is for tests", "envoy", []string{module + "/envoy/internal/envoytest"}, []string{"envoy must not import envoy/internal/envoytest, which is for tests"}},
		{"a neighbour", "envoy/check", []string{module + "/envoy", module + "/envoy/process"}, []string{"envoy/check judges settings and must not import envoy/process: of this module it imports envoy, envoy/internal/address"}},
		{"a new package", "internal/helper", nil, []string{"internal/helper has no row in the table of internal/archtest: say there what it may import"}},
	} {
		t.Run(tc.name, func(t *testing.T) { require.Equal(t, tc.want, violations(tc.of, tc.imports)) })
	}
}

func TestRulesNameOutsiders(t *testing.T) {
	for name, r := range table {
		for _, other := range r.not {
			require.Contains(t, outsiders, other, "row %s", name)
		}
	}
}

func TestTimeCalls(t *testing.T) {
	const src = "package p\nimport %s\"time\"\nfunc f() { <-%s.After(1); x := %s.Now; _ = x }\n"
	for _, tc := range []struct{ name, src, want string }{
		{"by its name", fmt.Sprintf(src, "", "time", "time"), "x.go:3:14: time.After"},
		{"by another", fmt.Sprintf(src, "clock ", "clock", "clock"), "x.go:3:14: time.After"},
		{"not the package", "package p\nimport \"example.com/time\"\nfunc f() { time.After(1) }\n", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			uses, err := timeCalls("x.go", tc.src, []string{"After", "Sleep"})
			require.NoError(t, err)
			require.Equal(t, tc.want, strings.Join(uses, "\n"))
		})
	}
}
