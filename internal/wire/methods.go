package wire

// Methods are those of HTTP that a provider's API may have. Others reach none: what answers TRACE repeats the request, the pool's key
// included (RFC 9110 section 9.3.8), and CONNECT asks for a tunnel.
var Methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
