package rawjson

// work, where there is one, counts the bytes that are looked at.
var work *int

// looked says that n bytes more were looked at.
func looked(n int) {
	if work != nil {
		*work += n
	}
}

// CountWork runs f and returns how many bytes of JSON it has looked at, each as often as it was. It is for tests that hold the work
// on a body to the body's size, one at a time.
func CountWork(f func()) int {
	n := 0
	work = &n
	defer func() { work = nil }()
	f()
	return n
}
