// Package config turns keyturn.yaml into a checked Config: strict, with every problem of a file reported at once, and with keys taken by
// reference only.
//
// One tree of shapes (fields.go) says which fields there are, what they hold, and what they are for. Reading, the JSON schema and the
// reference table of docs/configuration.md all come from it, so that they cannot differ. A field is read by its shape; what needs several fields
// is checked after them (whole.go).
//
// A problem is "FILE:LINE: path: what was found; what to write instead". It never repeats what could be a secret: a key that was put
// where its name belongs would otherwise end in a log.
//
// Relative paths in the file, those of sockets too, begin at the folder of the file. They are joined to it, not made absolute: what is
// rendered from a file is the same on every machine.
package config
