package bench

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// TestPage measures everything but the whole node, shortly: each figure is there, and has its limit beside it.
func TestPage(t *testing.T) {
	page, err := Run(t.Context(), Config{Dir: t.TempDir(), Customers: 4, Connects: 20, Time: 80 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range page.Limits {
		if f.Value <= 0 || f.Unit == "" {
			t.Errorf("limit %+v", f)
		}
	}
	for _, f := range page.Own {
		if f.Value <= 0 || f.Share <= 0 || f.Limit == "" {
			t.Errorf("figure %+v", f)
		}
	}
	limits := 6
	if _, ok := threadCPU(); ok {
		limits += 3
	}
	if len(page.Limits) != limits || len(page.Own) != 5 {
		t.Errorf("%d limits and %d figures; want %d and 5: two codecs, three journals", len(page.Limits), len(page.Own), limits)
	}
	page.Warnings = []string{"no figure to quote"}
	var out strings.Builder
	if err := page.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{page.Machine, "ping-pong", "written before", "of 1 writer ", "256 writers", "% ", "\nwarning: no figure to quote\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, Config{Dir: t.TempDir()}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v; want context.Canceled", err)
	}
}

func TestShares(t *testing.T) {
	var p Page
	p.own("rate", 50, "/s", "limit", 100, true)
	p.own("time", 4, "ms", "limit", 1, false)
	if p.Own[0].Share != 0.5 || p.Own[1].Share != 0.25 {
		t.Errorf("%+v; want a half and a quarter", p.Own)
	}
}
