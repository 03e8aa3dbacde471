package shard

import (
	"bytes"
	"fmt"
	"testing"

	"switchboard/shard/journal"
)

// BenchmarkReadDocuments reads the latest document of a tenant, of 16 KiB, of whom as many versions are kept as ever.
func BenchmarkReadDocuments(b *testing.B) {
	j, err := journal.Open(journal.Config{Dir: b.TempDir(), Groups: 1, FreeMin: -1})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	g := j.Group(0)
	done := make(chan error, 1)
	g.Start(func(_ uint64, err error) { done <- err })
	var turn journal.Turn
	for v := range uint64(20) {
		turn.Put(documentKey(nil, "demo", v+1), appendDocument(nil, &Document{At: 1, By: "sue", Text: bytes.Repeat([]byte("x"), 16<<10)}))
	}
	if _, err := g.Append(&turn); err != nil {
		b.Fatal(err)
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := ReadDocuments(g, func(_ string, d Document) error {
			if d.Version != 20 {
				return fmt.Errorf("version %d", d.Version)
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
}
