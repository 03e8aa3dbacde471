package shard

import (
	"testing"
	"time"
)

// witnesses is a group that was heard of at a moment by others, and is sure for a while from then on.
type witnesses struct {
	now, at, lease time.Duration
	listens        int
}

func (h *witnesses) Sure() bool                { return h.at+h.lease > h.now }
func (h *witnesses) Led(at time.Duration) bool { return h.at >= at }
func (h *witnesses) Clock() time.Duration      { return h.now }
func (h *witnesses) Listen()                   { h.listens++ }

// What an owner says leaves although he never hears soon enough that he leads, as soon as he hears that he did when he knew it; and nothing before.
func TestDoubt(t *testing.T) {
	g := &witnesses{now: 1000, at: 990, lease: 350}
	var d doubt
	if n := d.free(3, g); n != 3 || g.listens != 0 {
		t.Fatalf("%d of 3 leave who is sure", n)
	}
	g.now = 2000
	if n := d.free(2, g); n != 0 || g.listens != 1 {
		t.Fatalf("%d leave, and it was heard of 1010 ago", n)
	}
	g.now, g.at = 2400, 1999 // asked just before
	if n := d.free(3, g); n != 0 {
		t.Fatalf("%d leave, and others may have led at 2000", n)
	}
	g.now, g.at = 2500, 2000
	if n := d.free(3, g); n != 2 {
		t.Fatalf("%d leave of the two that were held at 2000", n)
	}
	if n := d.free(1, g); n != 0 { // that came at 2400
		t.Fatal("what came later leaves, too")
	}
	g.now, g.at = 2900, 2499
	if n := d.free(1, g); n != 0 {
		t.Fatal("it leaves, and others may have led at 2500")
	}
	g.now, g.at = 2901, 2500
	if n := d.free(1, g); n != 1 {
		t.Fatal("it never leaves")
	}
	g.now = 5000
	if d.free(4, g); d.n != 4 {
		t.Fatalf("doubt of %d", d.n)
	}
	if g.listens != 7 { // each time that something stays, or may
		t.Fatalf("it listens %d times", g.listens)
	}
	if g.at = 4900; d.free(5, g) != 5 || d.n != 0 {
		t.Fatal("a doubt stays when it is sure")
	}
}

// lapsing is a group that is sure until it is asked.
type lapsing struct {
	witnesses
	asked int
}

func (h *lapsing) Sure() bool {
	h.asked++
	return h.asked == 1
}

// Who was sure when he looked lets all of it leave; who keeps something has asked to be woken, also when he ceases to be sure while he looks.
func TestLapse(t *testing.T) {
	g := &lapsing{}
	g.now, g.at = 2000, 1000
	var d doubt
	if n := d.free(3, g); n < 3 && g.listens == 0 {
		t.Fatalf("%d of 3 leave, and nobody wakes him for the others", n)
	}
}
