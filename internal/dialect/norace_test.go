//go:build !race

package dialect_test

const race = false
