package ledger

import (
	"regexp"

	"github.com/keyturn/keyturn/internal/record"
	"github.com/keyturn/keyturn/internal/redact"
)

// SetSecrets says what no record may show: the values of every secret that the configuration names. Records that are made from now on have
// asterisks in their place.
func (l *Ledger) SetSecrets(secrets []string) { l.secrets.Store(redact.New(secrets)) }

// looksSecret finds what is most likely a credential, though nobody here knows it: a client's own, which it has written into the wrong place.
var looksSecret = regexp.MustCompile(`(?i)\b(?:sk-|sk_|pk-|gsk_|xai-|ek_|kt-|rk_|ghp_|github_pat_|AIza|eyJ)[a-z0-9._~+/=-]{12,}|\b(?:bearer|basic)(?: |%20|\+)+[a-z0-9._~+/=-]{8,}|\b(?:[a-z0-9_-]*(?:key|token|secret|password|sig|code))(?:=|%3d)[^&;\s]+`)

// blank takes credentials out of all in a record that somebody else has written.
func (l *Ledger) blank(t *record.Turn) {
	secrets := l.secrets.Load()
	texts := []*string{&t.Method, &t.Path, &t.UserAgent, &t.Session, &t.Client, &t.Asked, &t.Answered}
	for i := range t.Attempts {
		texts = append(texts, &t.Attempts[i].Model)
	}
	for i := range t.Calls {
		texts = append(texts, &t.Calls[i].ID, &t.Calls[i].Server, &t.Calls[i].Tool)
	}
	for _, text := range texts {
		if secrets.In([]byte(*text)) {
			b := []byte(*text)
			secrets.Blank(b)
			*text = string(b)
		}
		if looksSecret.MatchString(*text) {
			*text = looksSecret.ReplaceAllString(*text, "***")
		}
	}
}
