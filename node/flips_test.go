package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"switchboard/cluster/member"
	"switchboard/edge/token"
)

// turned calls f with every way in which one bit of b turns, and with every end of b.
func turned(b []byte, f func(b []byte, what string, at int)) {
	for i := range len(b) * 8 {
		c := bytes.Clone(b)
		c[i/8] ^= 1 << (i % 8)
		f(c, "bit", i)
	}
	for n := range b {
		f(b[:n], "end", n)
	}
}

// Each bit of node.json and tenants.json that turns, and each end of them: it is refused with what to do, or says what it said. An end is always refused. Without a
// checksum they are read, and get one.
func TestSettingsFlips(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, b []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func(name string) []byte {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	told := 0
	refused := func(err error, name, advice, what string, at int) {
		t.Helper()
		told++
		if s := err.Error(); !strings.Contains(s, filepath.Join(dir, name)) || !strings.Contains(s, advice) {
			t.Fatalf("%s %d: %v; want the file named, and %q", what, at, err, advice)
		}
	}
	check := func(name string, bits int) {
		t.Helper()
		if told < bits*97/100 { // others are spaces that became others
			t.Errorf("%s: of %d bits and ends %d are told of", name, bits, told)
		}
		told = 0
	}

	write("node.json", []byte(`{"shards":16,"restored":{"backup":"b1"}}`)) // as a version before checksums has written it
	if err := keepShards(dir, 16); err != nil {
		t.Fatal(err)
	}
	b := read("node.json")
	if !bytes.Contains(b, []byte(`"sum":"`)) || !bytes.Contains(b, []byte(`"restored":{"backup":"b1"}`)) {
		t.Fatalf("it was given no checksum, or lost something: %s", b)
	}
	turned(b, func(b []byte, what string, at int) {
		write("node.json", b)
		n, err := Shards(dir)
		if err != nil {
			refused(err, "node.json", `{"shards":N}`, what, at)
		} else if n != 16 || what == "end" {
			t.Fatalf("%s %d: %s has %d shards", what, at, b, n)
		}
	})
	check("node.json", len(b)*9)

	rows := map[string][]byte{"acme": []byte(`{"at":5,"by":"demo/olga","origins":["https://acme.example?a&b"]}`), "acmf": []byte(`{"at":6,"by":"x"}`)}
	b = writeTenants(rows)
	parsed := func(b []byte) (map[string][]byte, error) {
		write(tenantsFile, b)
		got, err := readTenants(dir)
		for name, row := range got {
			var c bytes.Buffer
			for part := range bytes.FieldsSeq(row) { // of its own words none has a space
				c.Write(part)
			}
			got[name] = bytes.ReplaceAll(c.Bytes(), []byte(`\u0026`), []byte("&"))
		}
		return got, err
	}
	same := func(got map[string][]byte) bool { return maps.EqualFunc(rows, got, bytes.Equal) }
	before := slices.Concat(b[:1], b[bytes.IndexByte(b, ',')+1:]) // without the checksum
	if got, err := parsed(before); err != nil || !same(got) || bytes.Contains(before, []byte("sum")) {
		t.Fatalf("%s has %s, %v", before, got, err)
	}
	whole := len(bytes.TrimSpace(b))
	turned(b, func(b []byte, what string, at int) {
		got, err := parsed(b)
		if err != nil {
			refused(err, tenantsFile, "put it back from a backup", what, at)
		} else if !same(got) || what == "end" && at < whole {
			t.Fatalf("%s %d: %s has %s", what, at, b, got)
		}
	})
	check(tenantsFile, len(b)*8)
}

// Keys that are damaged are in no backup, whose restore would fail for them.
func TestDamagedKeysInNoBackup(t *testing.T) {
	dir := t.TempDir()
	if _, err := Keys(dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, token.FileName)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bare, err := readKeys(dir); err != nil || bytes.Contains(bare, []byte(`"sum"`)) {
		t.Fatalf("%v: a node of the version before would not read %s", err, bare)
	}
	b[bytes.Index(b, []byte(`"k":`))+8] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (&stopped{data: dir}).Open(t.Context()); err == nil || !strings.Contains(err.Error(), path) {
		t.Fatalf("%v; want an error that names the file", err)
	}
}

// FuzzReadSettings reads anything as node.json, as it comes and with the checksum that it should have. What is taken names the shards of a node, or has the section
// of a member; it is kept as it is, gets a checksum when it had none, and is not taken for one of another number of shards.
func FuzzReadSettings(f *testing.F) {
	f.Add([]byte(`{"shards":16,"restored":{"backup":"b1"}}`))
	f.Add([]byte(`{"shards":4,"placements":[{"name":"eu","labels":{"region":"eu"}}]}`))
	f.Add([]byte(`{"shards":-1}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		sealed, err := member.Seal(b)
		if err != nil {
			sealed = nil
		}
		for _, b := range [][]byte{b, sealed} {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "node.json"), b, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := readSettings(dir)
			if err != nil {
				continue
			}
			if s == nil || s.Shards < 1 && s.Member == nil {
				t.Fatalf("%s is taken, and names nothing: %+v", b, s)
			}
			if err := keepShards(dir, s.Shards+1); s.Shards != 0 && err == nil {
				t.Fatalf("%s has %d shards", b, s.Shards+1)
			}
			if err := keepShards(dir, s.Shards); err != nil {
				t.Fatalf("%s: %v", b, err)
			}
			again, err := readSettings(dir)
			if err != nil || again.Shards != s.Shards || !reflect.DeepEqual(again.Placements, s.Placements) || s.Shards != 0 && !again.sealed {
				t.Fatalf("%s is kept as %+v, %v; want %+v", b, again, err, s)
			}
		}
	})
}

// FuzzParseTenants reads anything as tenants.json. What is read is the same when it is written again.
func FuzzParseTenants(f *testing.F) {
	f.Add(writeTenants(map[string][]byte{"acme": []byte(`{"at":5}`), "a\"b<\xff": []byte("7")}))
	f.Add([]byte(`{"version":1,"tenants":{"a":null,"b":[1, 2]}}`))
	f.Add([]byte(`{"version":1,"tenants":{"a":{}},"sum":"00000000"}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		rows, err := parseTenants(doc)
		if err != nil {
			return
		}
		again, err := parseTenants(writeTenants(rows))
		if err != nil || !slices.Equal(slices.Sorted(maps.Keys(rows)), slices.Sorted(maps.Keys(again))) {
			t.Fatalf("%v: it was %q and is %q", err, rows, again)
		}
		for name, row := range rows {
			var was, is any
			if err := errors.Join(json.Unmarshal(row, &was), json.Unmarshal(again[name], &is)); err != nil || !reflect.DeepEqual(was, is) {
				t.Fatalf("%v: %q was %s and is %s", err, name, row, again[name])
			}
		}
	})
}
