package archtest

import (
	"fmt"
	"slices"
	"strings"
)

// module is the path of this module.
const module = "github.com/keyturn/keyturn"

// rule says what a package may import. The packages of a folder that has no row of its own follow the nearest row above.
type rule struct {
	is   string   // why it imports so little: "<package> <is> and must not import <other>"
	may  []string // packages of this module; "*" = all but the tests' own
	not  []string // packages of anybody's: names of the table outsiders, or import paths
	test bool     // only tests: it may import everything of this module, and nothing else may import it
	all  bool     // everybody may import it
}

// outsiders are the packages that rules name shortly. A path stands for everything below it too, except "net", since
// net/netip and net/url do no I/O.
var outsiders = map[string]string{
	"net":              "net",
	"net/http":         "net/http",
	"os":               "os",
	"grpc":             "google.golang.org/grpc",
	"go-control-plane": "github.com/envoyproxy/go-control-plane",
}

var (
	impure = []string{"net", "net/http", "os", "grpc", "go-control-plane"}
	envoys = []string{"grpc", "go-control-plane"} // only extproc, internal/ledger, envoy and test know Envoy's messages
)

// dialectMay is what every dialect stands on.
var dialectMay = []string{"internal/dialect/turn", "internal/dialect/rawjson", "internal/dialect/recall", "internal/dialect/relay", "sse"}

// table has a row for every package. A new package begins with its row.
var table = map[string]rule{
	"cmd/keyturn": {is: "joins the others", may: []string{"*"}, not: []string{"go-control-plane"}},
	"extproc": {
		is: "is told everything", may: []string{"keypool", "mcp", "internal/dialect", "internal/agent", "internal/coding", "internal/schema", "internal/redact", "internal/quota"},
		not: []string{"os"},
	},
	"sse":             {is: "is pure", not: impure},
	"mcp":             {is: "knows streams and no other part", may: []string{"sse"}, not: envoys},
	"keypool":         {is: "is pure", not: impure},
	"envoy":           {is: "writes settings", not: []string{"grpc"}},
	"envoy/check":     {is: "judges settings", may: []string{"envoy", "envoy/internal/address"}, not: []string{"grpc"}},
	"envoy/attach":    {is: "edits what it is given", may: []string{"envoy", "envoy/check", "envoy/internal/document"}, not: []string{"grpc", "net/http", "os"}},
	"envoy/mesh":      {is: "writes settings", may: []string{"envoy", "envoy/internal/address", "envoy/internal/document"}, not: []string{"grpc"}},
	"envoy/process":   {is: "runs what it is given", may: []string{"envoy", "envoy/internal/address", "internal/redact"}, not: []string{"grpc"}},
	"internal/config": {is: "puts the settings of others into a file", may: []string{"keypool", "mcp", "extproc", "envoy", "internal/record", "internal/record/genai"}, not: envoys},
	// A dialect knows no other: what two of them share stands in a package of its own, and only the table above names them all.
	"internal/dialect":           {is: "is pure", not: impure},
	"internal/dialect/rawjson":   {is: "is pure", not: impure},
	"internal/dialect/turn":      {is: "is pure", may: []string{"internal/dialect/rawjson"}, not: impure},
	"internal/dialect/recall":    {is: "is pure", may: []string{"internal/dialect/rawjson"}, not: impure},
	"internal/dialect/relay":     {is: "is pure", may: []string{"sse"}, not: impure},
	"internal/dialect/openai":    {is: "is pure", may: []string{"internal/dialect/rawjson", "internal/dialect/turn"}, not: impure},
	"internal/dialect/responses": {is: "is a dialect", may: append([]string{"internal/dialect/openai"}, dialectMay...), not: impure},
	"internal/dialect/chat":      {is: "is a dialect", may: append([]string{"internal/dialect/openai"}, dialectMay...), not: impure},
	"internal/dialect/messages":  {is: "is a dialect", may: dialectMay, not: impure},
	"internal/dialect/check":     {is: "is pure", may: []string{"sse"}, not: impure},

	"internal/coding":          {is: "is pure", not: impure},
	"internal/schema":          {is: "is pure", not: impure},
	"internal/record":          {is: "keeps what it is told", not: envoys},
	"internal/record/sqlite":   {is: "keeps what it is told", may: []string{"internal/record"}, not: envoys},
	"internal/record/postgres": {is: "keeps what it is told", may: []string{"internal/record"}, not: envoys},
	"internal/ledger":          {is: "makes records of what it is told", may: []string{"internal/record", "internal/dialect", "internal/redact"}, not: []string{"net", "net/http", "os"}},
	"internal/record/otlp":     {is: "tells what it is told", may: []string{"internal/record", "internal/record/genai"}, not: envoys},
	"internal/record/genai":    {is: "tells what it is told", may: []string{"internal/record", "internal/spans"}, not: envoys},
	"internal/record/recorder": {is: "joins the stores", may: []string{"internal/record", "internal/record/sqlite", "internal/record/postgres"}, not: envoys},
	"internal/quota":           {is: "is pure", not: impure},
	"internal/agent":           {is: "moves what others understand", may: []string{"internal/dialect", "internal/coding", "internal/spans", "mcp"}, not: append(slices.Clone(envoys), "os")},
	"internal/toolserver":      {is: "stands for somebody else's server", not: envoys},
	// The scripted provider shares no code with Keyturn, so that each can judge the other. Its dialects know one another as little.
	"internal/scripted":           {is: "stands for somebody else's server", not: envoys},
	"internal/scripted/talk":      {is: "stands for somebody else's server", not: envoys},
	"internal/scripted/openai":    {is: "stands for somebody else's server", may: []string{"internal/scripted/talk"}, not: envoys},
	"internal/scripted/responses": {is: "stands for somebody else's server", may: []string{"internal/scripted/talk"}, not: envoys},
	"internal/scripted/chat":      {is: "stands for somebody else's server", may: []string{"internal/scripted/talk"}, not: envoys},
	"internal/scripted/messages":  {is: "stands for somebody else's server", may: []string{"internal/scripted/talk"}, not: envoys},
	"internal/telemetry":          {is: "measures and judges nothing", may: []string{"internal/spans"}, not: envoys},
	"internal/spans":              {is: "is pure", not: impure},
	"internal/page":               {is: "shows what it is given", not: []string{"os", "grpc", "go-control-plane"}},
	"internal/admin":              {is: "shows and does not decide", may: []string{"keypool", "mcp", "internal/telemetry", "internal/record", "internal/page"}, not: envoys},
	"internal/kube":               {is: "is pure", may: []string{"charts"}, not: impure},
	"charts":                      {is: "is data", not: impure},
	"internal/provider":           {is: "is data", not: impure, all: true},
	"internal/wire":               {is: "is data", not: impure, all: true},
	"internal/redact":             {is: "is pure", not: impure},
	"internal/setting":            {is: "is pure", not: impure, all: true},
	"internal/archtest":           {test: true},
	"internal/record/recordtest":  {test: true},
	"envoy/internal/envoytest":    {test: true},
	"test":                        {test: true},
}

