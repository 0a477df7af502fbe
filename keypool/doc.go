// Package keypool chooses which API key serves the next request and learns from each answer which keys to rest.
package keypool
