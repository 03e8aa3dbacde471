package backup

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// FS is what the package needs of a file system. Names are paths.
type FS interface {
	// Create makes a file, or empties it.
	Create(name string) (File, error)
	Open(name string) (File, error)
	Rename(from, to string) error
	Remove(name string) error
	// List returns the names in a folder, without their path, in any order.
	List(dir string) ([]string, error)
	MkdirAll(dir string) error
	// SyncDir makes the names in a folder durable.
	SyncDir(dir string) error
	// Lock keeps others from locking name until what it returns is closed.
	Lock(name string) (io.Closer, error)
}

// File is an open file.
type File interface {
	io.Writer
	io.ReaderAt
	io.Closer
	Sync() error
	Size() (int64, error)
}

// machine is the machine's file system.
type machine struct{}

type machineFile struct{ *os.File }

// Size implements File.
func (f machineFile) Size() (int64, error) {
	s, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return s.Size(), nil
}

// Create implements FS.
func (machine) Create(name string) (File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600) //nolint:gosec // the operator's path
	if err != nil {
		return nil, err
	}
	return machineFile{f}, nil
}

// Open implements FS.
func (machine) Open(name string) (File, error) {
	f, err := os.Open(name) //nolint:gosec // the operator's path
	if err != nil {
		return nil, err
	}
	return machineFile{f}, nil
}

// Rename implements FS.
func (machine) Rename(from, to string) error { return os.Rename(from, to) }

// Remove implements FS.
func (machine) Remove(name string) error { return os.Remove(name) }

// List implements FS.
func (machine) List(dir string) ([]string, error) {
	d, err := os.Open(dir) //nolint:gosec // the operator's path
	if err != nil {
		return nil, err
	}
	names, err := d.Readdirnames(-1)
	return names, errors.Join(err, d.Close())
}

// MkdirAll implements FS.
func (machine) MkdirAll(dir string) error { return os.MkdirAll(dir, 0o700) }

// SyncDir implements FS.
func (machine) SyncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the operator's path
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Lock implements FS.
func (machine) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the operator's path
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil { //nolint:gosec // a descriptor
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrInUse, err), f.Close())
	}
	return f, nil
}

// writeFile makes a file hold b, durably but for its name.
func writeFile(fs FS, name string, b []byte) error {
	f, err := fs.Create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// readFile reads a file of at most most bytes.
func readFile(fs FS, name string, most int64) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	n, err := f.Size()
	if err == nil && n > most {
		err = fmt.Errorf("%s has %d bytes: %w", filepath.Base(name), n, ErrDamaged)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	b := make([]byte, n)
	_, err = io.ReadFull(io.NewSectionReader(f, 0, n), b)
	return b, errors.Join(err, f.Close())
}
