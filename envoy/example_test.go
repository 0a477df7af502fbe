package envoy_test

import (
	"fmt"
	"log"
	"net/url"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/check"
)

// A configuration for one pool of two keys, and what is said about it after somebody changed it.
func Example() {
	b, err := envoy.Render(envoy.Config{
		Listen: "127.0.0.1:10000", Processor: "unix:run/extproc.sock",
		Pools: []envoy.Pool{{Name: "local", Upstream: &url.URL{Scheme: "http", Host: "127.0.0.1:11434"}, Keys: 2}},
	})
	if err != nil {
		log.Fatal(err)
	}
	b.StaticResources.Clusters[1].CircuitBreakers.Thresholds[0].MaxRetries = nil

	doc, err := envoy.Marshal(b)
	if err != nil {
		log.Fatal(err)
	}
	findings, err := check.Envoy(doc, check.Want{})
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range findings {
		fmt.Println(f)
	}
	// Output:
	// crashes: cluster keyturn-inner: cluster.circuit_breakers.max_retries is not set, want 1000 or more: Envoy's default is 3 at once: a retry that it refuses is the provider's 429. Set cluster.circuit_breakers.max_retries to 1000 or more.
}
