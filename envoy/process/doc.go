// Package process finds an Envoy, or installs one, and runs it.
package process
