package record

import (
	"cmp"
	"net/url"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/setting"
)

// Bounds of Settings, both ends included.
const (
	MinRetention = time.Hour
	MaxRetention = 3650 * 24 * time.Hour

	MinRetainedBytes = 64 << 20
	MaxRetainedBytes = 1 << 50
)

// Settings say what is recorded and where it is kept. The memory is always there; at most one of SQLite and Postgres beside it.
type Settings struct {
	SQLite   string // the folder; "": none
	Postgres Postgres
	Retain   Retention // of turns
	Content  ContentSettings
	// Required has the start of every request committed before it leaves for its provider.
	Required bool
	Prices   []PriceRule
}

// Postgres is where a PostgreSQL is.
type Postgres struct {
	URL string // postgres://…, a secret; "": none
}

// ContentSettings say what is kept of what is said, for the pools that ask for it.
type ContentSettings struct {
	Prompts, Answers, Tools bool
	Retain                  Retention
}

// Retention is how long something is kept.
type Retention struct {
	For   time.Duration // 0: the default
	Bytes int64         // on the disk; SQLite only; 0: the default
}

// The defaults of Settings.
var (
	DefaultRetention        = Retention{For: 30 * 24 * time.Hour, Bytes: 4 << 30}
	DefaultContentRetention = Retention{For: 7 * 24 * time.Hour, Bytes: 4 << 30}
)

// Validate returns what is wrong with s, every fault by the path of its field in a configuration file. It repeats no secret.
func (s Settings) Validate() error {
	_, err := s.Complete()
	return err
}

// Complete checks s and fills in what it leaves open.
func (s Settings) Complete() (Settings, error) {
	var found setting.Problems
	s.Retain = s.Retain.complete(&found, "retain", DefaultRetention)
	s.Content.Retain = s.Content.Retain.complete(&found, "content.retain", DefaultContentRetention)
	if s.Postgres.URL != "" {
		u, err := url.Parse(s.Postgres.URL)
		if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
			found.Add("postgres.url", "what it refers to is no URL of a PostgreSQL; write one such as postgres://user:password@host:5432/keyturn")
		}
		if s.SQLite != "" {
			found.Add("postgres", "records go to one store, and sqlite names another; remove one").Beside = "sqlite"
		}
	}
	if strings.ContainsRune(s.SQLite, 0) {
		found.Add("sqlite", "found a path with a NUL in it; write the path of a folder")
	}
	if s.Required && s.SQLite == "" && s.Postgres.URL == "" {
		found.Add("required", "found true, and what is kept in memory alone is lost with the process; name a folder in sqlite, or a PostgreSQL")
	}
	for i := range s.Prices {
		found.AddWithin(setting.Item("prices", i), s.Prices[i].problems())
	}
	return s, found.Err()
}

func (r Retention) complete(found *setting.Problems, path string, d Retention) Retention {
	r.For, r.Bytes = cmp.Or(r.For, d.For), cmp.Or(r.Bytes, d.Bytes)
	setting.Range(found, setting.Within(path, "for"), r.For, MinRetention, MaxRetention, setting.Duration)
	setting.Range(found, setting.Within(path, "bytes"), r.Bytes, MinRetainedBytes, MaxRetainedBytes, setting.Bytes)
	return r
}
