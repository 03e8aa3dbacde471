package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// say lets a customer say something over HTTP, and returns his session.
func say(t *testing.T, addr, token, session, text string) string {
	t.Helper()
	var post func(path string, body any) (answer map[string]any)
	post = func(path string, body any) (answer map[string]any) {
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+path, bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		err = json.NewDecoder(resp.Body).Decode(&answer)
		if wait, ok := answer["retry_after_ms"].(float64); ok && resp.StatusCode == http.StatusTooManyRequests {
			<-time.After(time.Duration(wait) * time.Millisecond)
			return post(path, body)
		}
		if err != nil || resp.StatusCode >= 300 {
			t.Fatalf("%s: %d %v, %v", path, resp.StatusCode, answer, err)
		}
		return answer
	}
	if session == "" {
		session = post("/v1/sessions", map[string]any{})["session"].(string)
	}
	post("/v1/sessions/"+session+"/messages", map[string]any{"body": map[string]any{"text": text}})
	return session
}

// minted prints a token.
func minted(t *testing.T, data string, args ...string) string {
	t.Helper()
	r := finish(t, as(t, nil, append([]string{"token", "--data", data, "--tenant", "demo"}, args...)...))
	if r.code != 0 {
		t.Fatalf("%+v", r)
	}
	return strings.TrimSpace(r.out)
}

// done runs a command that must exit 0.
func done(t *testing.T, args ...string) result {
	t.Helper()
	r := finish(t, as(t, nil, args...))
	if r.code != 0 {
		t.Fatalf("%v: %+v", args, r)
	}
	return r
}

