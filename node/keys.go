package node

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"switchboard/edge/token"
)

// Keys returns the keyring of a data directory, and makes one in a new directory [SW-8.2]. In a directory where a node has
// run, a keys file that is missing is an error and not made again: with other keys every token that was handed out
// would be refused, and the new ones would be refused by a node that runs.
func Keys(data string) (*token.Keyring, error) {
	shards, err := Shards(data) // before the look at the keys: a first start writes the keys first
	if err != nil {
		return nil, err
	}
	if shards != 0 {
		path := filepath.Join(data, token.FileName)
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s is missing, and a node has run in %s: restore the file from a backup "+
				"(to give up every token handed out, write one with new keys)", path, data)
		}
	}
	return token.LoadOrCreate(data)
}

// readKeys returns what a data directory's keys file says, without the checksum of that file.
func readKeys(data string) ([]byte, error) {
	path := filepath.Join(data, token.FileName)
	doc, err := os.ReadFile(path) //nolint:gosec // the operator's path
	if err != nil {
		return nil, fmt.Errorf("reading the keys of tokens: %w", err)
	}
	if _, err = token.Parse(doc); err == nil {
		doc, err = token.Bare(doc)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the keys of tokens from %s: %w", path, err)
	}
	return doc, nil
}

// writeKeys makes a data directory's keys file say doc, whole or not at all, with a checksum.
func writeKeys(data string, doc []byte) error {
	doc, err := token.Seal(doc)
	if err == nil {
		err = writeDurably(filepath.Join(data, token.FileName), doc)
	}
	if err != nil {
		return fmt.Errorf("writing the keys of tokens: %w", err)
	}
	return nil
}

// keyless says which tenants have no key: whoever has just named one wonders why nobody gets in.
func (n *Node) keyless() {
	ring := n.keys.Load()
	if ring == nil {
		return // a member that has not heard of the cluster's keys yet
	}
	for _, name := range slices.Sorted(maps.Keys(n.tenantry.Load().all)) {
		if !ring.Has(name) {
			n.cfg.Log.Warn("a tenant has no key: nobody of it gets in until one is added (switchboard keys)", "tenant", name)
		}
	}
}
