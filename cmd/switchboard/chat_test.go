package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestChatJSON talks to a bot as a script does: each line that chat prints is an object, with what was said in its place among what came, and a second
// chat tells of both, too.
func TestChatJSON(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	node, addr, _, stderr := up(t, nil, "--listen", "127.0.0.1:0", "--data", data, "--shards", "2")
	mint := func(args ...string) string {
		r := finish(t, as(t, nil, append([]string{"token", "--data", data}, args...)...))
		return strings.TrimSpace(r.out)
	}
	bot := as(t, nil, "work", "--echo", "--addr", addr, "--token", mint("--role", "worker", "--kind", "bot", "--sub", "echo"))
	said := newLines()
	if bot.Stderr = said; bot.Start() != nil {
		t.Fatal("no bot")
	}
	t.Cleanup(func() { _ = bot.Process.Kill(); _ = bot.Wait() })
	if said.until("waiting for customers") == "" {
		t.Fatalf("the bot: %s", said)
	}
	token := mint("--role", "customer", "--sub", "alice")

	var in io.WriteCloser
	var chat *exec.Cmd
	var lines *bufio.Scanner
	var told []string
	var session string
	var seq uint64
	begin := func() {
		t.Helper()
		told, seq = nil, 0
		chat = as(t, nil, "chat", "--addr", addr, "--token", token, "--json", "--wait", "1m")
		var out io.ReadCloser
		var err error
		if in, err = chat.StdinPipe(); err == nil {
			out, err = chat.StdoutPipe()
		}
		if err == nil {
			err = chat.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		lines = bufio.NewScanner(out)
	}
	until := func(want string) {
		t.Helper()
		for lines.Scan() {
			var l struct {
				Event, Session, Customer, Kind, Type, Origin, From string
				Seq, Epoch, TS                                     uint64
				Body                                               struct{ Text string }
			}
			if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
				t.Fatalf("%s: %v", lines.Bytes(), err)
			}
			short := fmt.Sprint(l.Event, " ", l.Kind, " ", l.Type, " ", l.From, " ", l.Body.Text)
			if l.Event == "session" {
				session, short = l.Session, fmt.Sprint("session ", l.Customer)
			} else if l.Session != session || l.Seq != seq+1 && seq != 0 || l.Epoch == 0 || l.TS == 0 || l.Origin == "" {
				t.Fatalf("%s after %d", lines.Bytes(), seq)
			} else {
				seq = l.Seq
			}
			if told = append(told, short); short == want {
				return
			}
		}
		t.Fatalf("%q did not come: %q", want, told)
	}
	say := func(text string) {
		t.Helper()
		if _, err := io.WriteString(in, text+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	begin()
	until("session alice")
	say("where is <my> parcel & co?")
	until("said message text alice where is <my> parcel & co?")
	until("came message text echo you said: where is <my> parcel & co?")
	say("thanks")
	until("said message text alice thanks")
	until("came message text echo you said: thanks")

	if err := chat.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := chat.Wait(); err != nil {
		t.Fatal(err)
	}
	was := session
	begin()
	until("session alice")
	if session != was {
		t.Fatalf("it is session %s; it was %s", session, was)
	}
	until("said message text alice where is <my> parcel & co?")
	until("came message text echo you said: thanks")
	if err := chat.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = chat.Wait()

	begin()
	until("session alice")
	say("/close")
	until("came event session.closed  ")
	if err := chat.Process.Signal(syscall.SIGTERM); err != nil { // it listens on for a minute
		t.Fatal(err)
	}
	if err := chat.Wait(); err != nil {
		t.Fatal(err)
	}
	terminate(t, node, stderr)
}

// TestChatPlace: who waits is told where he stands in line.
func TestChatPlace(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	node, addr, _, stderr := up(t, nil, "--listen", "127.0.0.1:0", "--data", data, "--shards", "2")
	token := strings.TrimSpace(finish(t, as(t, nil, "token", "--data", data, "--sub", "alice")).out)
	chat := as(t, nil, "chat", "--addr", addr, "--token", token, "--wait", "1m")
	chat.Stdin = strings.NewReader("hello\n")
	told := newLines()
	if chat.Stderr = told; chat.Start() != nil {
		t.Fatal("no chat")
	}
	t.Cleanup(func() { _ = chat.Process.Kill(); _ = chat.Wait() })
	if told.until("number 1 in line") == "" {
		t.Fatalf("alice was told: %s", told)
	}
	terminate(t, node, stderr)
}
