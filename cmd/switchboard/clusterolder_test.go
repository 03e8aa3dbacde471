package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"switchboard/wire"
)

// TestClusterOlder builds the program as it was before nodes spoke as they do now, from this repository's history, and replaces the nodes of a cluster of
// it by those of this one, one after the other, while customers and bots talk. SWITCHBOARD_OLDER names the commit, or is auto: the latest that spoke
// the version before.
func TestClusterOlder(t *testing.T) {
	commit := os.Getenv("SWITCHBOARD_OLDER")
	if commit == "" {
		t.Skip("it builds another version of the program: set SWITCHBOARD_OLDER to a commit, or to auto (make upgrade)")
	}
	if _, err := git(t, "rev-parse", "--git-dir"); err != nil {
		t.Skipf("there is no history to build an older version from: %v", err)
	}
	if commit == "auto" {
		if commit = spoke(t, wire.LinkVersion-1); commit == "" {
			t.Skipf("the history has no commit that spoke version %d", wire.LinkVersion-1)
		}
	}
	older := buildAt(t, commit)
	t.Logf("from %s: %s", commit, run(t, older, "version"))
	w := newTrioOf(t, 3, older)
	w.load(9)
	w.all(time.Now())
	newer := build(t)
	for _, n := range w.nodes {
		n.bin = newer
		w.upgraded(n)
		w.all(time.Now())
	}
	w.bin = newer
	w.all(time.Now())
	w.split(0, false) // what the older one could not do as well
	w.end()
}

// git runs git in this repository.
func git(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("git %v: %w: %s", args, err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

var linkVersion = regexp.MustCompile(`(?m)^\s*LinkVersion\s*=\s*(\d+)`)

// spoke returns the latest commit whose nodes spoke a version of the links, "" when there is none.
func spoke(t *testing.T, version int) string {
	t.Helper()
	const file = "wire/envelope.go"
	commits, err := git(t, "log", "--format=%H", "--", ":/"+file)
	if err != nil {
		t.Fatal(err)
	}
	for c := range strings.FieldsSeq(commits) {
		text, err := git(t, "show", c+":"+file)
		if err != nil {
			continue // it was taken away there
		}
		if m := linkVersion.FindStringSubmatch(text); m != nil && m[1] == strconv.Itoa(version) {
			return c
		}
	}
	return ""
}

// buildAt builds the program as it was in a commit.
func buildAt(t *testing.T, commit string) string {
	t.Helper()
	dir := t.TempDir()
	root, err := git(t, "rev-parse", "--show-toplevel")
	if err != nil {
		t.Fatal(err)
	}
	tar := filepath.Join(dir, "tree.tar")
	if _, err := git(t, "-C", root, "archive", "--output", tar, commit); err != nil {
		t.Fatal(err)
	}
	tree := filepath.Join(dir, "tree")
	if err := os.Mkdir(tree, 0o700); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "switchboard")
	for _, args := range [][]string{{"tar", "-xf", tar, "-C", tree}, {"go", "build", "-C", tree, "-buildvcs=false", "-o", bin, "./cmd/switchboard"}} {
		if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil { //nolint:gosec // these
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	return bin
}
