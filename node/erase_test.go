package node_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/wire"
)

var (
	opa       = token.Claims{Sub: "opa", Role: wire.RoleOperator}
	sueClaims = token.Claims{Sub: "sue", Role: wire.RoleSupervisor}
)

// erased waits until an erasure is at least as far as state.
func erased(t testing.TB, n *node.Node, customer, state string) obj {
	t.Helper()
	far := map[string]int{"none": 0, "erasing": 1, "erased": 2, "completed": 3}
	var got obj
	patiently(t, customer+" is "+state, func() bool {
		var code int
		if code, got = web(t, n, opa, "GET", "/v1/customers/"+customer+"/erasure", nil, ""); code != http.StatusOK {
			return false
		}
		return far[fmt.Sprint(got["state"])] >= far[state]
	})
	return got
}

// patiently is until for what several nodes do one after the other, each as its disk lets it.
func patiently(t testing.TB, what string, happened func() bool) {
	t.Helper()
	for late := time.Now().Add(3 * time.Minute); !happened(); <-time.After(20 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("it did not happen: %s", what)
		}
	}
}

// canary is in everything that an erased customer, or anybody in his sessions, has said.
const canary = "CanaryZq7"

func clean(t testing.TB, what string, v any) {
	t.Helper()
	if s := fmt.Sprint(v); strings.Contains(s, canary) {
		t.Fatalf("%s still says %s", what, s)
	}
}

