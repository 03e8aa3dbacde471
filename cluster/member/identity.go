package member

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"switchboard/cluster"
	"switchboard/internal/sealed"
)

// Identity is who a node is, as its data directory has it, in node.json. It belongs to one goroutine: the [Member]'s, once
// that is open. What others have written into node.json stays there.
type Identity struct {
	Cluster string `json:"cluster,omitempty"` // empty: it has asked to join, and not heard yet
	Name    string `json:"name"`
	Birth   string `json:"birth"` // of the data directory
	Node    uint32 `json:"node,omitempty"`
	Meta    uint64 `json:"meta,omitempty"` // its replica of the meta group
	Born    uint64 `json:"born"`           // counts its starts
	Founder bool   `json:"founder,omitempty"`
	// Starts are random numbers of its starts, since the last one that the cluster is known to have heard of, that one first: by them it
	// tells this directory from an old copy of it.
	Starts []string `json:"starts,omitempty"`
	Peers  []Peer   `json:"peers,omitempty"` // as last known: where to ask for the rows
	// Aside says why the journal on this disk is to be put aside before another is begun: it was lost, or is an old copy.
	Aside string `json:"aside,omitempty"`
	// Opened is the start in which the journal was opened last. The journal has it too: when they differ, one of the two is an old copy.
	Opened string `json:"opened,omitempty"`
	// Tried are the starts since then. One of them may have ended when the journal had its name already, and Opened had not.
	Tried []string `json:"tried,omitempty"`
	// Held are the replicas on its disk, by group: an empty disk does not pass for one that has voted.
	Held map[uint16]Held `json:"held,omitempty"`

	// Sum is the checksum of all this, without itself: node.json is on a disk like everything else.
	Sum string `json:"sum,omitempty"`

	path string
	rest map[string]json.RawMessage // of node.json
}

// Peer is another node.
type Peer struct {
	Node uint32 `json:"node"`
	Name string `json:"name"`
	Addr string `json:"addr"`
}

// Held is a replica on the disk.
type Held struct {
	ID      uint64 `json:"id"`
	Version uint64 `json:"version"` // of the state that gave it
	Erasing bool   `json:"erasing,omitempty"`
}

const identityKey = "member"

// readIdentity reads node.json in dir. It has no Birth when the directory is new.
func readIdentity(dir string) (*Identity, error) {
	id := &Identity{path: filepath.Join(dir, "node.json"), rest: map[string]json.RawMessage{}, Held: map[uint16]Held{}}
	if err := Mend(dir); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(id.path)
	if errors.Is(err, fs.ErrNotExist) {
		return id, nil
	}
	if err == nil {
		err = id.parse(b)
	}
	if err != nil {
		return nil, fmt.Errorf("reading who this node is from %s: %w", id.path, err)
	}
	if id.Held == nil {
		id.Held = map[uint16]Held{}
	}
	return id, nil
}

// parse reads what node.json holds.
func (id *Identity) parse(b []byte) error {
	has, err := Sealed(b)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, &id.rest); err != nil {
		return err
	}
	delete(id.rest, sealed.Field)
	raw := id.rest[identityKey]
	if raw == nil {
		return nil
	}
	if err := json.Unmarshal(raw, id); err != nil {
		return err
	}
	// Who gives the file a checksum gives this section one, too: without it, a bit of that one's name has turned.
	if sum, err := sealed.Sum(raw); err != nil || id.Sum != sum && (has || id.Sum != "") {
		return errors.Join(err, sealed.ErrDamaged)
	}
	return nil
}

// Sealed reports whether the content of a node.json has a checksum of what is not the member's, whose section has its own. It is an error when
// that is wrong.
func Sealed(b []byte) (bool, error) {
	return sealed.Check(b, []string{"shards", "placements", "restored", identityKey}, identityKey)
}

// Seal returns the content of a node.json that has none with that checksum.
func Seal(b []byte) ([]byte, error) { return sealed.Seal(b, identityKey) }

// copySuffix is that of a copy of node.json, for the day when a bit of it turns.
const copySuffix = ".copy"

