//go:build race

package dialect_test

// race says that the tests run under the race detector, ten times as slow. This package starts no goroutines, so what the detector can
// find here shows with a few inputs; make test runs all of them without it.
const race = true
