package mutants

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience is how long one mutant may take to be built and found.
const patience = 4 * time.Minute

// TestMutants plants mistakes and wants each to be found. SWITCHBOARD_MUTANTS=all plants all of them, another word those whose name,
// file or test has it; without it a few that are quick. That each has its place is looked up for all.
func TestMutants(t *testing.T) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	which := os.Getenv("SWITCHBOARD_MUTANTS")
	planted := 0
	for i := range list {
		m := &list[i]
		file := filepath.Join(root, m.file)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(text, []byte(m.old)); n != 1 {
			t.Errorf("%s: its text is %d times in %s; it must be there once", m.name, n, m.file)
			continue
		}
		if which == "" && !m.quick || which != "" && which != "all" && !strings.Contains(m.name+" "+m.file+" "+m.run, which) {
			continue
		}
		planted++
		t.Run(m.name, func(t *testing.T) {
			began := time.Now()
			found, err := m.plant(t.TempDir(), root, file, bytes.Replace(text, []byte(m.old), []byte(m.new), 1))
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("found by %s in %v: %s", m.pkg, time.Since(began).Round(time.Millisecond), found)
		})
	}
	if planted == 0 {
		t.Errorf("SWITCHBOARD_MUTANTS=%s is in no mutant's name, file or test", which)
	}
}

// plant builds the test with the mistake and runs it. It returns the first thing that the test said of it.
func (m *mutant) plant(dir, root, file string, text []byte) (found string, err error) {
	changed, overlay, binary := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "mutant.test")
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{file: changed}})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(changed, text, 0o600); err != nil {
		return "", err
	}
	if err := os.WriteFile(overlay, replace, 0o600); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", binary, "./"+m.pkg) //nolint:gosec // of the list
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("it does not build: %w\n%s", err, out)
	}
	test := exec.CommandContext(ctx, binary, "-test.run", m.run, "-test.failfast", "-test.timeout", "3m") //nolint:gosec // of the list
	if m.model {
		test.Args = append(test.Args, "-rapid.nofailfile", "-rapid.shrinktime", "0s")
	}
	test.Dir = filepath.Join(root, m.pkg)
	out, err := test.CombinedOutput()
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("neither found nor survived after %v", patience)
	case bytes.Contains(out, []byte("panic: test timed out")):
		return "", fmt.Errorf("%s of %s does not come to an end\n%s", m.run, m.pkg, out[:min(len(out), 2000)])
	case err == nil:
		return "", fmt.Errorf("it survives: %s of %s does not notice\n%s", m.run, m.pkg, out)
	}
	said := string(out)
	if at := strings.LastIndex(said, "--- FAIL"); at > 0 {
		said = said[at:]
	}
	for line := range strings.Lines(said) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "panic: ") || strings.Contains(line, "_test.go:") || strings.HasPrefix(line, "script.go:") {
			return line[:min(len(line), 200)], nil
		}
	}
	return "", fmt.Errorf("%s of %s ends without saying why: %w\n%s", m.run, m.pkg, err, out)
}
