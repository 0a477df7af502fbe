//go:build slow

package slowclients_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/keyturn/keyturn/test/gateway"
)

// atOnce is how many cells are tried at the same time. They wait more than they compute.
const atOnce = "64"

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", atOnce); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(gateway.Main(m))
}
