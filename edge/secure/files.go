package secure

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Files are a certificate (with those that vouch for it) and its key, in PEM, which may change while they are served.
type Files struct {
	// Fixed after Open.
	cert, key string
	log       *slog.Logger
	now       func() time.Time

	// Shared.
	current atomic.Pointer[tls.Certificate]
	looked  atomic.Int64 // Unix ns

	mu sync.Mutex
	// Guarded by mu.
	seen [2]fs.FileInfo // as they were when they were read last, whether or not they could be used
}

// lookEvery is how long a look at the files is good for.
const lookEvery = time.Second

// OpenFiles reads a certificate and its key. log is told of every change, and of files that cannot be used; nil is slog.Default.
func OpenFiles(cert, key string, log *slog.Logger) (*Files, error) {
	if log == nil {
		log = slog.Default()
	}
	f := &Files{cert: cert, key: key, log: log, now: time.Now}
	if err := f.Reload(); err != nil {
		return nil, err
	}
	return f, nil
}

// Get returns the certificate, for tls.Config.
func (f *Files) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if last, now := f.looked.Load(), f.now().UnixNano(); now-last >= int64(lookEvery) && f.looked.CompareAndSwap(last, now) {
		if err := f.look(); err != nil {
			f.log.Error("the certificate is not replaced: the one before stays", "err", err)
		}
	}
	return f.current.Load(), nil
}

// Expires returns until when the certificate is good.
func (f *Files) Expires() time.Time { return f.current.Load().Leaf.NotAfter }

// Reload reads the files now. When they cannot be used the certificate stays what it was.
func (f *Files) Reload() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looked.Store(f.now().UnixNano())
	seen, err := f.stat()
	if err != nil {
		return err
	}
	return f.read(seen)
}

// look reads the files if they changed since they were read. Files that cannot be used are read once.
func (f *Files) look() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, err := f.stat()
	if err != nil {
		return err
	}
	if same(f.seen[0], now[0]) && same(f.seen[1], now[1]) {
		return nil
	}
	return f.read(now)
}

func (f *Files) stat() (seen [2]fs.FileInfo, err error) {
	for i, name := range []string{f.cert, f.key} {
		if seen[i], err = os.Stat(name); err != nil {
			return seen, fmt.Errorf("looking at the certificate: %w", err)
		}
	}
	return seen, nil
}

func same(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// read reads the files, which looked like seen before. It needs mu.
func (f *Files) read(seen [2]fs.FileInfo) error {
	first := f.current.Load() == nil
	f.seen = seen
	c, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return fmt.Errorf("reading the certificate %s and its key %s: %w", f.cert, f.key, err)
	}
	if c.Leaf == nil {
		if c.Leaf, err = x509.ParseCertificate(c.Certificate[0]); err != nil {
			return fmt.Errorf("reading the certificate %s: %w", f.cert, err)
		}
	}
	f.current.Store(&c)
	if now := f.now(); now.After(c.Leaf.NotAfter) || now.Before(c.Leaf.NotBefore) {
		f.log.Error("the certificate is not good now: clients will refuse it", "from", c.Leaf.NotBefore, "until", c.Leaf.NotAfter)
	}
	if !first {
		f.log.Info("the certificate was replaced", "until", c.Leaf.NotAfter)
	}
	return nil
}
