package node_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"switchboard/node"
	"switchboard/shard/journal"
	"switchboard/wire"
)

// A log that is shorter than it promised is read-only until somebody accepts the loss; then a new epoch begins [SW-1].
func TestAcceptLoss(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	last := 0
	for i := range 20 {
		last = num(a.ask("send", obj{"session": id, "body": text(fmt.Sprint(i))})["seq"])
	}
	stop(t, n) // what was said so far is in tables
	n = start(t, dir)
	a = login(t, n, customerOf("alice"))
	// The fence promises what was written; then the power goes, and the disk has lost its log.
	for before := n.Journal().Fences; n.Journal().Fences < before+2; {
		a.ask("send", obj{"session": id, "body": text("more")})
	}
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	stop(t, n)
	dir = copied
	logs, err := filepath.Glob(filepath.Join(node.JournalDir(dir), "log", "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("the log has no segments: %v", err)
	}
	for _, path := range logs {
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
	}

	n = start(t, dir)
	a = login(t, n, customerOf("alice"))
	a.refused("unavailable", "send", obj{"session": id, "body": 1})
	if o := a.ask("open", obj{"session": id}); o["how"] != "truncated" {
		t.Fatalf("a shorter log was shown as whole: %v", o)
	}
	if h := a.ask("history", obj{"session": id, "limit": 100}); len(h["entries"].([]any)) == 0 {
		t.Fatal("what is left is not readable")
	}
	stop(t, n)
	read := 0
	err = node.ReadLog(dir, wire.SessionID(id), func(*wire.Entry) error { read++; return nil })
	if err == nil || read < last {
		t.Fatalf("%d entries were read, and the loss was not told: %v", read, err)
	}

	j, err := journal.Open(journal.Config{Dir: node.JournalDir(dir), Groups: 4, FreeMin: -1})
	if err != nil {
		t.Fatal(err)
	}
	accepted := 0
	for i := range 4 {
		if j.Group(i).State().Mode != journal.OK {
			accepted++
			if err := j.AcceptLoss(i); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := j.Close(); err != nil || accepted == 0 {
		t.Fatalf("%d losses accepted: %v", accepted, err)
	}

	n = start(t, dir)
	defer stop(t, n)
	a = login(t, n, customerOf("alice"))
	if o := a.ask("open", obj{"session": id, "from": obj{"epoch": 1, "seq": last + 100}}); o["how"] != "truncated" || num(o["epoch"]) != 2 {
		t.Fatalf("open %v", o)
	}
	s := a.ask("send", obj{"session": id, "body": text("after")})
	if num(s["epoch"]) != 2 || num(s["seq"]) <= last {
		t.Fatalf("send %v; the last before was %d", s, last)
	}
}
