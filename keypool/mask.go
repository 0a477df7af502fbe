package keypool

// Mask returns the hint of a secret, for records and logs: its first and last 4, 2 or 1 characters, by its length, around "...". Of fewer
// than 5 characters nothing is shown; of "" the hint is "".
func Mask(secret string) string {
	if secret == "" {
		return ""
	}
	runes := []rune(secret)
	show := 0
	switch n := len(runes); {
	case n >= 20:
		show = 4
	case n >= 10:
		show = 2
	case n >= 5:
		show = 1
	}
	return string(runes[:show]) + "..." + string(runes[len(runes)-show:])
}
