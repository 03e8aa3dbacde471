package link

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"

	"switchboard/wire"
)

// exchangeAll sends mail of both versions' kinds from a to b, and returns which kinds came.
func exchangeAll(t *testing.T, a, b *host, slot wire.Slot) (came string) {
	t.Helper()
	in := make(sink, 16)
	b.x.PlugSlots([]wire.Slot{slot}, in)
	a.x.PlugRemote([]wire.Slot{slot}, a.To(b.cfg.Node))
	who := &wire.Principal{Tenant: "demo", Sub: "p"}
	for _, m := range []wire.Mail{
		&wire.Command{Verb: wire.VerbSend, Who: who, ID: 1}, &wire.Parcel{N: 7, Rows: []byte("rows")}, &wire.Found{}, &wire.Command{Verb: wire.VerbSend, Who: who, ID: 2},
	} {
		a.post(t, wire.ToSlot(slot), m)
	}
	for {
		e := <-in
		came += fmt.Sprintf("%T ", e.Mail)
		if c, ok := e.Mail.(*wire.Command); ok && c.ID == 2 {
			return came
		}
	}
}

const (
	allKinds = "*wire.Command *wire.Parcel *wire.Found *wire.Command "
	oldKinds = "*wire.Command *wire.Found *wire.Command "
)

// Nodes of two neighbouring versions speak the older one, whoever calls; when the older one is replaced by the newer they speak that. So they do
// with a node that refuses all versions but its own, as soon as it has called once. Mail that the older version lacks is not sent, and nothing else is lost.
func TestNeighbouringVersions(t *testing.T) {
	for _, strict := range []bool{false, true} {
		t.Run(fmt.Sprint("strict ", strict), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { neighbours(t, strict) })
		})
	}
}

func neighbours(t *testing.T, strict bool) {
	n := newNetwork()
	a, b := pair(t, n, func(c *Config) {
		c.Answer = func(string, []byte) ([]byte, error) { return []byte("me"), nil }
		if c.Node == "b" {
			c.Version, c.strict = wire.LinkOldest, strict
		}
	})
	if got := exchangeAll(t, a, b, 1); got != oldKinds {
		t.Fatalf("to the older one came %s", got)
	}
	if got := exchangeAll(t, b, a, 2); got != oldKinds {
		t.Fatalf("from the older one came %s", got)
	}
	asking := Config{Node: "c", Plain: true, Dial: n.dial("c"), Log: slog.New(slog.DiscardHandler)}
	if node, answer, err := Ask(t.Context(), "b", asking, []byte("who")); err != nil || node != "b" || string(answer) != "me" {
		t.Fatalf("a question is answered %s, %q, %v", node, answer, err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = n.open(t, "b", 22, 2, nil)
	b.add(t, "a")
	b.await(t, Event{Kind: Up, Node: "a", Incarnation: 1})
	for e := range a.events {
		if e.Kind == Up && e.Incarnation == 22 {
			break
		}
	}
	if got := exchangeAll(t, a, b, 3); got != allKinds {
		t.Fatalf("after the upgrade came %s", got)
	}
	if got := exchangeAll(t, b, a, 4); got != allKinds {
		t.Fatalf("after the upgrade came %s", got)
	}
	if err := errors.Join(a.Close(), b.Close()); err != nil {
		t.Fatal(err)
	}
}

// A version that nobody understands is refused, and said; one that is yet to come is spoken with as far as it is known.
func TestVersionsBeyond(t *testing.T) {
	h := hello{version: wire.LinkOldest - 1, node: "n1", cluster: "c", incarnation: 1}
	if _, err := parseHello(h.bytes()); err == nil {
		t.Error("a version from long ago is understood")
	}
	h.version = wire.LinkVersion + 1
	got, err := parseHello(append(h.bytes(), "what it says besides"...))
	if err != nil || got.node != "n1" || min(got.version, wire.LinkVersion) != wire.LinkVersion {
		t.Errorf("the next version is heard as %+v, %v", got, err)
	}
	h.version = wire.LinkVersion
	if _, err := parseHello(append(h.bytes(), "garbage"...)); err == nil {
		t.Error("a hello of this version with garbage behind it is taken")
	}
	for _, v := range []uint64{wire.LinkOldest - 1, wire.LinkVersion + 1} {
		if _, err := (Config{Cluster: "c", Node: "n", Version: v}).withDefaults(); err == nil {
			t.Errorf("version %d is configured", v)
		}
	}
}
