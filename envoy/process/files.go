package process

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// What a folder of a run holds.
const (
	configFile = "envoy.yaml"
	adminFile  = "envoy.admin"
	lockFile   = "lock" // of a temporary one: held while the run lasts, however it ends
)

// temporaryFolders is the pattern of the temporary ones' names.
const temporaryFolders = "keyturn-envoy-*"

// files is what a run writes to disk.
type files struct {
	config, admin string   // absolute paths
	lock          *os.File // in a folder that is ours; nil: it is not
}

// writeFiles writes the configuration for its owner's eyes only, and clears what earlier runs left.
func writeFiles(folder string, bootstrap []byte) (f files, err error) {
	if folder == "" {
		removeStale()
		folder, f.lock, err = makeTemporary()
	} else if folder, err = filepath.Abs(folder); err == nil {
		err = os.MkdirAll(folder, 0o700)
	}
	if err != nil {
		return files{}, err
	}
	f.config, f.admin = filepath.Join(folder, configFile), filepath.Join(folder, adminFile)
	_ = os.Remove(f.config) // made anew: its mode and owner are ours
	_ = os.Remove(f.admin)  // else Ready would ask the Envoy of an earlier run
	out, err := os.OpenFile(f.config, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = out.Write(bootstrap)
		err = errors.Join(err, out.Close())
	}
	if err != nil {
		f.remove()
		return files{}, err
	}
	return f, nil
}

// makeTemporary makes a folder whose lock is ours.
func makeTemporary() (folder string, lock *os.File, err error) {
	for range 10 { // one that looks for what was left may have the lock for a moment
		if folder, err = os.MkdirTemp("", temporaryFolders); err != nil {
			return "", nil, err
		}
		if lock, err = os.OpenFile(filepath.Join(folder, lockFile), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600); err != nil {
			return "", nil, errors.Join(err, os.Remove(folder))
		}
		if held, _ := tryLock(lock); held {
			return folder, lock, nil
		}
		_ = lock.Close()
	}
	return "", nil, errors.New("no temporary folder can be locked")
}

// removeStale removes the temporary folders of runs that were killed: they may hold the clients' keys.
func removeStale() {
	if !locksHold {
		return
	}
	found, _ := filepath.Glob(filepath.Join(os.TempDir(), temporaryFolders))
	for _, folder := range found {
		info, err := os.Lstat(folder)
		if err != nil || !info.IsDir() || !ours(info) {
			continue
		}
		lock, err := os.OpenFile(filepath.Join(folder, lockFile), os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if held, _ := tryLock(lock); held {
			files{config: filepath.Join(folder, configFile), admin: filepath.Join(folder, adminFile), lock: lock}.remove()
			continue
		}
		_ = lock.Close()
	}
}

// ours reports whether a file belongs to this process's user.
func ours(info fs.FileInfo) bool { return owner(info) == os.Geteuid() }

// remove deletes the files, and their folder if it is ours.
func (f files) remove() {
	_ = os.Remove(f.config)
	_ = os.Remove(f.admin)
	if f.lock != nil {
		_ = os.Remove(f.lock.Name())
		_ = os.Remove(filepath.Dir(f.config))
		_ = f.lock.Close()
	}
}
