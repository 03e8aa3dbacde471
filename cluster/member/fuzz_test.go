package member

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"switchboard/cluster"
	"switchboard/internal/sealed"
)

// FuzzIdentity reads anything as node.json, and as the section of it that is a member's with the checksum that it should have. What is read can
// be saved, and is the same then, with whatever else was in the file.
func FuzzIdentity(f *testing.F) {
	id := &Identity{
		Cluster: "c1", Name: "a", Birth: draw(), Node: 3, Meta: 9, Born: 4, Founder: true, Starts: []string{"s1", "s2"}, Opened: "s2", Tried: []string{"s3"},
		Peers: []Peer{{1, "b", "b:1"}}, Held: map[uint16]Held{0: {ID: 7, Version: 2}, 4095: {ID: 8, Erasing: true}},
		rest: map[string]json.RawMessage{"restored": json.RawMessage(`{"kept": true}`)}, path: filepath.Join(f.TempDir(), "node.json"),
	}
	if err := id.save(); err != nil {
		f.Fatal(err)
	}
	b, err := os.ReadFile(id.path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(id.rest[identityKey]))
	f.Add([]byte(`{"member":null}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`{"birth":"x","held":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		docs := [][]byte{b}
		if sum, err := sealed.Sum(b); err == nil && json.Valid(b) {
			fields := map[string]json.RawMessage{}
			if json.Unmarshal(b, &fields) == nil && fields != nil {
				fields["sum"] = json.RawMessage(fmt.Sprintf("%q", sum))
				section, err := json.Marshal(fields)
				if err != nil {
					t.Fatal(err)
				}
				docs = append(docs, fmt.Appendf(nil, `{"member":%s}`, section))
			}
		}
		for _, doc := range docs {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "node.json"), doc, 0o600); err != nil {
				t.Fatal(err)
			}
			id, err := readIdentity(dir)
			if err != nil {
				continue
			}
			id.Held[1] = Held{ID: 5}
			if err := id.save(); err != nil {
				t.Fatal(err)
			}
			again, err := readIdentity(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range []*Identity{id, again} { // spaces are not kept, nor what is empty told from what is not there
				for name, raw := range x.rest {
					var v any
					if err := json.Unmarshal(raw, &v); err != nil {
						t.Fatal(err)
					}
					x.rest[name], _ = json.Marshal(v)
				}
				x.Starts, x.Tried, x.Peers = append([]string{}, x.Starts...), append([]string{}, x.Tried...), append([]Peer{}, x.Peers...)
			}
			if !reflect.DeepEqual(id, again) {
				t.Fatalf("%s is saved as\n%+v\nand read as\n%+v", doc, id, again)
			}
		}
	})
}

// FuzzHear lets a node of a cluster say anything to the one that leads, or ask it for anything with any body, and wants it to be heard, refused or done, and the leader to be there
// still. What the two do then is as they like: whoever is let in is believed.
func FuzzHear(f *testing.F) {
	for _, msg := range []*message{
		{Kind: sayLeads, Leads: []claim{{1, 2, 3}}, Self: &cluster.Node{ID: 2, Name: "b"}, Full: true, Damaged: []damage{{Group: 1, ID: 2}}},
		{Kind: saySee, N: 1, Groups: []uint16{0, 1, cluster.Meta, 9999}},
		{Kind: saySeen, N: 1, Views: []view{{Group: 1, Seen: cluster.Seen{Leader: 2 << 32}}}},
		{Kind: sayAct, Term: 9, Act: &order{Group: 1, Term: 2, Act: cluster.Act{Kind: cluster.Erase, Remove: 1 << 32}}},
		{Kind: sayErased, Act: &order{Group: 1}},
		{Kind: sayRenew, Term: 9, Renew: &renewal{Group: 1, Old: 1, New: 2}},
		{Kind: sayAnswer, N: 1, Answer: &answer{Err: "no"}},
	} {
		b, err := json.Marshal(msg)
		if err != nil {
			f.Fatal(err)
		}
		f.Add("", b)
	}
	f.Add("", []byte(`{"kind":"act","term":9,"act":null}`))
	for _, op := range []string{
		opJoin, opStatus, opMove, opJob, opRebalance, opDrain, opRemove, opCopies, opPlace, opAssign, opSettle, opClean, opRequire, opSplit, opRenew, "", "x",
	} {
		f.Add(op, []byte(`{}`))
	}
	f.Add(opJoin, []byte(`{"name":"d","birth":"b4","addr":"d","starts":["s"],"roles":{"shard":true}}`))
	f.Add(opPlace, []byte(`{"place":{"name":"eu","labels":{"region":"eu"}},"shards":2,"copies":1}`))
	f.Add(opMove, []byte(`{"shard":1,"from":1,"to":2}`))
	f.Add(opSplit, []byte(`{"placement":"main","shards":8}`))
	f.Add(opRemove, []byte(`{"node":2,"lost":true}`))
	f.Fuzz(func(t *testing.T, op string, body []byte) {
		if op != "" {
			var err error
			if body, err = json.Marshal(&message{Kind: sayAsk, N: 7, Op: op, By: "demo/ann", Body: body}); err != nil {
				t.Fatal(err)
			}
		}
		virtual(t, func(t *testing.T, w *world) {
			w.start("a", "b", "c")
			w.settled(3, 3)
			n := w.leader()
			from := "a"
			if n.name == from {
				from = "b"
			}
			n.m.hear(from, body)
			time.Sleep(5 * time.Second)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if _, err := n.m.Status(ctx); err != nil && !errors.Is(err, ErrUnavailable) {
				t.Fatal(err)
			}
		})
	})
}
