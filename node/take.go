package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"switchboard/backup"
	"switchboard/shard"
	"switchboard/shard/journal"
)

// Source is where a backup comes from: a running node, over HTTP, or a stopped one. Its methods are called one after the other.
type Source interface {
	// Open freezes all shards.
	Open(ctx context.Context) (*Opening, error)
	// Page returns page n, from 0, of a shard.
	Page(ctx context.Context, p *FrozenPart, n int) (*Page, error)
	// Touch says that what p is in is still needed.
	Touch(ctx context.Context, p *FrozenPart) error
	// Close lets go of all. whole says that the backup is written.
	Close(ctx context.Context, o *Opening, whole bool) error
}

// Taking is how a backup is taken.
type Taking struct {
	// Full writes everything anew.
	Full bool
	// Rate bounds what is read, in bytes of rows a second; 0 is no bound.
	Rate int64
	// Patience is how long a page that cannot be had is asked for again, and a backup that cannot begin; default 30 s. What the source refuses for good ends it at once.
	Patience time.Duration
	// Progress is told after each page how far it is; may be nil.
	Progress func(p Progress)
	// Final tells an error that asking again does not help with; nil: none is.
	Final func(error) bool
}

// Progress is how far a backup is.
type Progress struct {
	Shard, Shards int
	All, Added    backup.Amount
}

const (
	patience   = 30 * time.Second
	touchEvery = time.Minute
	againAfter = 500 * time.Millisecond
)

// TakeBackup takes a backup of src into d. On an error there is none, and what was written is removed.
func TakeBackup(ctx context.Context, d *backup.Dir, src Source, t Taking) (m *backup.Manifest, err error) {
	if t.Patience == 0 {
		t.Patience = patience
	}
	if t.Progress == nil {
		t.Progress = func(Progress) {}
	}
	w, err := d.Begin(time.Now(), t.Full)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Abort()) }()
	var o *Opening
	if err := t.insist(ctx, func() (err error) { o, err = src.Open(ctx); return err }); err != nil {
		return nil, fmt.Errorf("freezing the shards: %w", err)
	}
	defer func() {
		// The rows go by themselves when this is not heard.
		_ = src.Close(context.WithoutCancel(ctx), o, m != nil && err == nil)
	}()
	r := &taker{Taking: t, src: src, w: w, o: o, began: time.Now(), touched: time.Now()}
	for i := range o.Parts {
		if err := r.shard(ctx, &o.Parts[i]); err != nil {
			return nil, fmt.Errorf("reading shard %d: %w", o.Parts[i].Group, err)
		}
	}
	if err := w.Erase(r.erased...); err != nil {
		return nil, err
	}
	return w.Commit(backup.About{Program: o.Program, From: o.From, Keys: o.Keys, Tenants: o.Tenants, Cluster: o.Cluster})
}

// insist does what may fail now and work later, until patience ends.
func (t *Taking) insist(ctx context.Context, do func() error) error {
	for end := time.Now().Add(t.Patience); ; {
		err := do()
		if err == nil || t.Final != nil && t.Final(err) || time.Now().After(end) {
			return err
		}
		if err := rest(ctx, againAfter); err != nil {
			return err
		}
	}
}

