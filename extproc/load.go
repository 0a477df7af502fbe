package extproc

// Load is how much a Server has to do at this moment.
type Load struct {
	Streams    int64 // ext_proc streams that are open
	Memory     int64 // bytes that bodies in work have been given of MemoryMost
	MemoryMost int64 // bytes
}

// Load returns what s has to do now.
func (s *Server) Load() Load {
	b := s.budget
	return Load{s.metrics.open.Load(), b.small.taken.Load() + b.large.taken.Load(), b.small.limit + b.large.limit}
}
