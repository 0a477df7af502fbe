// Package test runs the built keyturn behind a real Envoy, with real SDKs as clients and a scripted provider.
package test

import (
	"fmt"
	"os"
	"testing"

	"github.com/keyturn/keyturn/test/gateway"
)

func TestMain(m *testing.M) {
	if socket := os.Getenv(noopEnv); socket != "" {
		if err := serveNoop(socket); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(gateway.Main(m))
}