// Mend puts the copy of node.json back when that cannot be read, or has a wrong checksum. It says nothing of one that has no copy: who
// reads it will.
func Mend(dir string) error {
	path := filepath.Join(dir, "node.json")
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading who this node is: %w", err)
	}
	if id := (&Identity{}); err == nil && id.parse(b) == nil && id.Birth != "" {
		return nil // a bit of the very name of the section may have turned: then it looks new, and its copy knows better
	}
	kept, err := os.ReadFile(path + copySuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the copy of who this node is: %w", err)
	}
	if id := (&Identity{}); id.parse(kept) != nil || id.Sum == "" {
		return nil
	}
	if err := writeWhole(path, kept); err != nil {
		return fmt.Errorf("putting the copy of node.json back: %w", err)
	}
	return nil
}

// save writes node.json, whole or not at all, and then its copy.
func (id *Identity) save() error {
	id.Sum = ""
	raw, err := json.Marshal(id)
	if err == nil {
		id.Sum, err = sealed.Sum(raw)
	}
	if err == nil {
		raw, err = json.Marshal(id)
	}
	if err != nil {
		return err
	}
	id.rest[identityKey] = raw
	b, err := json.MarshalIndent(id.rest, "", "  ")
	if err == nil {
		b, err = Seal(b)
	}
	if err != nil {
		return err
	}
	err = writeWhole(id.path, b)
	if err == nil {
		err = writeWhole(id.path+copySuffix, b)
	}
	if err != nil {
		return fmt.Errorf("writing who this node is: %w", err)
	}
	return nil
}

// writeWhole makes path hold b, durably, whole or not at all.
func writeWhole(path string, b []byte) error {
	temp := path + ".tmp"
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// begin counts a start, and gives it a name.
func (id *Identity) begin() {
	id.Born++
	start := drawStart()
	id.Starts, id.Tried = append(id.Starts, start), append(id.Tried, start)
	if n := len(id.Starts) - startsMost; n > 0 {
		id.Starts = slices.Delete(id.Starts, 1, 1+n) // the first is the one that was heard of
	}
	if n := len(id.Tried) - startsMost; n > 0 {
		id.Tried = slices.Delete(id.Tried, 0, n)
	}
}

// know notes the other nodes of a state, and reports whether that is news.
func (id *Identity) know(peers []Peer) bool {
	if len(peers) == 0 || slices.Equal(peers, id.Peers) {
		return false
	}
	id.Peers = peers
	return true
}

// peersOf returns the nodes of a state other than self, in order of their numbers.
func peersOf(s *cluster.State, self uint32) (list []Peer) {
	for _, n := range s.Nodes {
		if n.ID != self && n.Phase != cluster.Gone {
			list = append(list, Peer{n.ID, n.Name, n.Addr})
		}
	}
	slices.SortFunc(list, func(a, b Peer) int { return int(a.Node) - int(b.Node) })
	return list
}

// drawStart returns a name for a start: random, and with a checksum, as the journal's directory has it in a file of its own. To everybody but
// wholeStart it is a name like any other.
func drawStart() string {
	name := startMark + draw()
	return fmt.Sprintf("%s%08x", name, startSum(name))
}

// wholeStart tells whether a name of a start can be what was drawn. Versions before checksums drew without mark and sum.
func wholeStart(name string) bool {
	if !strings.HasPrefix(name, startMark) {
		b, err := hex.DecodeString(name)
		return err == nil && len(b) == drawn && hex.EncodeToString(b) == name
	}
	n := len(startMark) + 2*drawn
	return len(name) > n && name[n:] == fmt.Sprintf("%08x", startSum(name[:n]))
}

const startMark = "s" // no hexadecimal digit: what is left of a name is not taken for one without a sum

func startSum(name string) uint32 {
	return crc32.Checksum([]byte(name), crc32.MakeTable(crc32.Castagnoli))
}

// drawn is how many bytes draw draws.
const drawn = 16

// draw returns 16 random bytes as a name.
func draw() string {
	var b [drawn]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
