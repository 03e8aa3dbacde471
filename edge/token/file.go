package token

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"switchboard/internal/sealed"
)

// FileName is the keys file's name in the data directory.
const FileName = "keys.json"

const (
	version    = 1
	demoTenant = "demo"
	maxFile    = 4 << 20 // bytes
	sumRoom    = 64      // bytes of maxFile that are left to the checksum
)

// file is keys.json. A key is a JSON Web Key, or {"kid","pem"} with a PEM document, or {"kid","secret"} with the text of an
// HS256 secret. The kid may be absent.
type file struct {
	Version int               `json:"version"`
	Tenants map[string]ofFile `json:"tenants"`
	// Sum is a checksum of the file as it is on a disk; see Seal.
	Sum string `json:"sum,omitempty"`
}

type ofFile struct {
	Keys []json.RawMessage `json:"keys"`
}

// putBack is what to do about a file that is not what was written.
const putBack = "put it back from a backup"

func wrongVersion(v int) error {
	return fmt.Errorf("version %d of the keys file; want %d: %s, or start the program that wrote it", v, version, putBack)
}

// Parse returns the keyring of a keys file's content. Unlike a key set of a third party, it fails on a key that is not for us,
// on a member that it does not know, and on a version other than 1: whoever wrote it expects it to count. With a checksum it fails on
// whatever else is in it than was written, too.
func Parse(doc []byte) (*Keyring, error) {
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.DisallowUnknownFields()
	var f file
	if err := dec.Decode(&f); err != nil {
		// A newer version may well have members that we do not know; its number is the better answer.
		var v struct{ Version int }
		if json.Unmarshal(doc, &v) == nil && v.Version != version {
			return nil, wrongVersion(v.Version)
		}
		return nil, fmt.Errorf("parsing keys: %w: it is damaged, or was changed by hand: %s, or mend it", err, putBack)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("parsing keys: more than one document: it is damaged, or was changed by hand: %s, or mend it", putBack)
	}
	if f.Version != version {
		return nil, wrongVersion(f.Version)
	}
	if _, err := sealed.Check(doc, []string{"version", "tenants"}); err != nil {
		return nil, fmt.Errorf("%w: it is damaged, or was changed by hand: %s; after a change by hand remove %q from it", err, putBack, sealed.Field)
	}
	tenants := make(map[string][]Key, len(f.Tenants))
	for tenant, t := range f.Tenants {
		keys := make([]Key, 0, len(t.Keys))
		for i, raw := range t.Keys {
			k, err := parseEntry(raw)
			if err != nil {
				return nil, fmt.Errorf("parsing key %d of tenant %q: %w", i, tenant, err)
			}
			keys = append(keys, k)
		}
		tenants[tenant] = keys
	}
	return New(tenants)
}

func parseEntry(raw []byte) (Key, error) {
	var e struct{ Kid, PEM, Secret string }
	if err := json.Unmarshal(raw, &e); err != nil {
		return Key{}, err
	}
	switch {
	case e.PEM != "" && e.Secret != "":
		return Key{}, errors.New("both pem and secret")
	case e.PEM != "":
		return ParsePEM(e.Kid, []byte(e.PEM))
	case e.Secret != "":
		return NewSecret(e.Kid, []byte(e.Secret))
	}
	return parseJWK(raw)
}

// Seal returns a keys file's content as it is written to a disk, with a checksum. It may have one.
func Seal(doc []byte) ([]byte, error) {
	doc, err := Bare(doc)
	if err != nil {
		return nil, err
	}
	return sealed.Seal(doc)
}

// Bare returns a keys file's content without its checksum, as nodes tell it one another and backups have it: those of the version before checksums read it.
func Bare(doc []byte) ([]byte, error) {
	has, err := sealed.Check(doc, []string{"version", "tenants"})
	if err == nil && !has {
		return doc, nil
	}
	f, err := parseFile(doc)
	if err != nil {
		return nil, err
	}
	return f.text()
}

// text returns what a file says, as a file.
func (f *file) text() ([]byte, error) {
	doc, err := json.MarshalIndent(f, "", "  ")
	return append(doc, '\n'), err
}

// LoadOrCreate returns the keyring of dir's keys file. If there is none it makes dir and the file, with a random secret
// for the tenant "demo" and mode 0600. Any number of processes may call it at once, with a node running on dir or
// before its first start [SW-8.2]: one of them creates the file, whole and durable, and all return the same keys.
// The file system must have hard links.
func LoadOrCreate(dir string) (*Keyring, error) {
	path := filepath.Join(dir, FileName)
	r, err := load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("creating %s: %w", path, err)
	}
	if err := create(dir, path); err != nil {
		return nil, fmt.Errorf("creating %s: %w", path, err)
	}
	return load(path) // ours, or that of whoever was faster
}

func load(path string) (*Keyring, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening keys: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	doc, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading keys: %w", err)
	}
	if len(doc) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	r, err := Parse(doc)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// create makes path with a new secret, unless it is there already. A link, unlike a rename, fails when another process
// was faster, and unlike an exclusive open it shows the file only when it is whole.
func create(dir, path string) error {
	secret := make([]byte, MinSecret)
	rand.Read(secret) // does not fail
	key, err := json.Marshal(map[string]any{"kty": "oct", "kid": demoTenant + "-1", "alg": HS256, "k": octets(secret)})
	if err != nil {
		return err
	}
	f := &file{Version: version, Tenants: map[string]ofFile{demoTenant: {[]json.RawMessage{key}}}}
	doc, err := f.text()
	if err == nil {
		doc, err = Seal(doc)
	}
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, FileName+".*.tmp") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temp.Name()) }() // what a crash leaves is a secret that nobody uses
	_, err = temp.Write(doc)
	if err == nil {
		err = temp.Sync()
	}
	if closeErr := temp.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	if err := os.Link(temp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(dir) // the slower one too: what it signs with must not be lost either
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	return d.Sync()
}