// row returns the row of a package, named without the module's path.
func row(name string) (r rule, ok bool) {
	for folder := name; ; folder = folder[:strings.LastIndexByte(folder, '/')] {
		if r, ok = table[folder]; ok || !strings.Contains(folder, "/") {
			return r, ok
		}
	}
}

// violations says what is wrong with the imports of a package, both without the module's path.
func violations(name string, imports []string) (problems []string) {
	r, ok := row(name)
	if !ok {
		return []string{name + " has no row in the table of internal/archtest: say there what it may import"}
	}
	for _, path := range imports {
		if of, inside := strings.CutPrefix(path, module+"/"); inside {
			if why := r.inside(name, of); why != "" {
				problems = append(problems, why)
			}
			continue
		}
		for _, other := range r.not {
			if full := outsiders[other]; path == full || full != "net" && strings.HasPrefix(path, full+"/") {
				problems = append(problems, fmt.Sprintf("%s %s and must not import %s", name, r.is, other))
			}
		}
	}
	return problems
}

// inside says why the package name must not import the package of of this module; "" = it may.
func (r rule) inside(name, of string) string {
	theirs, _ := row(of)
	below := strings.HasPrefix(of, name+"/") // a package may use the ones in its own folder
	switch {
	case r.test:
		return ""
	case theirs.test:
		return fmt.Sprintf("%s must not import %s, which is for tests", name, of)
	case below, theirs.all:
		return ""
	case slices.Contains(r.may, "*"), slices.Contains(r.may, of):
		return ""
	case len(r.may) == 0:
		return fmt.Sprintf("%s %s and must not import %s: it imports nothing of this module", name, r.is, of)
	}
	return fmt.Sprintf("%s %s and must not import %s: of this module it imports %s", name, r.is, of, strings.Join(r.may, ", "))
}
