// Package config turns keyturn.yaml into a checked Config: strict, with every problem of a file reported at once, and with keys taken by
// reference only.
package config
