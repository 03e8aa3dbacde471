package node

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"switchboard/shard/journal"
)

// A shard that begins goes by the latest documents of its own tenants. For those of others it does not wait until all that was decided beside it
// is in the store, and an older document never takes the place of a later one.
func TestTenantsFor(t *testing.T) {
	j, err := journal.Open(journal.Config{FS: vfs.NewMem(), Dir: "d", Groups: 3, FreeMin: -1, LateBytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	for i := range 3 {
		g := j.Group(i)
		told := make(chan error, 1)
		g.Start(func(_ uint64, err error) { told <- err })
		for tenant, version := range map[string]uint64{"own": uint64(3 - i), fmt.Sprint("of", i): 1} { // own has left two of them
			var turn journal.Turn
			turn.Put(binary.BigEndian.AppendUint64([]byte("d"+tenant+"\x00"), version), []byte("{}\nversion: 1\nqueues: [{name: default}]\n"))
			if _, err := g.Append(&turn); err != nil {
				t.Fatal(err)
			}
			if err := <-told; err != nil {
				t.Fatal(err)
			}
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
	want := func(versions ...uint64) {
		t.Helper()
		list, err := n.tenantsFor(j.Group(0), []*journal.Group{j.Group(0), j.Group(1), j.Group(2)})
		if err != nil {
			t.Fatal(err)
		}
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
}
