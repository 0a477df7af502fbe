// Package keypool chooses which API key serves the next request and learns from each answer which keys to rest.
//
// A Pool holds the keys of one provider in order of priority. Each attempt takes a Walker and asks it for the next key; Classify judges the
// answer, and Mark applies the verdict. A key is Valid; Temporary, when it rests until a deadline; Permanent, when the provider refused it; or
// Disabled by an operator. A Permanent key is tried again by one real request at a time, after a wait that doubles with each failure, and so is
// a group of keys that ran out of credit: a pool heals by itself, and pays for no probes. Where all keys fail alike within moments, the way to the
// provider is at fault: the wait does not double, and the first success brings all of them back.
//
// A key is blamed on positive evidence only. What providers say stands in one table, with the source of each row; words.go.
//
// The package does no input or output. It reads the time from the clock it is given, and starts no goroutines and no timers.
package keypool
