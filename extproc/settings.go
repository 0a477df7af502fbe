package extproc

import (
	"errors"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/setting"
	"github.com/keyturn/keyturn/internal/wire"
)

// Bounds of the settings of a Pool and of its Tools, both ends included.
const (
	MinBody = 1 << 10   // bytes
	MaxBody = 128 << 20 // one that is read whole is one message, and one value in memory

	MinDeadline = time.Millisecond
	MaxDeadline = time.Hour

	MinTurns = 2
	MaxTurns = 100

	MinCalls = 1
	MaxCalls = 1000

	MinToolTime = time.Second
	MaxToolTime = time.Hour // as long as Envoy can be made to wait: max_message_timeout

	MinResultBytes = 1 << 10
	MaxResultBytes = 16 << 20

	MinDefinitionBytes = 1 << 10
	MaxDefinitionBytes = 16 << 20

	MinMemory = time.Millisecond
	MaxMemory = 30 * 24 * time.Hour

	MinMemoryBytes = 1 << 20
	MaxMemoryBytes = 64 << 30
)

// Defaults returns a Pool of which every field has its default that has one, with the Tools that it would have.
func Defaults() Pool {
	return Pool{
		Deadline: 30 * time.Second, MaxBody: 32 << 20,
		Tools: &Tools{When: ToolsAlways, Turns: 10, Calls: 50, Time: 10 * time.Minute, ResultBytes: 1 << 20, DefinitionBytes: 256 << 10, Memory: time.Hour, MemoryBytes: 64 << 20},
	}
}

// Validate returns what is wrong with the settings of p, every fault by the path of its field in a configuration file.
func (p Pool) Validate() error {
	_, err := p.complete()
	return err
}

// complete checks the settings of p and fills in what they leave open.
func (p Pool) complete() (Pool, error) {
	d := Defaults()
	orElse(&p.Deadline, d.Deadline)
	orElse(&p.MaxBody, d.MaxBody)
	var found setting.Problems
	if p.Cluster == "" {
		found.Add("clusters", "found no name; write the one of the provider's cluster, such as clusters: [openai]")
	}
	if why := badCredentialHeader(p.Header); why != "" {
		found.Add("credential.header", "%s; write the name of a header such as authorization", why)
	}
	for i, path := range p.Paths {
		if why := badPath(path); why != "" {
			found.Add(setting.Item("paths", i), "%q %s", path, why)
		}
	}
	setting.Range(&found, "max_body", p.MaxBody, MinBody, MaxBody, setting.Bytes)
	setting.Range(&found, "deadline", p.Deadline, MinDeadline, MaxDeadline, setting.Duration)
	found.AddWithin("fallback", p.Fallback.complete())
	if p.Tools != nil {
		t, faults := p.Tools.complete(*d.Tools)
		p.Tools = &t
		found.AddWithin("tools", faults)
	}
	return p, found.Err()
}

func (t Tools) complete(d Tools) (Tools, setting.Problems) {
	orElse(&t.When, d.When)
	orElse(&t.Turns, d.Turns)
	orElse(&t.Calls, d.Calls)
	orElse(&t.Time, d.Time)
	orElse(&t.ResultBytes, d.ResultBytes)
	orElse(&t.DefinitionBytes, d.DefinitionBytes)
	orElse(&t.Memory, d.Memory)
	orElse(&t.MemoryBytes, d.MemoryBytes)
	var found setting.Problems
	if len(t.Servers) == 0 {
		found.Add("servers", "found no server; write at least 1, such as [docs]")
	}
	for j, name := range t.Servers {
		if i := slices.Index(t.Servers[:j], name); i >= 0 {
			found.Add(setting.Item("servers", j), "%s is named twice, first by servers[%d]; remove one", name, i).Beside = setting.Item("servers", i)
		}
	}
	if whens := []string{ToolsAlways, ToolsBesideClients, ToolsByHeader}; !slices.Contains(whens, t.When) {
		found.Add("when", "found %q; write one of %s", t.When, strings.Join(whens, ", "))
	}
	if _, known := countings[t.Usage]; !known {
		found.Add("usage", "found %q; write sum or last", t.Usage)
	}
	setting.Range(&found, "turns", t.Turns, MinTurns, MaxTurns, strconv.Itoa)
	setting.Range(&found, "calls", t.Calls, MinCalls, MaxCalls, strconv.Itoa)
	setting.Range(&found, "time", t.Time, MinToolTime, MaxToolTime, setting.Duration)
	setting.Range(&found, "result_bytes", t.ResultBytes, MinResultBytes, MaxResultBytes, setting.Bytes)
	setting.Range(&found, "definition_bytes", t.DefinitionBytes, MinDefinitionBytes, MaxDefinitionBytes, setting.Bytes)
	if t.Memory > 0 {
		setting.Range(&found, "memory", t.Memory, MinMemory, MaxMemory, setting.Duration)
	}
	setting.Range(&found, "memory_bytes", t.MemoryBytes, MinMemoryBytes, MaxMemoryBytes, setting.Bytes)
	return t, found
}

func orElse[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

// HeaderPattern is what the name of a header is (token, RFC 9110 section 5.6.2), within what is sensible.
const HeaderPattern = "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$"

var headerName = regexp.MustCompile(HeaderPattern)

// taken are patterns of the headers that no credential may take the place of: Envoy, HTTP or Keyturn use them.
var taken = []string{
	"host", "content-length", "content-type", "transfer-encoding", "connection", "te", "upgrade", wire.HeaderPrefix + "*", wire.EnvoyPrefix + "*",
}

// badCredentialHeader says what is wrong with a header's name; "": nothing. It repeats it only if it is one of taken.
func badCredentialHeader(name string) string {
	switch {
	case !headerName.MatchString(name):
		return "the text here does not fit"
	case slices.ContainsFunc(taken, func(glob string) bool { ok, _ := path.Match(glob, strings.ToLower(name)); return ok }):
		return "found " + strconv.Quote(name) + ", which has another use"
	case name != strings.ToLower(name):
		return "the name is not in lower case"
	}
	return ""
}

// missing is what is no setting, and without which there is no pool.
func (p *Pool) missing() error {
	switch {
	case p.Keys == nil && p.Name == "":
		return errors.New("no keys, and no name for a pool without")
	case p.name() == "": // a front that names none would mean it
		return errors.New("no name")
	}
	return nil
}

// name is the pool's.
func (p *Pool) name() string {
	if p.Keys != nil {
		return p.Keys.Name()
	}
	return p.Name
}