// [SW-7.11] [I14] Nobody can read anything of an erased customer, on any way; what was counted is as before; whoever has the session hears of it, and
// has room again.
func TestErase(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	bot := login(t, n, workerOf("faq", wire.OriginBot))
	bot.subscribe(obj{"slots": 1, "window": 16})
	sue := login(t, n, token.Claims{Sub: "sue", Role: wire.RoleSupervisor})
	begin := sue.ask("watch", obj{"scope": obj{}})["cursor"]
	alice := login(t, n, token.Claims{Sub: "alice", Role: wire.RoleCustomer, Name: "Alice " + canary, Tier: canary})
	id := alice.open(obj{"attributes": obj{"about": canary}, "key": canary})
	alice.ask("send", obj{"session": id, "key": canary + "1", "type": "text", "body": text("my name is " + canary)})
	bot.push("assigned")
	bot.push("delivery")
	bot.ask("reply", obj{"session": id, "ae": 1, "ack": 2, "key": canary, "body": text("hello " + canary)})
	bot.ask("context", obj{"session": id, "ae": 1, "if_v": 0, "patch": obj{"note": canary}})
	bot.ask("delta", obj{"session": id, "ae": 1, "stream": "m1", "off": 0, "text": "and " + canary})
	link := obj{"channel": "wechat", "external_id": "o6_" + canary}
	if code, got := web(t, n, opa, "POST", "/v1/customers/alice/identities", link, ""); code != http.StatusCreated {
		t.Fatalf("link: %d %v", code, got)
	}
	bob := login(t, n, customerOf("bob"))
	bobs := bob.open(obj{})
	bob.ask("send", obj{"session": bobs, "type": "text", "body": text("I am not she")})
	before := alice.ask("history", obj{"session": id})

	for _, who := range []token.Claims{customerOf("alice"), serviceOf("connector"), {Sub: "sue", Role: wire.RoleSupervisor}, {Sub: "opa", Role: wire.RoleOperator, Shop: "s1"}} {
		if code, got := web(t, n, who, "DELETE", "/v1/customers/alice", nil, ""); code != http.StatusForbidden {
			t.Fatalf("%s erases: %d %v", who.Role, code, got)
		}
	}
	if _, got := web(t, n, opa, "GET", "/v1/customers/alice/erasure", nil, ""); got["state"] != "none" {
		t.Fatalf("before it: %v", got)
	}
	code, first := web(t, n, opa, "DELETE", "/v1/customers/alice", nil, "")
	if code != http.StatusAccepted || !strings.HasPrefix(fmt.Sprint(first["erasure"]), "e_") {
		t.Fatalf("erase: %d %v", code, first)
	}
	last := erased(t, n, "alice", "erased")
	if num(last["sessions"]) != 1 || last["erasure"] != first["erasure"] {
		t.Fatalf("erased %v after %v", last, first)
	}
	if r := bot.push("revoked"); r["session"] != id {
		t.Fatalf("revoked %v", r)
	}
	if a := bot.push("assigned"); a["session"] != bobs { // there is room
		t.Fatalf("assigned %v", a)
	}
	for m := (obj{}); m["type"] != "session.erased"; { // who watches hears of it
		m = sue.push("message")
	}
	// She has nothing any more.
	alice.push("message")
	for _, verb := range []string{"history", "open", "send", "close"} {
		alice.refused("no_session", verb, obj{"session": id, "type": "text", "body": 1})
	}
	// Staff sees that there was something.
	h := sue.ask("history", obj{"session": id, "after": 0, "limit": 100})
	clean(t, "history", h)
	if list := entries(h); len(list) < len(entries(before)) || list[1]["type"] != "erased" || list[1]["origin"] != "customer" || list[1]["ts"] != entries(before)[1]["ts"] {
		t.Fatalf("history %v", h)
	}
	sue.ask("open", obj{"session": id, "from": obj{"epoch": 1, "seq": 0}})
	for seq := 1; seq <= len(entries(h)); seq++ {
		clean(t, "a page", sue.push("message"))
	}
	sue.refused("session_closed", "take", obj{"session": id})
	sue.refused("session_closed", "attributes", obj{"session": id, "if_v": 0, "patch": obj{"x": 1}})
	clean(t, "the bot's history", bot.ask("history", obj{"session": id, "after": 0}))
	if code, got := web(t, n, opa, "GET", "/v1/customers/alice/identities", nil, ""); code != http.StatusOK || strings.Contains(fmt.Sprint(got), canary) {
		t.Fatalf("identities %d %v", code, got)
	}
	w := login(t, n, token.Claims{Sub: "wally", Role: wire.RoleSupervisor})
	w.ask("watch", obj{"scope": obj{}, "from": begin})
	for m := (obj{}); m["type"] != "session.erased"; {
		m = w.push("message")
		clean(t, "the feed", m)
	}
	// Others have lost nothing; and she may come again, as somebody new.
	if m := entries(bob.ask("history", obj{"session": bobs}))[1]; bodyText(m) != "I am not she" {
		t.Fatalf("bob's %v", m)
	}
	again := login(t, n, customerOf("alice"))
	if anew := again.open(obj{}); anew == id {
		t.Fatal("her new session is the old one")
	}
	s := login(t, n, serviceOf("connector"))
	if theirs := s.open(obj{"customer": link}); theirs == id {
		t.Fatal("her external id leads to the old session")
	}
}

// [SW-7.11] Who became a customer is erased with him, on whatever shard; and a restart in the middle forgets nothing.
func TestEraseEverybodyWhoBecameHim(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	ids := map[string]string{}
	for i := range 6 {
		name := fmt.Sprint("visitor", i)
		v := login(t, n, customerOf(name))
		ids[name] = v.open(obj{"shop": fmt.Sprint("s", i%3)})
		v.ask("send", obj{"session": ids[name], "type": "text", "body": text(canary)})
		if i < 5 {
			v.ask("identify", obj{"token": mint(t, n, customerOf("alice"))})
		}
	}
	if code, got := web(t, n, opa, "DELETE", "/v1/customers/visitor3", nil, ""); code != http.StatusAccepted { // he is alice
		t.Fatalf("erase: %d %v", code, got)
	}
	stop(t, n)
	n = start(t, dir)
	defer func() { stop(t, n) }()
	erased(t, n, "alice", "erased")
	sue := login(t, n, token.Claims{Sub: "sue", Role: wire.RoleSupervisor})
	for name, id := range ids {
		h := sue.ask("history", obj{"session": id, "after": 0})
		if gone := !strings.Contains(fmt.Sprint(h), canary); gone != (name != "visitor5") {
			t.Errorf("%s: %v", name, h)
		}
	}
	for i := range 5 {
		erased(t, n, fmt.Sprint("visitor", i), "erased")
		v := login(t, n, customerOf(fmt.Sprint("visitor", i)))
		v.refused("no_session", "history", obj{"session": ids[fmt.Sprint("visitor", i)]})
	}
}

