package config

import (
	"log/slog"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/extproc"
	"github.com/keyturn/keyturn/internal/record"
	"github.com/keyturn/keyturn/keypool"
	"github.com/keyturn/keyturn/mcp"
)

// DefaultEnvoyAdmin is where Envoy's admin interface is: a socket for its own user alone, since it asks nobody for a password.
const DefaultEnvoyAdmin = "unix:run/envoy-admin.sock"

// defaults is every value that a file need not give, but for those of its pools. Socket paths are relative to the folder of the file.
var defaults = Config{
	Listen: "unix:run/extproc.sock",
	Admin:  Admin{Listen: "127.0.0.1:9420"},
	Log:    Log{Level: slog.LevelInfo, Format: "auto"},
	Record: Record{Usage: UsageRead, Settings: record.Settings{Retain: record.DefaultRetention, Content: record.ContentSettings{Retain: record.DefaultContentRetention}}},
	Envoy: Envoy{
		Listen:          "127.0.0.1:10000",
		Admin:           DefaultEnvoyAdmin,
		Clients:         Clients{CheckedBy: "keyturn"},
		Loopback:        "unix:run/loopback.sock",
		Inner:           "internal",
		Attach:          "listener",
		MaxRequestBytes: envoy.DefaultBodyBytes,
		IdleTimeout:     envoy.DefaultIdleTimeout,
		AccessLog:       "stdout",
	},
}

// defaultPool is every value that a pool need not give, but for those that its provider decides.
var defaultPool = Pool{
	Choose:      Choose{Choose: keypool.Defaults().Choose},
	Cooldown:    keypool.Defaults().Cooldown,
	ReviveAfter: keypool.Defaults().ReviveAfter,
	Deadline:    extproc.Defaults().Deadline,
	MaxBody:     extproc.Defaults().MaxBody,
	KeepAlive:   envoy.DefaultKeepAlive,
}

// defaultToolServer is every value that an MCP server need not give.
var defaultToolServer = ToolServer{
	Allow:    []string{"*"},
	MaxTools: mcp.DefaultMaxTools,
	Timeout:  mcp.DefaultTimeout,
	Refresh:  mcp.DefaultRefresh,
}
