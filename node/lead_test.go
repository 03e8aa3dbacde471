package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"switchboard/edge/token"
)

// twice asks for a change whose first answer is lost, and returns the second.
func twice[A any](t *testing.T, ask func() (*A, error)) *A {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	n := 0
	a, err := decided(ctx, false, func() (*A, error) {
		a, err := ask()
		if n++; n == 1 && err == nil {
			return nil, errors.New("it is not known whether it was changed")
		}
		return a, err
	})
	if err != nil || n != 2 {
		t.Fatalf("asked %d times, %v", n, err)
	}
	return a
}

// A change of the cluster's rows whose answer is lost is asked for again, though it was made. That changes nothing more, and is no refusal [SW-7.10].
func TestKeysDecidedTwice(t *testing.T) {
	const first = `{"kid":"k1","secret":"0123456789abcdef0123456789abcdef"}`
	begin, err := token.Add([]byte(`{"version":1}`), "demo", json.RawMessage(first), true)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []*KeysAsked{
		{Action: "add", Tenant: "demo", Key: json.RawMessage(`{"kid":"k2","secret":"another-secret-of-thirty-two-bytes"}`), First: true},
		{Action: "create", Tenant: "demo", Kid: "k2"},
		{Action: "create", Tenant: "other", Kid: "k1"},
		{Action: "remove", Tenant: "demo", Kid: "k1", Last: true},
	} {
		row, docs := begin, [][]byte{}
		a := twice(t, func() (*KeysAnswer, error) {
			before := row
			doc, err := q.apply(before)
			if err != nil {
				return nil, err
			}
			row = doc
			docs = append(docs, doc)
			return q.answer(before, doc)
		})
		if bytes.Equal(docs[0], begin) || !bytes.Equal(docs[1], docs[0]) {
			t.Errorf("%s: at first\n%s\nand again\n%s", q.Action, docs[0], docs[1])
		}
		want, err := q.answer(begin, docs[0])
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := json.Marshal(a.Keys); string(got) != mustJSON(t, want.Keys) {
			t.Errorf("%s: the answer is %s; want %s", q.Action, got, mustJSON(t, want.Keys))
		}
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// So is a tenant who was made: the row stays as it was written first [SW-7.12].
func TestTenantDecidedTwice(t *testing.T) {
	cfg := &Config{}
	for _, q := range []*TenantsAsked{
		{Action: "create", Tenant: "acme", TenantSettings: TenantSettings{DefaultQueue: "q", WrapUpMS: 500}, By: "olga"},
		{Action: "begin", Tenant: "acme", By: "olga"},
	} {
		rows, wrote := map[string][]byte{}, 0
		now := time.UnixMilli(1_800_000_000_000)
		a := twice(t, func() (*TenantsAnswer, error) {
			now = now.Add(time.Second)
			made, err := cfg.tenantryOf(rows)
			if err != nil {
				return nil, err
			}
			row, err := q.row(made, false, now)
			if err != nil {
				return nil, err
			}
			if row != nil {
				rows["acme"] = row
				wrote++
			}
			return &TenantsAnswer{Changed: row != nil}, nil
		})
		if wrote != 1 || a == nil {
			t.Errorf("%s: the row is written %d times; want once", q.Action, wrote)
		}
	}
}
