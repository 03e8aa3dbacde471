package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"switchboard/loadtest"
)

// command runs the program with args, and returns what it printed.
func command(t *testing.T, args ...string) (string, error) {
	t.Helper()
	root := newRoot()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestReplayCommand(t *testing.T) {
	out, err := command(t, "loadtest", "replay", "--limit", "4", "--speed", "500", "--handoff", "1", "--disconnects", "0", "--seed", "1", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var res loadtest.ReplayResult
	if err := json.Unmarshal([]byte(out), &res); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if res.Dialogues != 4 || res.Seed != 1 || !res.Holds() || res.HandOffs == 0 {
		t.Errorf("the verdict is %s", out)
	}
	out, err = command(t, "loadtest", "replay", "--limit", "2", "--timeout", "1ms")
	var check checkError
	if !errors.As(err, &check) || !strings.Contains(out, "DOES NOT HOLD: play it again with --seed ") || !strings.Contains(err.Error(), "--seed") {
		t.Errorf("a replay without time says %v, and prints\n%s", err, out)
	}
}

// What a shell still says of a node does not go unsaid, and `make demo-replay` does not go by it.
func TestReplayPlace(t *testing.T) {
	first := func(args ...string) string {
		t.Helper()
		return firstLine(t, append(args, "--limit", "1", "--speed", "0.001")...) // a wrong call, behind that line
	}
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	_, recipe, _ := strings.Cut(string(makefile), "\ndemo-replay:")
	_, recipe, _ = strings.Cut(recipe, "\tbin/switchboard ")
	recipe, _, _ = strings.Cut(recipe, "\n")
	const own = "playing against a node of its own, started for this"
	if line := first("loadtest", "replay"); line != own {
		t.Errorf("it begins with %q", line)
	}
	data := t.TempDir()
	t.Setenv("SWITCHBOARD_DATA", data)
	t.Setenv("SWITCHBOARD_ADDR", "127.0.0.1:1")
	if line := first("loadtest", "replay"); line != "playing against the node at 127.0.0.1:1, with the keys of "+data+"; for a node of its own: --addr= --data= --token-cmd=" {
		t.Errorf("with a shell's variables it begins with %q", line)
	}
	if line := first(strings.Fields(recipe)...); line != own {
		t.Errorf("make demo-replay (%q) begins with %q", recipe, line)
	}
}

func TestReplayUsage(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.jsonl")
	if err := os.WriteFile(bad, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(args ...string) {
		t.Helper()
		var usage usageError
		if _, err := command(t, append([]string{"loadtest", "replay"}, args...)...); !errors.As(err, &usage) {
			t.Errorf("%v: %v; want a wrong call", args, err)
		}
	}
	f("extra")
	f("--addr", "127.0.0.1:1")
	f("--token-cmd", "echo x")
	f("--token-cmd", "echo x", "--data", t.TempDir())
	f("--dialogues", bad)
	f("--dialogues", bad+".missing")
	f("--disconnects", "2")
	f("--speed", "0.001")
}

// TestTokenCommand: the command is told who wants a token.
func TestTokenCommand(t *testing.T) {
	got, err := tokenFrom(t.Context(), `echo "$ROLE/$KIND/$SUB"`, "worker", "bot", "b1")
	if err != nil || got != "worker/bot/b1" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := tokenFrom(t.Context(), "exit 3", "customer", "", "x"); err == nil {
		t.Error("a command that fails makes no token")
	}
}

// firstLine returns what a call that fails says first.
func firstLine(t *testing.T, args ...string) string {
	t.Helper()
	var said bytes.Buffer
	root := newRoot()
	root.SetOut(io.Discard)
	root.SetErr(&said)
	root.SetArgs(args)
	if err := root.ExecuteContext(t.Context()); err == nil {
		t.Errorf("%v played", args)
	}
	line, _, _ := strings.Cut(said.String(), "\n")
	return line
}
