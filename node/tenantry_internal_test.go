package node

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"switchboard/shard"
	"switchboard/shard/journal"
)

// A shard that begins goes by the latest documents of its own tenants. For those of others it does not wait until all that was decided beside it
// is in the store, and an older document never takes the place of a later one. A document is understood once.
func TestTenantsFor(t *testing.T) {
	j, err := journal.Open(journal.Config{FS: vfs.NewMem(), Dir: "d", Groups: 3, FreeMin: -1, LateBytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	told := make(chan error, 1)
	tell := func(group int, tenant string, version uint64, queues string) {
		t.Helper()
		var turn journal.Turn
		turn.Put(binary.BigEndian.AppendUint64([]byte("d"+tenant+"\x00"), version), []byte("{}\nversion: 1\nqueues: "+queues+"\n"))
		if _, err := j.Group(group).Append(&turn); err != nil {
			t.Fatal(err)
		}
		if err := <-told; err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		j.Group(i).Start(func(_ uint64, err error) { told <- err })
		for tenant, version := range map[string]uint64{"own": uint64(3 - i), fmt.Sprint("of", i): 1} { // own has left two of them
			tell(i, tenant, version, "[{name: default}]")
		}
	}
	settings := TenantSettings{}
	n := &Node{}
	n.cfg.Limits.Body = 1 << 16
	all := map[string]Tenant{}
	for _, name := range []string{"own", "of0", "of1", "of2"} {
		all[name] = settings.tenant(1 << 16)
	}
	n.tenantry.Store(&tenantry{all: all})
	tenants := func() map[string]*shard.Tenant {
		t.Helper()
		list, err := n.tenantsFor(j.Group(0), []*journal.Group{j.Group(0), j.Group(1), j.Group(2)})
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	want := func(versions ...uint64) {
		t.Helper()
		list := tenants()
		for i, name := range []string{"own", "of0", "of1", "of2"} {
			if v := list[name].Document.Version; v != versions[i] {
				t.Errorf("%s has version %d; want %d", name, v, versions[i])
			}
		}
	}
	want(3, 1, 0, 0)
	for i := range 3 { // somebody reads there, so it is in the store
		if _, err := j.Group(i).Get([]byte("x"), nil); err == nil {
			t.Fatal("there is a row that nobody wrote")
		}
	}
	want(3, 1, 1, 1)
	first, second := tenants(), tenants()
	for name := range all {
		if first[name] != second[name] {
			t.Errorf("the document of %s was understood again", name)
		}
	}
	tell(0, "own", 3, "[{name: other}]") // the same version, of another history
	tell(0, "of0", 2, "[{name: default}, {name: other}]")
	third := tenants()
	if q := third["own"].Broker.Queues; len(q) != 1 || q[0].Name != "other" {
		t.Errorf("the queues of own are %v", q)
	}
	if q := third["of0"].Broker.Queues; len(q) != 2 || third["of0"].Document.Version != 2 {
		t.Errorf("the queues of of0 are %v", q)
	}
	if third["of1"] != first["of1"] {
		t.Error("the document of of1 was understood again")
	}
}