// filesWith returns the files below a data directory that hold word.
func filesWith(t testing.TB, data, word string) (list []string) {
	t.Helper()
	if err := filepath.WalkDir(data, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path) //nolint:gosec // the test's own
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if bytes.Contains(b, []byte(word)) {
			list = append(list, path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

// secretOf is what files are searched for: nothing of it is in another's words, so that no table, compressed, has it in pieces.
func secretOf(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:8])
}

// secrets lets a customer and a bot say things that hold the canary, and gives the session's id.
func secrets(t testing.TB, n *node.Node, bot *peer, name string) string {
	t.Helper()
	c := login(t, n, token.Claims{Sub: name, Role: wire.RoleCustomer, Name: secretOf(name) + canary})
	id := c.open(obj{"attributes": obj{"about": secretOf(name) + canary}})
	c.ask("send", obj{"session": id, "key": name, "type": "text", "body": text("I am " + name + " " + secretOf(name) + canary)})
	for bot.push("assigned")["session"] != id {
	}
	bot.ask("reply", obj{"session": id, "ae": 1, "body": text("hello " + secretOf(name) + canary)})
	bot.ask("context", obj{"session": id, "ae": 1, "if_v": 0, "patch": obj{"note": secretOf(name) + canary}})
	link := obj{"channel": "wechat", "external_id": secretOf(name) + canary}
	if code, got := web(t, n, opa, "POST", "/v1/customers/"+name+"/identities", link, ""); code != http.StatusCreated {
		t.Fatalf("link: %d %v", code, got)
	}
	return id
}

// [SW-7.11] When an erasure is completed no byte of any file of the node's directory has anything of the customer, before a restart and after it.
func TestEraseCompleted(t *testing.T) {
	dir := t.TempDir()
	small := func(c *node.Config) { c.SegmentBytes = 64 << 10 }
	n := start(t, dir, small)
	bot := login(t, n, workerOf("faq", wire.OriginBot))
	bot.subscribe(obj{"slots": 16, "window": 16})
	secrets(t, n, bot, "alice")
	bobs := secrets(t, n, bot, "bob")
	stop(t, n) // what was said is in tables now
	n = start(t, dir, small)
	bot = login(t, n, workerOf("faq", wire.OriginBot))
	bot.subscribe(obj{"slots": 16, "window": 16})
	if len(filesWith(t, dir, secretOf("alice"))) == 0 {
		t.Fatal("there is nothing to be erased: this tests nothing")
	}
	if code, got := web(t, n, opa, "DELETE", "/v1/customers/alice", nil, ""); code != http.StatusAccepted {
		t.Fatalf("erase: %d %v", code, got)
	}
	got := erased(t, n, "alice", "completed")
	if list := filesWith(t, dir, secretOf("alice")); len(list) > 0 {
		t.Fatalf("it is in %q", list)
	}
	if len(filesWith(t, dir, secretOf("bob"))) == 0 {
		t.Fatal("bob is gone too")
	}
	stop(t, n)
	if list := filesWith(t, dir, secretOf("alice")); len(list) > 0 {
		t.Fatalf("stopped, it is in %q", list)
	}
	n = start(t, dir, small)
	defer func() { stop(t, n) }()
	if again := erased(t, n, "alice", "completed"); again["erasure"] != got["erasure"] || again["at"] != got["at"] {
		t.Fatalf("after a restart it is %v; before it was %v", again, got)
	}
	if m := entries(login(t, n, customerOf("bob")).ask("history", obj{"session": bobs}))[1]; !strings.Contains(bodyText(m), "bob") {
		t.Fatalf("bob's %v", m)
	}
	if list := filesWith(t, dir, secretOf("alice")); len(list) > 0 {
		t.Fatalf("after a restart it is in %q", list)
	}
}
