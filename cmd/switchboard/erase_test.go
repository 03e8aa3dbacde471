package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"switchboard/client"
)

// TestKillErase kills the real binary with SIGKILL again and again while customers are erased by the real command. Every erasure comes to its end, no
// byte of any file has anything of them then, and whoever was not erased has lost nothing; nor does a restore of a backup from before bring them back.
func TestKillErase(t *testing.T) {
	bin, data, addr := build(t), filepath.Join(t.TempDir(), "data"), freeAddr(t)
	saved := filepath.Join(t.TempDir(), "backup")
	const canary = "Canary9d21c7Kp"
	n := crashes(t, 4)
	node := serve(t, bin, data, addr)
	defer func() { node.kill() }()
	olga := run(t, bin, "token", "--data", data, "--role", "operator", "--sub", "olga")
	mint := func(name, word string) string {
		return run(t, bin, "token", "--data", data, "--role", "customer", "--sub", name, "--name", word)
	}
	ids := map[string]string{}
	var identify func() error
	for i := range n + 1 {
		name, word := fmt.Sprint("c", i), canary
		if i == n {
			word = "kept"
		}
		c, err := client.Dial(t.Context(), client.Config{URL: "ws://" + addr + "/v1/connect", Token: client.StaticToken(mint(name, word))})
		if err != nil {
			t.Fatal(err)
		}
		s, err := c.Open(t.Context(), client.OpenOptions{Shop: name, Attributes: map[string]string{"about": word}})
		if err != nil {
			t.Fatal(err)
		}
		for k := range 100 {
			if _, err := s.Send(t.Context(), "text", fmt.Sprint(word, " ", k)); err != nil {
				t.Fatal(err)
			}
		}
		ids[name] = s.ID()
		if i == 1 { // who is erased as the other; a backup does not know that yet
			defer func() { _ = c.Close() }()
			identify = func() error {
				_, _, err := c.Identify(t.Context(), mint("c0", word))
				return err
			}
			continue
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	run(t, bin, "backup", "--to", saved, "--addr", addr, "--token", olga)
	if err := identify(); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if i != 1 {
			out := run(t, bin, "erase", fmt.Sprint("c", i), "--addr", addr, "--token", olga)
			if !strings.HasPrefix(out, "e_") {
				t.Fatalf("erase says %q", out)
			}
		}
		time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond) // whatever it is doing by then
		node.kill()
		node = serve(t, bin, data, addr)
	}
	for i := range n {
		name := fmt.Sprint("c", i)
		method := []string{"--status", "--now", "--within", "3m"}
		if i != 1 { // he is noted with whom he became
			method = append(method, "--backup", saved)
		}
		if out := run(t, bin, append([]string{"erase", name, "--addr", addr, "--token", olga, "--json"}, method...)...); !strings.Contains(out, `"completed"`) {
			t.Errorf("%s: %s", name, out)
		}
	}
	sue := run(t, bin, "token", "--data", data, "--role", "supervisor", "--sub", "sue")
	check := func(what, data, addr string) {
		t.Helper()
		if list := below(t, data, canary); len(list) > 0 {
			t.Errorf("%s: it is in %q", what, list)
		}
		for name, id := range ids {
			log := run(t, bin, "log", "--addr", addr, "--token", sue, id, "--json")
			kept := strings.Count(log, `"kept `)
			if strings.Contains(log, canary) || name != fmt.Sprint("c", n) && !strings.Contains(log, "session.erased") && what != "restored" || name == fmt.Sprint("c", n) && kept != 100 {
				t.Errorf("%s: the log of %s: %d words, %.300s", what, name, kept, log)
			}
		}
	}
	check("erased", data, addr)
	restored, other := filepath.Join(t.TempDir(), "new"), freeAddr(t)
	if out := run(t, bin, "restore", "--from", saved, "--data", restored); !strings.Contains(out, fmt.Sprint(n, " customers who were erased since")) {
		t.Errorf("restore says %q", out)
	}
	second := serve(t, bin, restored, other)
	defer second.kill()
	check("restored", restored, other)
}

// below returns the files of a directory that hold a word.
func below(t *testing.T, dir, word string) (list []string) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path) //nolint:gosec // the test's own
		if bytes.Contains(b, []byte(word)) {
			list = append(list, path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return list
}
