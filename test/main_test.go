// Package test runs the built keyturn behind a real Envoy, with real SDKs as clients and a scripted provider.
package test

import (
	"os"
	"testing"

	"github.com/keyturn/keyturn/test/gateway"
)

func TestMain(m *testing.M) { os.Exit(gateway.Main(m)) }
