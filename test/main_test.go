// Package test runs the built keyturn behind a real Envoy, with real SDKs as clients and a scripted provider.
package test

import (
	"fmt"
	"os"
	"testing"

	"github.com/keyturn/keyturn/test/gateway"
)

// atOnce is how many tests run at the same time.
const atOnce = 6

func TestMain(m *testing.M) {
	if socket := os.Getenv(noopEnv); socket != "" {
		if err := serveNoop(socket); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(gateway.Main(m, atOnce))
}