// rest waits.
func rest(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

type taker struct {
	Taking
	src     Source
	w       *backup.Writer
	o       *Opening
	began   time.Time
	touched time.Time
	read    int64
	erased  []backup.Erased
}

// notice keeps who was erased: backups from before have him still.
func (r *taker) notice(rows []byte) error {
	for len(rows) > 0 {
		k, v, rest, err := journal.NextRow(rows)
		if err != nil {
			return err
		}
		rows = rest
		if tenant, customer, e, ok := shard.ErasedRow(k, v); ok {
			r.erased = append(r.erased, backup.Erased{Tenant: tenant, Customer: customer, Mark: e.Mark, At: e.At})
		}
	}
	return nil
}

func (r *taker) shard(ctx context.Context, p *FrozenPart) error {
	s, err := r.w.Shard(p.Mark)
	if err != nil {
		return err
	}
	for n, more := 0, true; more; n++ {
		if err := r.touch(ctx); err != nil {
			return err
		}
		var page *Page
		if err := r.insist(ctx, func() (err error) { page, err = r.src.Page(ctx, p, n); return err }); err != nil {
			return err
		}
		if err := s.Put(page.Rows); err != nil {
			return err
		}
		if err := r.notice(page.Rows); err != nil {
			return err
		}
		more = page.More
		all, added := r.w.Amount()
		r.Progress(Progress{Shard: p.Group, Shards: len(r.o.Parts), All: all, Added: added})
		r.read += int64(len(page.Rows))
		if r.Rate > 0 {
			due := r.began.Add(time.Duration(float64(r.read) / float64(r.Rate) * float64(time.Second)))
			if err := rest(ctx, time.Until(due)); err != nil {
				return err
			}
		}
	}
	return s.Close()
}

// touch says now and then of everything that it is still needed: while one node's shards are read, others wait.
func (r *taker) touch(ctx context.Context) error {
	if time.Since(r.touched) < touchEvery {
		return context.Cause(ctx)
	}
	r.touched = time.Now()
	told := map[string]bool{}
	for i := range r.o.Parts {
		p := &r.o.Parts[i]
		if told[p.Handle] {
			continue
		}
		told[p.Handle] = true
		if err := r.insist(ctx, func() error { return r.src.Touch(ctx, p) }); err != nil {
			return err
		}
	}
	return nil
}

// stopped is the journal of a stopped node as a source.
type stopped struct {
	data    string
	j       *journal.Journal
	shards  []int
	z       *freezer
	program string
	member  bool
}

// BackupStopped takes a backup of the data directory of a stopped node. Of a member of a cluster these are its copies: what was decided at the very
// end may be at other nodes only, and it must have a copy of every shard.
func BackupStopped(ctx context.Context, d *backup.Dir, data, program string, t Taking) (m *backup.Manifest, err error) {
	s, err := readSettings(data)
	if err != nil {
		return nil, err
	}
	err = WithStopped(data, func(j *journal.Journal, shards []int) error {
		src := &stopped{data: data, j: j, shards: shards, program: program, member: s.Member != nil}
		src.z = newFreezer(func() *journal.Journal { return j })
		defer src.z.close()
		t.Final = func(error) bool { return true }
		m, err = TakeBackup(ctx, d, src, t)
		return err
	})
	return m, err
}

// Open implements Source.
func (s *stopped) Open(context.Context) (*Opening, error) {
	o := &Opening{Program: s.program, From: "the stopped node in " + s.data}
	keys, err := readKeys(s.data)
	if err != nil {
		return nil, err
	}
	o.Keys = keys
	for i, id := range s.shards {
		if i != id {
			return nil, fmt.Errorf("%s has no copy of shard %d: take the backup of another node, or of the running cluster", s.data, i)
		}
	}
	if s.member {
		o.From = "the copies of the stopped member in " + s.data
		if o.Cluster, err = s.rows(); err != nil {
			return nil, err
		}
	}
	tenants, err := s.tenants()
	if err != nil {
		return nil, err
	}
	o.Tenants = writeTenants(tenants)
	f, err := s.j.Freeze(s.shards...)
	if err != nil {
		return nil, err
	}
	handle := s.z.keep(f)
	for _, id := range s.shards {
		m, _ := f.Mark(id)
		o.Parts = append(o.Parts, FrozenPart{Mark: m, Handle: handle})
	}
	return o, nil
}

// Page implements Source.
func (s *stopped) Page(ctx context.Context, p *FrozenPart, n int) (*Page, error) {
	return s.z.page(ctx, &freezing{Handle: p.Handle, Group: p.Group, Page: n})
}

// Touch implements Source.
func (s *stopped) Touch(ctx context.Context, p *FrozenPart) error {
	_, err := s.z.do(ctx, &freezing{Action: "touch", Handle: p.Handle})
	return err
}

// Close implements Source.
func (s *stopped) Close(context.Context, *Opening, bool) error {
	s.z.close()
	return nil
}

// rows are the cluster's, as far as this copy knows.
func (s *stopped) rows() (map[string][]byte, error) { return clusterRows(s.j) }

// tenants are the rows of those that were made while the node, or its cluster, ran.
func (s *stopped) tenants() (map[string][]byte, error) {
	if s.member {
		return tenantRows(s.j)
	}
	return readTenants(s.data)
}
