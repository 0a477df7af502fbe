package keypool_test

// header is a set of response headers, names in lower case.
type header map[string]string

func (h header) get(name string) string { return h[name] }
