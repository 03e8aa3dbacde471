package node

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"strings"
	"sync"

	"switchboard/cluster"
	"switchboard/cluster/member"
	"switchboard/shard/journal"
)

// metaRows are the rows of the meta group: the member's, and a few of the node's own, whose keys begin with nodePrefix.
type metaRows struct {
	p *party

	order sync.Mutex // of those who append; it is held while the journal has no room
	mu    sync.Mutex
	// Guarded by mu, which is never held while something is waited for.
	done    uint64 // turns that are applied
	term    uint64 // in which this node may append
	waiting []applied
	wanted  map[string][]byte // the node's own rows, as they shall be when there are none
}

// nodePrefix begins no key of the cluster.State.
const nodePrefix = "own:"

// applied is somebody who wants to know when a turn is applied.
type applied struct {
	index uint64
	tell  func(error)
}

func newMetaRows(p *party) *metaRows { return &metaRows{p: p, wanted: map[string][]byte{}} }

// lead begins to take turns in a term.
func (r *metaRows) lead(term uint64) {
	g := r.p.n.j.Group(int(cluster.Meta))
	if g == nil || g.Term() != term {
		return
	}
	g.Start(r.durable)
	r.mu.Lock()
	r.term = term
	r.mu.Unlock()
}

// durable is told by the journal how far the turns are.
func (r *metaRows) durable(index uint64, err error) {
	r.mu.Lock()
	n := 0
	for n < len(r.waiting) && (r.waiting[n].index <= index || err != nil) {
		n++
	}
	ready := r.waiting[:n]
	r.waiting = append([]applied(nil), r.waiting[n:]...)
	r.done = max(r.done, index)
	if err != nil {
		r.term = 0
	}
	r.mu.Unlock()
	for _, w := range ready {
		if w.index <= index {
			w.tell(nil)
		} else {
			w.tell(err)
		}
	}
}

// Append implements member.Rows.
func (r *metaRows) Append(term uint64, changes []member.Row, tell func(error)) {
	var t journal.Turn
	for _, c := range changes {
		if c.Value == nil {
			t.Delete([]byte(c.Key))
		} else {
			t.Put([]byte(c.Key), c.Value)
		}
	}
	if err := r.append(term, &t, tell); err != nil {
		tell(err)
	}
}

func (r *metaRows) append(term uint64, t *journal.Turn, tell func(error)) error {
	r.order.Lock()
	defer r.order.Unlock()
	r.mu.Lock()
	now := r.term
	r.mu.Unlock()
	g := r.p.n.j.Group(int(cluster.Meta))
	if term != now || term == 0 || g == nil {
		return journal.ErrNotLeading
	}
	index, err := g.Append(t)
	if err != nil {
		return err
	}
	r.mu.Lock()
	done, lost := r.done >= index, r.term != term
	if !done && !lost {
		r.waiting = append(r.waiting, applied{index, tell})
	}
	r.mu.Unlock()
	switch {
	case done:
		tell(nil)
	case lost:
		return journal.ErrNotLeading // it may come or not
	}
	return nil
}

// Read implements member.Rows.
func (r *metaRows) Read(fn func(key string, value []byte) error) error {
	g := r.p.n.j.Group(int(cluster.Meta))
	if g == nil {
		return nil
	}
	var failed error
	err := g.Scan(nil, nil, false, func(k, v []byte) bool {
		if !strings.HasPrefix(string(k), nodePrefix) {
			failed = fn(string(k), append([]byte(nil), v...))
		}
		return failed == nil
	})
	if failed != nil {
		return failed
	}
	return err
}

// clusterRows returns every row of the meta group but the keys of tokens and the tenants: a backup has them elsewhere.
func clusterRows(j *journal.Journal) (map[string][]byte, error) {
	g := j.Group(int(cluster.Meta))
	if g == nil {
		return nil, errors.New("there are no rows of a cluster")
	}
	rows := map[string][]byte{}
	err := g.Scan(nil, nil, false, func(k, v []byte) bool {
		if string(k) != keysRow && !strings.HasPrefix(string(k), tenantPrefix) {
			rows[string(k)] = bytes.Clone(v)
		}
		return true
	})
	return rows, err
}

// get returns a row of the node's own, nil when there is none.
func (r *metaRows) get(key string) []byte {
	g := r.p.n.j.Group(int(cluster.Meta))
	if g == nil {
		return nil
	}
	v, err := g.Get([]byte(key), nil)
	if err != nil {
		return nil
	}
	return v
}

// want says what a row of the node's own shall be, if the cluster has none. It is written when this node leads the meta group.
func (r *metaRows) want(key string, value []byte) {
	r.mu.Lock()
	r.wanted[key] = value
	r.mu.Unlock()
	r.p.keep.nudge()
}

// ensure writes what is wanted.
func (r *metaRows) ensure() {
	r.mu.Lock()
	term, wanted := r.term, maps.Clone(r.wanted)
	r.mu.Unlock()
	if term == 0 {
		return
	}
	for key, value := range wanted {
		if r.get(key) == nil {
			var t journal.Turn
			t.Put([]byte(key), value)
			if r.append(term, &t, func(error) {}) != nil {
				return
			}
		}
		r.mu.Lock()
		delete(r.wanted, key)
		r.mu.Unlock()
	}
}

// leads returns the term in which this node leads the meta group and has all its rows, 0 when it does not.
func (r *metaRows) leads() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.term
}

// put writes a row of the node's own in a term, and waits until it is applied. An error says that it is not known whether it was.
func (r *metaRows) put(ctx context.Context, term uint64, key string, value []byte) error {
	var t journal.Turn
	t.Put([]byte(key), value)
	done := make(chan error, 1)
	if err := r.append(term, &t, func(err error) { done <- err }); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
