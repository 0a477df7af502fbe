package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"github.com/keyturn/keyturn/internal/setting"
)

// open reads a whole file, which becomes one of those that a watcher looks at, readable or not. trouble says why it cannot be read:
// what was found; what to write instead.
func (r *reader) open(full string, maxBytes int64) (data []byte, mode fs.FileMode, trouble string) {
	if !slices.Contains(r.files, full) {
		r.files = append(r.files, full)
	}
	data, mode, trouble = readFile(full, maxBytes)
	fmt.Fprintf(r.sum, "%q %v %q %d\n", full, mode, trouble, len(data))
	r.sum.Write(data)
	return data, mode, trouble
}

func readFile(full string, maxBytes int64) (data []byte, mode fs.FileMode, trouble string) {
	info, err := os.Stat(full) // before opening: opening a pipe would wait for its writer
	switch {
	case err != nil:
		return nil, 0, cannotRead(err)
	case info.IsDir():
		return nil, 0, "is a folder; name a file in it"
	case !info.Mode().IsRegular():
		return nil, 0, "is not a regular file; name one"
	}
	f, err := os.Open(full)
	if err != nil {
		return nil, 0, cannotRead(err)
	}
	defer f.Close()
	data, err = io.ReadAll(io.LimitReader(f, maxBytes+1))
	switch {
	case err != nil:
		return nil, 0, cannotRead(err)
	case int64(len(data)) > maxBytes:
		return nil, 0, "is larger than " + setting.Bytes(maxBytes) + "; make it smaller, or name another"
	}
	return data, info.Mode().Perm(), ""
}

// cannotRead never repeats the path, which the caller shows when it may be shown.
func cannotRead(err error) string {
	var errno syscall.Errno
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist; create it, or name another"
	case errors.Is(err, fs.ErrPermission):
		return "must not be read by this user; change its owner or its mode, or name another"
	case errors.As(err, &errno):
		return "cannot be read (" + errno.Error() + "); name another"
	}
	return "cannot be read; name another"
}

// secretFile reads a file that holds secrets, as written at path, and warns when everybody can.
func (r *reader) secretFile(path, written string, maxBytes int64) ([]byte, bool) {
	full := r.in(written)
	data, mode, trouble := r.open(full, maxBytes)
	if trouble != "" {
		if looksSecret(written) {
			trouble += " (" + itselfAKey + ")"
		}
		r.refuse(path, "%s %s", shownPath(written, full), trouble)
		return nil, false
	}
	const everybody = 0o004
	if mode&everybody != 0 {
		r.warn(path, "every user of this machine can read %s (mode %04o); set mode 0600, or defaultMode: 0400 of the Kubernetes volume", full, mode)
	}
	return data, true
}
