package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/internal/config"
)

// told is what the Envoy of this process was told: its bootstrap, and the files in which it reads routes and clusters, again whenever one is
// replaced.
type told struct {
	folder    string
	bootstrap []byte
	files     map[string][]byte // as they were written last
	cfg       *config.Config    // told last
}

// newTold keeps the files in a folder; "": beside Keyturn's sockets.
func newTold(folder string, cfg *config.Config) (*told, error) {
	if folder == "" {
		path, _ := socketPath(cfg.Envoy.Loopback)
		folder = filepath.Dir(path)
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("run folder: %w", err)
	}
	folder, err := filepath.Abs(folder)
	return &told{files: map[string][]byte{}, folder: folder, cfg: cfg}, err
}

// close removes the files.
func (t *told) close() {
	for name := range t.files {
		_ = os.Remove(filepath.Join(t.folder, name))
	}
}

// tell writes the files for a configuration, and returns the bootstrap that names them.
func (t *told) tell(own envoy.Config) ([]byte, error) {
	b, err := envoy.Render(own)
	if err != nil {
		return nil, err
	}
	d, err := envoy.Split(b, t.folder)
	if err != nil {
		return nil, err
	}
	bootstrap, err := envoy.Marshal(d.Bootstrap)
	if err != nil {
		return nil, err
	}
	if t.bootstrap == nil {
		t.bootstrap = bootstrap
	}
	for _, f := range d.Files {
		err = errors.Join(err, t.write(f.Name, f.Data))
	}
	return bootstrap, err
}

// write moves a file to its place, which is when Envoy reads it.
func (t *told) write(name string, data []byte) error {
	if had, ok := t.files[name]; ok && bytes.Equal(had, data) {
		return nil
	}
	path := filepath.Join(t.folder, name)
	_ = os.Remove(path + ".new") // made anew: its mode and owner are ours
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	t.files[name] = data
	return nil
}

// change tells Envoy of the next configuration. It returns what Envoy can only be told when it starts.
func (t *told) change(next *config.Config, version, showAdmin string, log *slog.Logger) (later []string) {
	own, show := runEnvoy(next, version)
	bootstrap, err := t.tell(own)
	switch {
	case err != nil:
		return []string{"envoy: " + err.Error()}
	case show != showAdmin || !bytes.Equal(bootstrap, t.bootstrap):
		later = append(later, "envoy, whose listeners change (envoy.*, the first pool with tools, upstream_proxy, byok, another credential header)")
	}
	tellPools(log, next, t.cfg)
	t.cfg = next
	return later
}
