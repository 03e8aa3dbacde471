package member

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"switchboard/internal/sealed"
)

// FuzzIdentity reads anything as node.json, and as the section of it that is a member's with the checksum that it should have. What is read can
// be saved, and is the same then, with whatever else was in the file.
func FuzzIdentity(f *testing.F) {
	id := &Identity{
		Cluster: "c1", Name: "a", Birth: draw(), Node: 3, Meta: 9, Born: 4, Founder: true, Starts: []string{"s1", "s2"}, Opened: "s2",
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
				x.Starts, x.Peers = append([]string{}, x.Starts...), append([]Peer{}, x.Peers...)
			}
			if !reflect.DeepEqual(id, again) {
				t.Fatalf("%s is saved as\n%+v\nand read as\n%+v", doc, id, again)
			}
		}
	})
}
