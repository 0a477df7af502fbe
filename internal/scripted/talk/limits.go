package talk

import (
	"regexp"
)

// What providers take at the most, and how tools may be named. The number of tools, and the length of ids, is OpenAI's alone.
const (
	MaxTools    = 128
	MaxNameLen  = 64
	NamePattern = `^[a-zA-Z0-9_-]+$`
	MaxIDLen    = 64
)

// NameRule is NamePattern.
var NameRule = regexp.MustCompile(NamePattern)

// TooLong is OpenAI's error for a string that is too long.
func TooLong(param string, most int, value string) *Problem {
	return Invalid(param, "string_above_max_length",
		"Invalid '%s': string too long. Expected a string with maximum length %d, but got a string with length %d instead.",
		param, most, len(value))
}
