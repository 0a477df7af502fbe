package address

// MaxSocketPath is the longest path of a Unix socket, in bytes: sun_path holds 108 with its final zero, unix(7).
const MaxSocketPath = 107
