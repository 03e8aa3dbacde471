package node_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"switchboard/node"
)

// What a directory must not lose between two starts: without it the node would serve, and every token would be refused or
// every session looked for where it is not.
func TestLostFiles(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	f := func(name, want string) {
		t.Helper()
		path := filepath.Join(dir, name)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		n, err := node.Start(node.Config{Data: dir, Listen: "127.0.0.1:0", Dev: true, Shards: 4, FreeMin: -1})
		if err == nil {
			stop(t, n)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("without %s: %v; want %q", name, err, want)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s was made again", name)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	a.ask("send", obj{"session": id, "body": text("hi")})
	stop(t, n)
	f("keys.json", "keys.json is missing")
	f("node.json", "node.json is missing")
	n = start(t, dir)
	defer stop(t, n)
	if again := login(t, n, customerOf("alice")).open(obj{}); again != id {
		t.Errorf("opened %s; want %s", again, id)
	}
}
