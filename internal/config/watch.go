package config

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/coder/quartz"
	"github.com/fsnotify/fsnotify"
)

// settle is how long a change is left alone before it is read: an editor or a volume's update makes several events of one change.
const settle = 200 * time.Millisecond

// Watch calls apply, in its own goroutine, with every later good configuration of the file that c was loaded from, until ctx ends; then
// it returns nil. It looks at every file that was read, at the links that lead to it, and at the folders of those, so that it sees
// files written anew, renamed over, removed and back, and Kubernetes' exchange of a volume's "..data" link. A change between Load and
// Watch is seen too. A broken file changes nothing: its problems are logged once each. The environment cannot change and is not watched.
//
// The error says that the system does not let it watch; then a signal is the way to reload.
func Watch(ctx context.Context, c *Config, log *slog.Logger, apply func(*Config)) error {
	w := watcher{path: c.Path, seen: c.sum, log: log, apply: apply, clock: quartz.NewReal()}
	return w.run(ctx, c.files)
}

// watcher is for one goroutine.
type watcher struct {
	path  string
	seen  digest // of what was read last, good or not
	log   *slog.Logger
	apply func(*Config)
	clock quartz.Clock

	fs      *fsnotify.Watcher
	names   map[string]bool // every file or link whose change matters, as fsnotify names it
	folders map[string]bool // that are watched
}

func (w *watcher) run(ctx context.Context, files []string) error {
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w", w.path, err)
	}
	defer fs.Close()
	w.fs, w.folders = fs, map[string]bool{}
	if err := w.reload(files); err != nil {
		return err
	}
	var due <-chan time.Time // nil: nothing has changed
	for {
		changed := false
		select {
		case <-ctx.Done():
			return nil
		case e := <-fs.Events:
			changed = w.concerns(e)
		case <-fs.Errors: // events were lost: as good as one
			changed = true
		case <-due:
			due = nil
			if err := w.reload(nil); err != nil { // the next event tries again
				w.log.Error("not every file of the configuration is watched", slog.Any("error", err))
			}
		}
		if changed && due == nil {
			due = w.clock.NewTimer(settle, "settle").C
		}
	}
}

// concerns says whether an event is about a file that matters, or about a watched folder itself.
func (w *watcher) concerns(e fsnotify.Event) bool {
	return w.names[e.Name] || w.folders[e.Name]
}

// reload arms the watches and reads the files, until a reading adds nothing: what changes before its folder is watched makes no event.
// files are those of the reading before; nil: the first thing to do is to read.
func (w *watcher) reload(files []string) error {
	for {
		if files != nil {
			added, err := w.arm(files)
			if err != nil || !added {
				return err
			}
		}
		c, r := load(w.path)
		files = r.files
		var sum digest
		r.sum.Sum(sum[:0])
		if sum == w.seen {
			continue
		}
		w.seen = sum
		if c != nil {
			w.apply(c)
			continue
		}
		for _, p := range inOrder(r.problems) {
			w.log.Error("configuration refused, the old one stays", slog.String("problem", p.Error()))
		}
	}
}

// arm watches the folders that files need, and no others. It says whether there are new ones.
func (w *watcher) arm(files []string) (added bool, err error) {
	w.names = map[string]bool{}
	need := map[string]bool{}
	for _, f := range files {
		for _, name := range trail(f) {
			w.names[name] = true
			need[filepath.Dir(name)] = true
		}
	}
	watched := map[string]bool{}
	for _, folder := range w.fs.WatchList() { // a folder that was removed is no longer in it
		watched[folder] = true
	}
	for folder := range watched {
		if !need[folder] {
			_ = w.fs.Remove(folder) // gone already is as good
		}
	}
	w.folders = need
	for folder := range need {
		if watched[folder] {
			continue
		}
		switch err := w.fs.Add(folder); {
		case errors.Is(err, os.ErrNotExist):
			// removed since trail saw it: the folder above, once it is watched, tells when it is back
		case err != nil:
			return false, fmt.Errorf("watch %s: %w", folder, err)
		}
		added = true
	}
	return added, nil
}

// trail returns the paths whose change can change what path reads: each link on the way, and the file at the end. Where the way breaks
// off, the last is the name that is missing.
func trail(path string) []string {
	const maxLinks = 40 // as the system allows
	abs, err := filepath.Abs(path)
	if err != nil {
		return []string{path}
	}
	var names []string
	at, rest := "/", strings.Split(strings.TrimPrefix(abs, "/"), "/")
	for links := 0; len(rest) > 0; {
		name := filepath.Join(at, rest[0])
		rest = rest[1:]
		info, err := os.Lstat(name)
		switch {
		case err != nil:
			return append(names, name)
		case info.Mode()&os.ModeSymlink == 0:
			if len(rest) == 0 {
				return append(names, name)
			}
			at = name
			continue
		}
		names = append(names, name)
		target, err := os.Readlink(name)
		if links++; err != nil || links > maxLinks {
			return names
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(strings.Trim(filepath.Clean(target), "/"), "/"), rest...)
	}
	return names
}
