package node_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"switchboard/node"
)

// A node that has run does not begin anew because its journal is gone, or because a hand wrote another number of shards: customers would be served as
// if they had never said anything, and what they say would be kept where nobody looks for it.
func TestJournalOfAnother(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	a.ask("send", obj{"session": id, "body": text("one")})
	stop(t, n)

	refused := func(shards int, want string) {
		t.Helper()
		n, err := node.Start(node.Config{Data: dir, Listen: "127.0.0.1:0", Dev: true, Shards: shards, FreeMin: -1, Log: slog.New(slog.DiscardHandler)})
		if err == nil {
			stop(t, n)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("%v; want %q", err, want)
		}
	}
	settings := filepath.Join(dir, "node.json")
	was, err := os.ReadFile(settings)
	if err != nil {
		t.Fatal(err)
	}
	write := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(settings, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, other := range []int{3, 900} {
		write(fmt.Appendf(nil, `{"shards":%d}`, other))
		refused(other, `write 4 into it, {"shards":4}`)
	}
	write(was)

	// Its disk is not mounted: the folder is missing, or the empty one that it is mounted on.
	gone := filepath.Join(t.TempDir(), "journal")
	if err := os.Rename(node.JournalDir(dir), gone); err != nil {
		t.Fatal(err)
	}
	refused(4, "is missing, and a node has run in")
	if err := os.Mkdir(node.JournalDir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	refused(4, "is missing, and a node has run in")
	if err := os.RemoveAll(node.JournalDir(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(gone, node.JournalDir(dir)); err != nil {
		t.Fatal(err)
	}
	n = start(t, dir)
	a = login(t, n, customerOf("alice"))
	if got := a.ask("open", obj{"session": id}); num(got["head"]) < 2 {
		t.Errorf("the session is %v", got)
	}
	stop(t, n)

	// One that ended before its journal was made begins again.
	dir = t.TempDir()
	n = start(t, dir)
	stop(t, n)
	if err := os.RemoveAll(node.JournalDir(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "BEGINNING"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stop(t, start(t, dir))
	if _, err := os.Stat(filepath.Join(dir, "BEGINNING")); err == nil {
		t.Error("a node that has begun still says that it is about to")
	}
}
