package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"switchboard/shard/journal"
)

// The errors that callers tell apart. They come wrapped; test with errors.Is.
var (
	// ErrNoBackup says that there is no backup of that name, or none at all.
	ErrNoBackup = errors.New("backup: no such backup")
	// ErrDamaged says that a file is not what was written.
	ErrDamaged = errors.New("backup: damaged")
	// ErrFormat says that the directory holds something else, or was written by a newer version.
	ErrFormat = errors.New("backup: unknown format")
	// ErrInUse says that another process writes a backup there.
	ErrInUse = errors.New("backup: another backup is being written there")
)

// format is the layout of a directory and its files. A higher one is refused.
const format = 1

// Manifest is one backup.
type Manifest struct {
	Format int       `json:"format"`
	ID     string    `json:"id"`
	Taken  time.Time `json:"taken"` // when the rows were frozen
	// Program is the version that wrote it.
	Program string `json:"program"`
	// From says in words what it is of.
	From string `json:"from"`
	// Shards is how many there are: those of Parts, and no others.
	Shards int    `json:"shards"`
	Parts  []Part `json:"parts"`
	// Keys is keys.json: who has it can make tokens.
	Keys []byte `json:"keys"`
	// Tenants are those that were made while nodes ran, as tenants.json has them; nil without any.
	Tenants []byte `json:"tenants,omitempty"`
	// Cluster are the rows of the cluster that it is of, if it is of one, for people to look at.
	Cluster map[string][]byte `json:"cluster,omitempty"`
	// Added is what the backup has that the one before it had not; Stored what that takes in the directory.
	Added  Amount `json:"added"`
	Stored uint64 `json:"stored"`
}

// Part is a shard.
type Part struct {
	journal.Mark
	Amount
	Chunks int `json:"chunks"`
	// List is the file with the chunks, and Sum its SHA-256.
	List string `json:"list"`
	Sum  string `json:"sum"`
}

// Amount is how much something is.
type Amount struct {
	Rows  uint64 `json:"rows"`
	Bytes uint64 `json:"bytes"` // before they are compressed
}

// Total is all rows of the backup.
func (m *Manifest) Total() (a Amount) {
	for i := range m.Parts {
		a.Rows += m.Parts[i].Rows
		a.Bytes += m.Parts[i].Bytes
	}
	return a
}

// Highest returns the highest epoch and term of all shards.
func (m *Manifest) Highest() (n uint64) {
	for i := range m.Parts {
		n = max(n, m.Parts[i].Epoch, m.Parts[i].Term)
	}
	return n
}

// manifestMax bounds a manifest, in bytes.
const manifestMax = 64 << 20

// encode is the file of a manifest: a document, and a line with its sum.
func (m *Manifest) encode() ([]byte, error) {
	b, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b)
	return fmt.Appendf(b, "\nsha256 %x\n", sum), nil
}

// parseManifest reads what encode made.
func parseManifest(id string, b []byte) (*Manifest, error) {
	const tail = len("\nsha256 ") + 2*sha256.Size + 1
	if len(b) < tail {
		return nil, fmt.Errorf("backup %s has a manifest of %d bytes: %w", id, len(b), ErrDamaged)
	}
	body := b[:len(b)-tail]
	sum := sha256.Sum256(body)
	if !bytes.Equal(b[len(body):], fmt.Appendf(nil, "\nsha256 %x\n", sum)) {
		return nil, fmt.Errorf("the manifest of backup %s has a wrong checksum: %w", id, ErrDamaged)
	}
	m := &Manifest{}
	if err := json.Unmarshal(body, m); err != nil {
		return nil, fmt.Errorf("the manifest of backup %s cannot be read: %w: %w", id, ErrFormat, err)
	}
	switch {
	case m.Format != format:
		return nil, fmt.Errorf("backup %s has format %d, and this program knows %d: use the one that wrote it, version %s: %w", id, m.Format, format, m.Program, ErrFormat)
	case m.ID != id:
		return nil, fmt.Errorf("backup %s calls itself %s: somebody has renamed it: %w", id, m.ID, ErrDamaged)
	case m.Shards < 1 || len(m.Parts) != m.Shards:
		return nil, fmt.Errorf("backup %s has %d of %d shards: %w", id, len(m.Parts), m.Shards, ErrDamaged)
	}
	for i := range m.Parts {
		if m.Parts[i].Group != i {
			return nil, fmt.Errorf("backup %s has shard %d in place of %d: %w", id, m.Parts[i].Group, i, ErrDamaged)
		}
	}
	return m, nil
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
