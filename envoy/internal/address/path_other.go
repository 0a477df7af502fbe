//go:build !linux

package address

// MaxSocketPath is the longest path of a Unix socket, in bytes: sun_path of the BSDs and macOS holds 104 with its
// final zero.
const MaxSocketPath = 103
