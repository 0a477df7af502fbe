//go:build slow

package slowclients_test

import (
	"os"
	"testing"

	"github.com/keyturn/keyturn/test/gateway"
)

// atOnce is how many cells are tried at the same time. They wait more than they compute.
const atOnce = 64

func TestMain(m *testing.M) {
	os.Exit(gateway.Main(m, atOnce))
}
