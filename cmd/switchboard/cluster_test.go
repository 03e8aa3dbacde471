package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

func TestClusterCerts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	f := func(want string, args ...string) {
		t.Helper()
		var out bytes.Buffer
		root := newRoot()
		root.SetOut(&out)
		root.SetArgs(append([]string{"cluster", "certs"}, args...))
		err := root.Execute()
		if got := out.String(); err != nil {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v: %v; want %q", args, err, want)
			}
		} else if !strings.Contains(got, want) {
			t.Errorf("%v prints %q; want %q", args, got, want)
		}
	}
	f("no nodes are named", dir)
	f("to node NAME (n1, n2)", dir, "--node", "n1", "--node", "n2")
	f("there already", dir, "--node", "n1")
	f("the directory", "--node", "n1")
}
