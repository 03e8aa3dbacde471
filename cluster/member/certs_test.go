package member

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCerts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	made, err := MakeCerts(dir, []string{"n1", "n2"}, time.Now())
	if err != nil || len(made) != 6 {
		t.Fatalf("%v, %v", made, err)
	}
	for _, f := range made {
		info, err := os.Stat(f)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%s: %v, %v", f, info.Mode(), err)
		}
	}
	before, err := os.ReadFile(filepath.Join(dir, "n1.key"))
	if err != nil {
		t.Fatal(err)
	}
	f := func(want string, nodes ...string) {
		t.Helper()
		if made, err := MakeCerts(dir, nodes, time.Now()); err == nil || !strings.Contains(err.Error(), want) || len(made) != 0 {
			t.Errorf("made %v, %v; want %q", made, err, want)
		}
	}
	f("there already", "n3", "n1")
	f("not given twice", "n3", "n3")
	f("cannot be", "ca")
	f("cannot be", "../n4")
	f("no nodes")
	if after, _ := os.ReadFile(filepath.Join(dir, "n1.key")); string(after) != string(before) {
		t.Fatal("a key was overwritten")
	}
	// A later node is signed by the same authority.
	if made, err := MakeCerts(dir, []string{"n3"}, time.Now()); err != nil || len(made) != 2 {
		t.Fatalf("%v, %v", made, err)
	}
	for _, n := range []string{"n1", "n3"} {
		cfg, err := LoadTLS(dir, n)
		if err != nil || Expiry(cfg).Before(time.Now().AddDate(1, 0, 0)) {
			t.Fatal(err)
		}
	}
	if _, err := LoadTLS(dir, "n4"); err == nil || !strings.Contains(err.Error(), "cluster certs") {
		t.Fatal(err)
	}
	for _, ext := range []string{".crt", ".key"} {
		if err := os.Rename(filepath.Join(dir, "n1"+ext), filepath.Join(dir, "n9"+ext)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := LoadTLS(dir, "n9"); err == nil || !strings.Contains(err.Error(), "another node's certificate") {
		t.Fatal(err)
	}
	// An authority without its key signs nothing, and is not replaced.
	if err := os.Remove(filepath.Join(dir, "ca.key")); err != nil {
		t.Fatal(err)
	}
	f("ca.key", "n5")
}
