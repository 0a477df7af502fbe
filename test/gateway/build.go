package gateway

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/keyturn/keyturn/envoy/process"
)

// parallel is go test's own flag.
const parallel = "test.parallel"

// detect has keyturn built with the race detector where the tests themselves are not: what they add, clients and a provider, is not under test.
var detect = flag.Bool("detect", false, "build keyturn with the race detector")

// tools are the programs under test, made once for a test binary.
type tools struct {
	keyturn string
	envoy   process.Binary
}

var prepare = sync.OnceValues(func() (tools, error) {
	root, err := moduleRoot()
	if err != nil {
		return tools{}, err
	}
	bin, err := process.Find(context.Background(), process.Search{Cache: filepath.Join(root, ".cache")})
	if err != nil {
		return tools{}, err
	}
	dir, err := os.MkdirTemp("", "keyturn-test-")
	if err != nil {
		return tools{}, err
	}
	path := filepath.Join(dir, "keyturn")
	args := []string{"build", "-o", path}
	if race || *detect {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "./cmd/keyturn")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return tools{}, fmt.Errorf("build keyturn: %w\n%s", err, out)
	}
	return tools{keyturn: path, envoy: bin}, nil
})

func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no go.mod above the working folder")
		}
		dir = parent
	}
}

// Main runs the tests of a package that starts gateways, and takes the built programs away after them. atOnce is how many of its parallel tests
// run at the same time where -parallel does not say: they wait more than they compute. Call it from TestMain.
func Main(m *testing.M, atOnce int) int {
	flag.Parse()
	told := false
	flag.Visit(func(f *flag.Flag) { told = told || f.Name == parallel })
	if !told {
		if err := flag.Set(parallel, strconv.Itoa(atOnce)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	defer func() {
		if t, err := prepare(); err == nil {
			os.RemoveAll(filepath.Dir(t.keyturn))
		}
	}()
	return m.Run()
}

// Keyturn is the path of the built command.
func Keyturn(t testing.TB) string {
	t.Helper()
	made, err := prepare()
	if err != nil {
		t.Fatal(err)
	}
	return made.keyturn
}

// Envoy is the Envoy that the tests run against.
func Envoy(t testing.TB) process.Binary {
	t.Helper()
	made, err := prepare()
	if err != nil {
		t.Fatal(err)
	}
	return made.envoy
}
