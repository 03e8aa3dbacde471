package node_test

import (
	"net/http"
	"testing"

	"switchboard/backup"
	"switchboard/edge/token"
	"switchboard/wire"
)

// [SW-7.11] [SW-7.9] A backup from before an erasure brings nobody back: the directory knows who was erased, from a later backup or because it was told, and
// nothing in it says who that is.
func TestEraseInBackups(t *testing.T) {
	n := start(t, t.TempDir())
	bot := login(t, n, workerOf("faq", wire.OriginBot))
	bot.subscribe(obj{"slots": 16, "window": 16})
	id := secrets(t, n, bot, "alice")
	bobs := secrets(t, n, bot, "bob")
	v := login(t, n, customerOf("visitor"))
	visits := v.open(obj{"shop": "s2"})
	v.ask("send", obj{"session": visits, "type": "text", "key": "k", "body": text(secretOf("alice") + canary + " before she logged in")})
	v.ask("identify", obj{"token": mint(t, n, customerOf("alice"))})
	login(t, n, customerOf("alice")).ask("send", obj{"session": id, "type": "text", "body": text("and that")}) // her session's row does not say so yet
	said := map[string]int{}                                                                                   // how much there is of them
	watcher := login(t, n, sueClaims)
	for _, id := range []string{id, visits} {
		said[id] = len(entries(watcher.ask("history", obj{"session": id, "after": 0})))
	}
	later, told := backup.Open(t.TempDir(), nil), backup.Open(t.TempDir(), nil)
	m := take(t, later, operatorOf(t, n))
	m2 := take(t, told, operatorOf(t, n))
	byOther := backup.Open(t.TempDir(), nil) // that was told the name by which she was asked for
	m3 := take(t, byOther, operatorOf(t, n))
	code, e := web(t, n, opa, "DELETE", "/v1/customers/alice", nil, "")
	if code != http.StatusAccepted {
		t.Fatalf("erase: %d %v", code, e)
	}
	erased(t, n, "alice", "erased")
	newcomer := login(t, n, customerOf("alice"))
	anew := newcomer.open(obj{})
	newcomer.ask("send", obj{"session": anew, "type": "text", "body": text("I am new")})
	last := take(t, later, operatorOf(t, n))
	note := backup.Erased{Tenant: "demo", Customer: "alice", Mark: e["erasure"].(string), At: int64(num(e["at"]))}
	for range 2 {
		if err := told.Erase(note); err != nil {
			t.Fatal(err)
		}
	}
	note.Customer = "visitor"
	if err := byOther.Erase(note); err != nil {
		t.Fatal(err)
	}
	stop(t, n)
	for _, d := range []*backup.Dir{later, told} {
		list, err := d.Erasures()
		if err != nil || len(list.List) == 0 {
			t.Fatalf("the directory knows of %v, %v", list, err)
		}
		if x, ok := list.Of("demo", "alice"); !ok || x.Mark != e["erasure"] {
			t.Fatalf("of alice it knows %v", x)
		}
		if _, ok := list.Of("demo", "bob"); ok {
			t.Fatal("it takes bob for erased")
		}
	}
	for _, x := range []struct {
		d  *backup.Dir
		id string
	}{{later, m.ID}, {told, m2.ID}, {byOther, m3.ID}} {
		dir, r := restore(t, x.d, x.id)
		if r.Erased != 2 {
			t.Fatalf("%d were erased; want alice, and the visitor who became her", r.Erased)
		}
		if list := filesWith(t, dir, secretOf("alice")); len(list) > 0 {
			t.Fatalf("restored, it is in %q", list)
		}
		if len(filesWith(t, dir, secretOf("bob"))) == 0 {
			t.Fatal("bob is gone too")
		}
		n := start(t, dir)
		sue := login(t, n, sueClaims)
		for _, id := range []string{id, visits} {
			h := sue.ask("history", obj{"session": id, "after": 0})
			if clean(t, "a restored session", h); len(entries(h)) != said[id] {
				t.Fatalf("there were %d entries: %v", said[id], h)
			}
		}
		if h := sue.ask("history", obj{"session": bobs, "after": 0}); len(entries(h)) < 3 {
			t.Fatalf("bob's: %v", h)
		}
		again := login(t, n, customerOf("alice"))
		again.refused("no_session", "history", obj{"session": id})
		if s := again.open(obj{}); s == id || s == visits {
			t.Fatal("she is given a session that was erased")
		}
		s := login(t, n, token.Claims{Sub: "connector", Role: wire.RoleService})
		if theirs := s.open(obj{"customer": wechat(secretOf("alice") + canary)}); theirs == id {
			t.Fatal("her external id leads to the old session")
		}
		erased(t, n, "alice", "completed")
		stop(t, n)
	}
	// One from after it has her as she is by now.
	dir, r := restore(t, later, last.ID)
	n = start(t, dir)
	defer stop(t, n)
	h := login(t, n, customerOf("alice")).ask("history", obj{"session": anew})
	if r.Erased != 0 || bodyText(entries(h)[1]) != "I am new" {
		t.Fatalf("%d erased, and of what came after it there is %v", r.Erased, h)
	}
}
