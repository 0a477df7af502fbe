package config

import (
	"log/slog"
	"time"

	"github.com/keyturn/keyturn/keypool"
)

const mebibyte = 1 << 20

// defaults is every value that a file need not give, but for those of its pools. Socket paths are relative to the folder of the file.
var defaults = Config{
	Listen: "unix:run/extproc.sock",
	Admin:  Admin{Listen: "127.0.0.1:9420"},
	Log:    Log{Level: slog.LevelInfo, Format: "auto"},
	Envoy: Envoy{
		Listen:          "127.0.0.1:10000",
		Admin:           "127.0.0.1:9901",
		Loopback:        "unix:run/loopback.sock",
		Inner:           "internal",
		Attach:          "listener",
		MaxRequestBytes: 32 * mebibyte,
		IdleTimeout:     5 * time.Minute,
		AccessLog:       "stdout",
	},
}

// defaultPool is every value that a pool need not give, but for those that its provider decides.
var defaultPool = Pool{
	Cooldown:    keypool.Defaults().Cooldown,
	ReviveAfter: keypool.Defaults().ReviveAfter,
	Deadline:    30 * time.Second,
	MaxBody:     32 * mebibyte,
}

// defaultPoolTools is every value that a pool's tools need not give.
var defaultPoolTools = PoolTools{
	Present:     "mcp_call",
	Turns:       10,
	Calls:       50,
	Time:        10 * time.Minute,
	ResultBytes: mebibyte,

	DefinitionBytes: 256 << 10,

	Memory:      time.Hour,
	MemoryBytes: 64 * mebibyte,
}

// defaultToolServer is every value that an MCP server need not give.
var defaultToolServer = ToolServer{
	Allow:    []string{"*"},
	MaxTools: 128,
	Timeout:  time.Minute,
	Refresh:  5 * time.Minute,
}
