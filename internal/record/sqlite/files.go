package sqlite

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// kind is what a file holds.
type kind string

const (
	turnsFile   kind = ""
	contentFile kind = "content"
	startsFile  kind = "starts"
	spendFile   kind = "spend" // one for the folder
)

// file is a file of the folder: all of a day, or a part of it.
type file struct {
	day  time.Time
	kind kind
	part int // from 0; a day has more where one would get too large to be deleted alone
}

// name is the file's name: 2026-11-30.db, 2026-11-30.1.db, 2026-11-30.content.db.
func (f file) name() string {
	if f.kind == spendFile {
		return "spend.db"
	}
	s := f.day.Format(time.DateOnly)
	if f.kind != turnsFile {
		s += "." + string(f.kind)
	}
	if f.part > 0 {
		s += "." + strconv.Itoa(f.part)
	}
	return s + ".db"
}

var fileName = regexp.MustCompile(`^(\d{4}-\d\d-\d\d)(?:\.(content|starts))?(?:\.([1-9]\d{0,5}))?\.db$`)

// parse reads what name wrote.
func parse(name string) (file, bool) {
	m := fileName.FindStringSubmatch(name)
	if m == nil {
		return file{}, false
	}
	day, err := time.Parse(time.DateOnly, m[1])
	part, _ := strconv.Atoi("0" + m[3])
	return file{day, kind(m[2]), part}, err == nil
}

// list returns the files of a kind in the folder, the oldest first.
func list(dir string, k kind) (files []file, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if f, ok := parse(e.Name()); ok && f.kind == k {
			files = append(files, f)
		}
	}
	slices.SortFunc(files, func(a, b file) int { return cmp.Or(a.day.Compare(b.day), cmp.Compare(a.part, b.part)) })
	return files, nil
}

// sidecars are what SQLite puts beside a file while it is open.
var sidecars = [...]string{"", "-wal", "-shm"}

// size returns how many bytes a file has on the disk, with what is beside it.
func size(dir string, f file) (n int64) {
	for _, beside := range sidecars {
		if info, err := os.Stat(filepath.Join(dir, f.name()+beside)); err == nil {
			n += info.Size()
		}
	}
	return n
}

// remove deletes a file. Whoever has it open may go on reading.
func remove(dir string, f file) error {
	for _, beside := range sidecars {
		if err := os.Remove(filepath.Join(dir, f.name()+beside)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// prepare makes the folder, and says what is wrong with it in words for an operator.
func prepare(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("the folder %s for records cannot be made: %w", dir, err)
	}
	probe, err := os.CreateTemp(dir, ".writable-")
	if err != nil {
		return fmt.Errorf("nothing can be written into the folder %s for records: %w", dir, err)
	}
	_ = probe.Close()
	return os.Remove(probe.Name())
}