// soon waits for something that another process does.
func soon(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); !is(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

// [SW-8.9] Backups of the real thing, over [SW-7.9]: taken while it runs, killed in the middle, put back.
func TestBackup(t *testing.T) {
	dir := t.TempDir()
	data, to, fresh := filepath.Join(dir, "data"), filepath.Join(dir, "backups"), filepath.Join(dir, "fresh")
	config := filepath.Join(dir, "fast.yaml")
	if err := os.WriteFile(config, []byte("limits: {rate: 100000, burst: 100000}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n, addr, _, stderr := up(t, nil, "--config", config, "--data", data, "--listen", "127.0.0.1:0", "--shards", "4")
	ann, op := minted(t, data, "--role", "customer", "--sub", "ann"), minted(t, data, "--role", "operator", "--sub", "op")
	session := ""
	for i := range 60 {
		session = say(t, addr, ann, session, fmt.Sprint(i, strings.Repeat(rand.Text(), 900)))
	}
	ask := []string{"backup", "--to", to, "--addr", addr, "--token", op}
	first := done(t, ask...)
	if !strings.Contains(first.out, "4 shards") || strings.Contains(first.out, "0 rows") {
		t.Errorf("%+v", first)
	}
	say(t, addr, ann, session, "the last word")
	var two, three struct {
		ID     string
		Stored uint64
		Total  struct{ Rows, Bytes uint64 }
	}
	r := done(t, append(ask, "--json")...)
	if err := json.Unmarshal([]byte(r.out), &two); err != nil || two.Stored == 0 || two.Stored > two.Total.Bytes/2 {
		t.Errorf("a word more takes %d of %d bytes: %v", two.Stored, two.Total.Bytes, err)
	}
	// Killed in the middle: what it wrote is no backup, and the next one does not mind.
	slow := as(t, nil, append(ask, "--full", "--rate", "1")...)
	if err := slow.Start(); err != nil {
		t.Fatal(err)
	}
	soon(t, "the slow backup writes a pack", func() bool {
		packs, _ := filepath.Glob(filepath.Join(to, "packs", "*.pack"))
		return len(packs) > 2
	})
	complains(t, 1, "another backup is being written", nil, ask...)
	if err := slow.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = slow.Wait() // it was killed
	list := done(t, "backup", "ls", to, "--json")
	if strings.Count(list.out, "\n") != 2 || strings.Contains(list.out, "keys") {
		t.Fatalf("there are %s", list.out)
	}
	if err := json.Unmarshal([]byte(done(t, append(ask, "--json")...).out), &three); err != nil || three.Stored != 0 || three.Total != two.Total {
		t.Errorf("%+v follows %+v: %v", three, two, err)
	}
	if v := done(t, "backup", "verify", to); strings.Count(v.out, "whole") != 3 {
		t.Errorf("%s", v.out)
	}
	terminate(t, n, stderr)
	if err := os.Rename(data, filepath.Join(dir, "lost")); err != nil {
		t.Fatal(err)
	}

	// Put back, killed in the middle: nobody starts there until it is put back to the end.
	mark := filepath.Join(fresh, "RESTORING")
	killed := false
	for try := 0; !killed && try < 20; try++ {
		if err := os.RemoveAll(fresh); err != nil {
			t.Fatal(err)
		}
		p := as(t, nil, "restore", "--from", to, "--data", fresh)
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		soon(t, "the restore begins", func() bool { _, err := os.Stat(mark); return err == nil })
		_ = p.Process.Kill() // it may have ended
		_ = p.Wait()
		_, err := os.Stat(mark)
		killed = err == nil
	}
	if !killed {
		t.Fatal("no restore was caught in the middle")
	}
	complains(t, 1, "run switchboard restore into it again", nil, "serve", "--dev", "--data", fresh, "--listen", "127.0.0.1:0")
	complains(t, 1, "restore", nil, "verify", "--data", fresh)
	r = done(t, "restore", "--from", to, "--data", fresh)
	if !strings.Contains(r.out, three.ID) {
		t.Errorf("%+v", r)
	}
	complains(t, 1, "empty directory only", nil, "restore", "--from", to+"@"+two.ID, "--data", fresh)
	epoch := regexp.MustCompile(`epoch \d+`).FindString(r.out) // every command calls it by one number
	for _, look := range [][]string{{"verify", "--data", fresh}, {"shards", "ls", "--data", fresh}} {
		if r := done(t, look...); epoch == "" || strings.Count(r.out, epoch) != strings.Count(r.out, "epoch") {
			t.Errorf("the restore says %q, and %v\n%s", epoch, look, r.out)
		}
	}
	// A customer is not erased before it is known that the backups are where they are said to be.
	olga := done(t, "token", "--data", fresh, "--role", "operator", "--sub", "olga").out
	n, addr, _, stderr = up(t, nil, "--data", fresh, "--listen", "127.0.0.1:0")
	if log := done(t, "log", "--addr", addr, "--token", ann, session); !strings.Contains(log.out, "the last word") {
		t.Errorf("the last word is gone: %d lines", strings.Count(log.out, "\n"))
	}
	mistyped := filepath.Join(dir, "bakup")
	complains(t, 1, "nobody was erased: .*bakup has no backup in it", nil, "erase", "ann", "--addr", addr, "--token", olga, "--backup", to, "--backup", mistyped)
	if r := done(t, "erase", "ann", "--addr", addr, "--token", olga, "--status"); !strings.Contains(r.out, "nobody has asked") {
		t.Errorf("%+v", r)
	}
	if _, err := os.Stat(mistyped); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory was made: %v", err)
	}
	say(t, addr, ann, session, "and on")
	terminate(t, n, stderr)
	// A stopped node has a backup, too.
	done(t, "backup", "--to", to, "--data", fresh)
	if r := done(t, "backup", "prune", to, "--keep", "1"); !strings.Contains(r.out, "3 backups removed") {
		t.Errorf("%+v", r)
	}
	packs, err := filepath.Glob(filepath.Join(to, "packs", "*.pack"))
	if err != nil || len(packs) == 0 {
		t.Fatalf("%q, %v", packs, err)
	}
	if err := os.Truncate(packs[0], 100); err != nil {
		t.Fatal(err)
	}
	if r := finish(t, as(t, nil, "backup", "verify", to)); r.code != 3 || !strings.Contains(r.out, "damaged") {
		t.Errorf("a damaged backup: %+v", r)
	}
	complains(t, 3, "damaged", nil, "restore", "--from", to, "--data", filepath.Join(dir, "other"))
}

// [SW-8.9] What is wrong with a call is said.
func TestBackupUsage(t *testing.T) {
	dir := t.TempDir()
	complains(t, 2, "set --to", nil, "backup")
	complains(t, 2, "no token.*token --role operator", nil, "backup", "--to", dir) // a supervisor's would be refused
	complains(t, 2, "--addr and --token for a running one", nil, "backup", "--to", dir, "--token", "x", "--data", dir)
	complains(t, 1, "no data directory", nil, "backup", "--to", dir, "--data", filepath.Join(dir, "none"))
	complains(t, 2, "set --from", nil, "restore", "--data", dir)
	complains(t, 1, "no backup", nil, "restore", "--from", t.TempDir(), "--data", filepath.Join(dir, "new"))
	complains(t, 1, "no backup", nil, "backup", "verify", t.TempDir()+"@20260101T000000Z")
	complains(t, 2, "set --keep", nil, "backup", "prune", dir)
	complains(t, 1, "no directory of backups", nil, "backup", "ls", filepath.Dir(dir))
}
