package main

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// TestHall: tokens are counted however they are cut into messages, what does not come is given up, and a fault ends the wait.
func TestHall(t *testing.T) {
	h := &hall{watchers: 2}
	h.heard([]byte(`{"delta":{"text":"~tok1 "}}` + "\n" + `{"delta":{"text":"~tok2 "}}`))
	h.heard([]byte(`{"state":{}}`))
	if h.tokens.Load() != 2 || h.messages.Load() != 1 {
		t.Fatalf("%d tokens in %d messages", h.tokens.Load(), h.messages.Load())
	}
	if missed, err := h.await(t.Context(), 2); missed != 0 || err != nil {
		t.Errorf("%d, %v", missed, err)
	}
	if missed, err := h.await(t.Context(), 5); missed != 3 || err != nil {
		t.Errorf("%d were given up, %v", missed, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.await(ctx, 1); err == nil {
		t.Error("the end is not heard of")
	}
	broken := errors.New("broken")
	h.fail(broken)
	if _, err := h.await(t.Context(), 9); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	h.over.Store(true)
	h.fail(errors.New("late"))
	if err := *h.fault.Load(); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

// TestFanTable: the middle of the rounds, and what failed is said.
func TestFanTable(t *testing.T) {
	r := &Report{Rows: []*Row{{Name: "a", Fan: []Fan{{PerSecond: 10}, {PerSecond: 30}, {PerSecond: 20}}}, {Name: "b", Fan: []Fan{{Round: 2, Fault: "why"}}}, {Name: "c"}}}
	var b strings.Builder
	r.fan(&b)
	if s := b.String(); !strings.Contains(s, "20/s") || !strings.Contains(s, "no figure: b, watchers, round 2: why") || strings.Contains(s, "c  ") {
		t.Errorf("%s", s)
	}
	var none strings.Builder
	(&Report{Rows: []*Row{{Name: "a"}}}).fan(&none)
	if none.Len() > 0 {
		t.Errorf("%s", none.String())
	}
}
