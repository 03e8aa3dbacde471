package node

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"switchboard/edge/token"
	"switchboard/shard/journal"
)

// StoppedKeys does in the keys file of a data directory what q says, and returns what there is then [SW-8.2]. It is for a node before its
// first start, whose file is made, and for one that is stopped: a node that runs has its own idea of the keys, and is asked. So is the cluster
// of a member, whose file is a copy. The file is replaced as a whole and durably. Errors: token.ErrEdit when q cannot be, journal.ErrInUse
// while a node runs there, and those of the file system.
func StoppedKeys(data string, q *KeysAsked) (*KeysAnswer, error) {
	s, err := readSettings(data)
	if err != nil {
		return nil, err
	}
	if s != nil && s.Member != nil {
		return nil, fmt.Errorf("%w: %s is a member's, and its keys are the cluster's: ask the cluster, without --data and SWITCHBOARD_DATA", token.ErrEdit, data)
	}
	if q.Action != "create" && q.Action != "add" { // who has mistyped the directory is not to find keys there
		if _, err := os.Stat(filepath.Join(data, token.FileName)); err != nil {
			return nil, fmt.Errorf("looking for the keys of tokens: %w", err)
		}
	}
	if _, err := Keys(data); err != nil { // a new directory gets its file
		return nil, err
	}
	if _, err := os.Stat(JournalDir(data)); errors.Is(err, fs.ErrNotExist) {
		return editKeys(data, q)
	}
	cfg, err := StoppedJournal(data)
	if err != nil {
		return nil, err
	}
	var a *KeysAnswer
	err = journal.Alone(cfg, func() error {
		a, err = editKeys(data, q)
		return err
	})
	return a, err
}

// editKeys changes the file that nobody else does.
func editKeys(data string, q *KeysAsked) (*KeysAnswer, error) {
	path := filepath.Join(data, token.FileName)
	before, err := os.ReadFile(path) //nolint:gosec // the operator's path
	if err != nil {
		return nil, fmt.Errorf("reading the keys of tokens: %w", err)
	}
	doc, err := q.apply(before)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(doc, before) {
		if err := writeKeys(data, doc); err != nil {
			return nil, err
		}
	}
	return q.answer(before, doc)
}
