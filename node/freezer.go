package node

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"switchboard/edge"
	"switchboard/shard/journal"
	"switchboard/wire"
)

// The bounds of what backups may hold on a node.
const (
	frozenMost = 16               // at once: who begins another one takes the place of the one that was used longest ago
	frozenFor  = 10 * time.Minute // after the last page
	pageBytes  = 512 << 10        // of rows; with its clothes on a page must fit into an answer between nodes
	pagesMost  = 2                // that are read at once
)

// freezer keeps rows of this node's shards frozen for those who take a backup. Its methods may be called from any goroutine.
type freezer struct {
	j     func() *journal.Journal // nil while there is none
	pages chan struct{}           // a place for each page that is being read

	mu sync.Mutex
	// Guarded by mu.
	held   map[string]*ice
	closed bool
}

// ice is rows that are frozen.
type ice struct {
	f     *journal.Frozen
	used  time.Time
	timer *time.Timer
	ends  map[int][][]byte // of each shard the last key of each page that was told
}

func newFreezer(j func() *journal.Journal) *freezer {
	return &freezer{j: j, pages: make(chan struct{}, pagesMost), held: map[string]*ice{}}
}

// FrozenPart is a shard in a backup that has begun: where its rows are to be had.
type FrozenPart struct {
	journal.Mark
	Node   uint32 `json:"node,omitempty"` // 0: the one that was asked
	Handle string `json:"handle"`
}

// Page is some rows of a shard, as [journal.Frozen.Page] tells them.
type Page struct {
	Rows []byte `json:"rows"`
	More bool   `json:"more"`
}

// freezing is what nodes ask each other, and themselves.
type freezing struct {
	Action string `json:"action"` // open, page, touch, close
	Groups []int  `json:"groups,omitempty"`
	Handle string `json:"handle,omitempty"`
	Group  int    `json:"group,omitempty"`
	Page   int    `json:"page,omitempty"`
}

// do does what is asked for. The answer is a []FrozenPart, a *Page or nothing.
func (z *freezer) do(ctx context.Context, q *freezing) (any, error) {
	switch q.Action {
	case "open":
		return z.open(q.Groups)
	case "page":
		return z.page(ctx, q)
	case "touch":
		_, err := z.use(q.Handle)
		return struct{}{}, err
	case "close":
		z.drop(q.Handle)
		return struct{}{}, nil
	}
	return nil, edge.ErrNoOperation
}

// open freezes shards that this node leads. Everything that was acknowledged before is in.
func (z *freezer) open(groups []int) ([]FrozenPart, error) {
	j := z.j()
	if j == nil {
		return nil, errStarting
	}
	for _, id := range groups {
		if err := j.Confirm(id); err != nil {
			return nil, &wire.Error{Slug: wire.Unavailable, Message: fmt.Sprintf("shard %d is not led here: try again: %v", id, err)}
		}
	}
	f, err := j.Freeze(groups...)
	if err != nil {
		return nil, &wire.Error{Slug: wire.Unavailable, Message: err.Error()}
	}
	handle := z.keep(f)
	if handle == "" {
		return nil, errors.Join(errStarting, f.Close())
	}
	parts := make([]FrozenPart, len(groups))
	for i, id := range groups {
		m, _ := f.Mark(id)
		parts[i] = FrozenPart{Mark: m, Handle: handle}
	}
	return parts, nil
}

// keep takes what is frozen under a new handle, which is empty when the node ends.
func (z *freezer) keep(f *journal.Frozen) (handle string) {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	handle = base64.RawURLEncoding.EncodeToString(b[:])
	z.mu.Lock()
	if z.closed {
		z.mu.Unlock()
		return ""
	}
	var oldest string
	for h, k := range z.held {
		if oldest == "" || k.used.Before(z.held[oldest].used) {
			oldest = h
		}
	}
	full := len(z.held) >= frozenMost
	z.held[handle] = &ice{f: f, used: time.Now(), ends: map[int][][]byte{}, timer: time.AfterFunc(frozenFor, func() { z.drop(handle) })}
	z.mu.Unlock()
	if full {
		z.drop(oldest)
	}
	return handle
}

var (
	errStarting = &wire.Error{Slug: wire.Unavailable, Message: "the node is starting, or ends"}
	// errMelted says that the rows are not kept any more.
	errMelted = &wire.Error{Slug: wire.PositionGone, Message: "the node does not keep these rows any more: it was started again, lost the shard, or was not asked for 10 minutes; begin the backup again"}
)

// use returns what is frozen under a handle, for some more time.
func (z *freezer) use(handle string) (*ice, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	k := z.held[handle]
	if k == nil {
		return nil, errMelted
	}
	k.used = time.Now()
	k.timer.Reset(frozenFor)
	return k, nil
}

// drop lets go of what is frozen under a handle.
func (z *freezer) drop(handle string) {
	z.mu.Lock()
	k := z.held[handle]
	delete(z.held, handle)
	z.mu.Unlock()
	if k != nil {
		k.timer.Stop()
		_ = k.f.Close() // it was read only
	}
}

// page reads a page of a shard. Any page that was read may be read again, and the next one.
func (z *freezer) page(ctx context.Context, q *freezing) (*Page, error) {
	k, err := z.use(q.Handle)
	if err != nil {
		return nil, err
	}
	select {
	case z.pages <- struct{}{}:
	case <-ctx.Done():
		return nil, wire.Refuse(wire.Overloaded)
	}
	defer func() { <-z.pages }()
	z.mu.Lock()
	ends := k.ends[q.Group]
	z.mu.Unlock()
	var after []byte
	switch {
	case q.Page < 0 || q.Page > len(ends):
		return nil, &wire.Error{Slug: wire.BadRequest, Message: fmt.Sprintf("page %d of shard %d follows no page that was read", q.Page, q.Group)}
	case q.Page > 0:
		after = ends[q.Page-1]
	}
	rows, last, err := k.f.Page(q.Group, after, pageBytes, nil)
	switch {
	case errors.Is(err, journal.ErrThawed):
		return nil, errMelted
	case err != nil:
		return nil, &wire.Error{Slug: wire.Unavailable, Message: err.Error()}
	case last != nil && q.Page == len(ends):
		z.mu.Lock()
		if len(k.ends[q.Group]) == q.Page {
			k.ends[q.Group] = append(k.ends[q.Group], last)
		}
		z.mu.Unlock()
	}
	return &Page{rows, last != nil}, nil
}

// close lets go of everything, for good.
func (z *freezer) close() {
	z.mu.Lock()
	z.closed = true
	all := z.held
	z.held = map[string]*ice{}
	z.mu.Unlock()
	for _, k := range all {
		k.timer.Stop()
		_ = k.f.Close() // it was read only
	}
}

// pagePath reads the path of a page, as /v1/admin/cluster/backup has it: NODE/HANDLE/SHARD/PAGE, or NODE/HANDLE to say that one is still there.
func pagePath(parts []string) (node uint32, q freezing, ok bool) {
	if len(parts) != 2 && len(parts) != 4 {
		return 0, q, false
	}
	n, err := strconv.ParseUint(parts[0], 10, 32)
	if err != nil {
		return 0, q, false
	}
	q = freezing{Action: "touch", Handle: parts[1]}
	if len(parts) == 4 {
		group, err1 := strconv.ParseUint(parts[2], 10, 16)
		page, err2 := strconv.ParseUint(parts[3], 10, 31)
		if err1 != nil || err2 != nil {
			return 0, q, false
		}
		q.Action, q.Group, q.Page = "page", int(group), int(page) //nolint:gosec // bounded
	}
	return uint32(n), q, true
}
