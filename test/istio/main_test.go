// Package istio runs what `keyturn render istio` prints in a mesh: the discovery server of Istio's own control plane serves it to
// a real Envoy, with the built keyturn beside it and a scripted provider behind. It is a module of its own, since Istio's control
// plane is large.
package istio

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"istio.io/istio/pilot/pkg/features"
	"istio.io/istio/pkg/log"

	"github.com/keyturn/keyturn/envoy/process"
)

// What the tests' second process, in its own namespaces, is told by the first.
const (
	keyturnEnv = "KEYTURN_TEST_KEYTURN" // the built command
	envoyEnv   = "KEYTURN_TEST_ENVOY"   // the Envoy to run
	folderEnv  = "KEYTURN_TEST_FOLDER"  // where files go; its path is short, for the sockets' sake
)

// programs are under test.
type programs struct {
	keyturn string
	envoy   process.Binary
}

// made is set by TestMain.
var made programs

// TestMain prepares the programs, which may need the network, and runs the tests in a second process that has a network and a
// file system of its own: there the provider's host names lead to this machine, ports are free, and packets can be redirected
// as Istio redirects those of a pod.
func TestMain(m *testing.M) {
	if os.Getenv(folderEnv) == "" {
		code, err := outside()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		os.Exit(code)
	}
	if err := inside(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// What the control plane logs would bury what the tests say.
	options := log.DefaultOptions()
	options.OutputPaths = []string{filepath.Join(os.Getenv(folderEnv), "istiod.log")}
	if err := log.Configure(options); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// istio-proxy has extensions that Envoy has not: https://github.com/istio/proxy
	features.ALPNFilter, features.MetadataExchange = false, false
	os.Exit(m.Run())
}

// outside runs the tests and returns their exit code.
func outside() (int, error) {
	dir, err := os.MkdirTemp("", "kti")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	root := filepath.Join("..", "..")
	bin, err := process.Find(context.Background(), process.Search{Cache: filepath.Join(root, ".cache")})
	if err != nil {
		return 0, err
	}
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "keyturn"), "./cmd/keyturn")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("build keyturn: %w\n%s", err, out)
	}
	return again(
		keyturnEnv+"="+filepath.Join(dir, "keyturn"), envoyEnv+"="+bin.Path, folderEnv+"="+dir)
}

// inside prepares this process for the tests.
func inside() error {
	made.keyturn = os.Getenv(keyturnEnv)
	var err error
	if made.envoy, err = process.Find(context.Background(), process.Search{Path: os.Getenv(envoyEnv)}); err != nil {
		return err
	}
	if err := setUpNamespace(os.Getenv(folderEnv), hosts()); err != nil {
		return fmt.Errorf("prepare the namespaces: %w", err)
	}
	return nil
}

// hosts are the names that lead to this machine.
func hosts() []string {
	all := []string{"localhost", plainHost}
	for _, p := range pools {
		all = append(all, p.host())
	}
	return all
}

// hostsFile names all of them 127.0.0.1.
func hostsFile(names []string) string { return "127.0.0.1 " + strings.Join(names, " ") + "\n" }
