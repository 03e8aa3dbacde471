package node

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"switchboard/cluster"
	"switchboard/cluster/member"
	"switchboard/shard"
	"switchboard/shard/journal"
	"switchboard/shard/journal/replica"
)

// keeper opens the shards that this node leads, and closes those that it leads no more. One goroutine does so, and another ends those
// that are to be led elsewhere: an owner that ends takes its time, and the journal's committer and the member, who tell, have none.
type keeper struct {
	p    *party
	wake chan struct{}
	life context.Context // of what the node sends
	end  context.CancelFunc
	done chan struct{}
	asks chan handing // of the member, whose goroutine has no time for them
	over chan struct{}

	// Owned by run.
	sites map[uint16]*site // as the map says that is seen
	seen  *member.Map
	asked map[uint16]time.Time // when others were asked to lead, as the disk is full
	full  time.Time            // since when it is
	lacks map[uint16]bool      // shards whose other replicas are on full disks or away, too many
	scant map[uint16]bool      // it seemed so when that was looked at last
	told  *tenantry            // that the shards were told of, all of it when left is false
	left  bool                 // of some of them it was not known where they live
	leave leave                // of connections, while the node is drained

	// Shared by reckon and the committer, who tells it how the copies are.
	looking atomic.Bool
	copies  atomic.Pointer[map[uint16]replica.Status]

	mu sync.Mutex
	// Guarded by mu.
	events  []replica.Event
	handing map[uint16]bool // owners that have ended, as another replica is to lead
	led     map[uint16]uint64
	started bool
}

// handing is a replica that is to lead in the place of this node's.
type handing struct {
	group uint16
	to    uint64
}

// handingMost is how many of them wait; more are refused, and asked for again.
const handingMost = 256

var errHanding = errors.New("too many shards are handed over already")

// openAgain is how long a shard waits that could not be opened.
const openAgain = 100 * time.Millisecond

func newKeeper(p *party) *keeper {
	k := &keeper{p: p, wake: make(chan struct{}, 1), done: make(chan struct{}), asks: make(chan handing, handingMost), over: make(chan struct{}), handing: map[uint16]bool{}, led: map[uint16]uint64{}}
	k.life, k.end = context.WithCancel(context.Background())
	return k
}

// tell takes what became of a replica. It does not block.
func (k *keeper) tell(e replica.Event) {
	k.mu.Lock()
	k.events = append(k.events, e)
	switch e.Kind {
	case replica.Leads:
		k.led[e.Group] = e.Term
	case replica.Follows, replica.Removed:
		delete(k.led, e.Group)
		delete(k.handing, e.Group)
	}
	k.mu.Unlock()
	k.nudge()
}

func (k *keeper) nudge() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *keeper) start() {
	k.mu.Lock()
	k.started = true
	k.mu.Unlock()
	go k.run()
	go k.hand()
}

// stop ends the goroutine and all shards.
func (k *keeper) stop() {
	k.end()
	k.mu.Lock()
	started := k.started
	k.mu.Unlock()
	if started {
		<-k.done
		<-k.over
	}
	k.p.n.hosts.close()
}

func (k *keeper) run() {
	defer close(k.done)
	tick := time.NewTicker(openAgain)
	defer tick.Stop()
	for {
		select {
		case <-k.life.Done():
			return
		case <-k.wake:
		case <-tick.C:
			k.sendAway()
			k.yield()
			k.reckon()
			k.p.tidy()
		}
		k.step()
	}
}

// step does what the events say, and tries again what did not work.
func (k *keeper) step() {
	k.mu.Lock()
	events := k.events
	k.events = nil
	k.mu.Unlock()
	m := k.p.member.Load()
	for _, e := range events {
		switch {
		case e.Kind == replica.Leads && e.Group == cluster.Meta:
			k.p.rows.lead(e.Term)
			m.Leads(e.Group, e.Term)
		case e.Kind == replica.Leads: // opened below, and told when it is
		default:
			if e.Group != cluster.Meta {
				k.close(e.Group, (*shard.Shard).Drop)
			}
			m.Follows(e.Group)
		}
	}
	k.mu.Lock()
	led := maps.Clone(k.led)
	for group := range k.handing {
		delete(led, group)
	}
	k.mu.Unlock()
	k.p.rows.ensure()
	k.p.takeKeys()
	k.p.takeTenants()
	for _, group := range slices.Sorted(maps.Keys(led)) {
		if group == cluster.Meta {
			continue
		}
		if err := k.open(group, led[group]); err != nil {
			k.p.n.cfg.Log.Error("a shard that this node leads cannot be opened; it is tried again", "shard", group, "err", err)
		}
	}
	k.host()
}

// host lets the shards that are open know tenants that were made since. Who lives where is in other rows, which may be heard of later.
func (k *keeper) host() {
	n := k.p.n
	t := n.tenantry.Load()
	if t == k.told && !k.left {
		return
	}
	k.left = !n.hosts.x.Settled(slices.Collect(maps.Keys(t.all))...)
	err := n.hosts.hostAt(n)
	if err != nil {
		n.cfg.Log.Error("tenants are not served by the shards that are open; it is tried again", "err", err)
		return
	}
	k.told = t
}

// open opens a shard that is not open in this term.
func (k *keeper) open(group uint16, term uint64) error {
	n := k.p.n
	g := n.j.Group(int(group))
	if g == nil || g.Term() != term {
		return nil // it has ended meanwhile, and that is said
	}
	at := k.site(group)
	if at == nil {
		return nil // the rows will say
	}
	opened, err := n.hosts.lead(n, int(group), term, g, at, func() bool { return k.keeps(group, term) })
	switch {
	case errors.Is(err, shard.ErrOldMap):
		return nil // the rows are behind: they will say
	case errors.Is(err, journal.ErrNotLeading):
		return nil // it has ended meanwhile, and that is said
	}
	if opened && err == nil {
		k.p.member.Load().Leads(group, term)
	}
	return err
}

// site returns where a shard stands by the latest map, nil while that is not known. It is looked up once for each map.
func (k *keeper) site(group uint16) *site {
	m := k.p.places()
	if m == nil {
		return nil
	}
	if m != k.seen {
		k.seen, k.sites = m, map[uint16]*site{}
	}
	at := k.sites[group]
	if at == nil {
		if at = k.p.site(m, group); at != nil {
			k.sites[group] = at
		}
	}
	return at
}

// keeps tells whether a shard is led here in a term, and is to stay.
func (k *keeper) keeps(group uint16, term uint64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.led[group] == term && !k.handing[group]
}

func (k *keeper) close(group uint16, end func(*shard.Shard)) { k.p.n.hosts.unlead(int(group), end) }

// ask lets hand let another replica lead. It does not block.
func (k *keeper) ask(group uint16, to uint64) error {
	select {
	case k.asks <- handing{group, to}:
		return nil
	default:
		return errHanding
	}
}

// hand does what ask is told. It is a goroutine of its own: an owner that ends waits for the disk, and meanwhile others are to be opened, and
// heard of.
func (k *keeper) hand() {
	defer close(k.over)
	for {
		select {
		case <-k.life.Done():
			return
		case h := <-k.asks:
			if err := k.transfer(h.group, h.to); err != nil {
				k.p.n.cfg.Log.Info("a group is not handed over", "group", h.group, "err", err) // it is asked for again
			}
		}
	}
}

// transfer ends the owner of a shard and lets another replica lead. When that comes to nothing the shard is opened again.
func (k *keeper) transfer(group uint16, to uint64) error {
	n := k.p.n
	if group != cluster.Meta {
		k.mu.Lock()
		term, led := k.led[group]
		if led {
			k.handing[group] = true
		}
		k.mu.Unlock()
		if !led {
			return replica.ErrNotLeading
		}
		time.AfterFunc(handOverPatience, func() { k.recall(group, term) })
		k.close(group, (*shard.Shard).Close)
	}
	err := n.j.Transfer(int(group), to)
	if err != nil {
		k.mu.Lock()
		delete(k.handing, group)
		k.mu.Unlock()
		k.nudge()
	}
	return err
}

// handOverPatience is how long another replica may take to lead: an election's time, and the way there and back.
const handOverPatience = 1500 * time.Millisecond

// recall opens a shard again that was to be led elsewhere and still is led here.
func (k *keeper) recall(group uint16, term uint64) {
	k.mu.Lock()
	if k.led[group] == term {
		delete(k.handing, group)
	}
	k.mu.Unlock()
	k.nudge()
}

// askAgain is how long a hand-over may take until another replica, or the same, is asked once more.
const askAgain = 300 * time.Millisecond

// handOver lets others lead what this node leads, and what it comes to lead meanwhile, until it leads nothing that another could or
// handOverPatience has passed.
func (k *keeper) handOver(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, handOverPatience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	asked := map[uint16]time.Time{}
	for {
		k.mu.Lock()
		led := slices.Sorted(maps.Keys(k.led))
		k.mu.Unlock()
		alone := 0
		for _, group := range led {
			if time.Since(asked[group]) < askAgain {
				continue
			}
			to := k.successor(group, nil)
			if to == 0 {
				alone++
				continue
			}
			asked[group] = time.Now()
			if err := k.transfer(group, to); err != nil {
				k.p.n.cfg.Log.Warn("a shard is not handed over", "shard", group, "err", err)
			}
		}
		if len(led) == alone {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// yieldAgain is how long it takes until another node is asked to lead once more, as this one's disk is full.
const yieldAgain = 2 * handOverPatience

// yieldAfter is how long a disk has been full until others are asked to lead. Where the disks of all become full, each looks at its own once a second
// and says so at once: by then all know that nobody has room, and nothing is given to and fro.
const yieldAfter = 1500 * time.Millisecond

// yield lets others lead what this node leads when its disk takes nothing more: those that have room, and that are least behind. Where there is
// none the node goes on, and refuses what writes.
func (k *keeper) yield() {
	m := k.p.member.Load()
	if m == nil || !k.p.n.j.Full() {
		clear(k.asked)
		k.full = time.Time{}
		return
	}
	if k.full.IsZero() {
		k.full = time.Now()
	}
	if time.Since(k.full) < yieldAfter {
		return
	}
	var full map[uint32]bool
	if a := m.Around(); a != nil {
		full = a.Full
	}
	k.mu.Lock()
	led := slices.Sorted(maps.Keys(k.led))
	k.mu.Unlock()
	for _, group := range led {
		if time.Since(k.asked[group]) < yieldAgain {
			continue
		}
		to := k.successor(group, full)
		if to == 0 {
			continue
		}
		if k.ask(group, to) != nil {
			return // the next time
		}
		if k.asked == nil {
			k.asked = map[uint16]time.Time{}
		}
		k.asked[group] = time.Now()
		k.p.n.cfg.Log.Warn("the disk is full: another node is to lead", "group", group, "node", replica.NodeOf(to))
	}
}

// reckon refuses what writes in those shards that this node leads and whose other replicas are on full disks, or away beside such, so many that nothing would become
// durable.
func (k *keeper) reckon() {
	m := k.p.member.Load()
	if m == nil {
		return
	}
	var full map[uint32]bool
	if a := m.Around(); a != nil {
		full = a.Full
	}
	if len(full) == 0 && len(k.lacks) == 0 {
		k.copies.Store(nil) // of when it was otherwise
		k.scant = nil
		return
	}
	k.mu.Lock()
	led := slices.Sorted(maps.Keys(k.led))
	k.mu.Unlock()
	if !k.looking.Swap(true) {
		k.p.n.j.Look(led, func(all map[uint16]replica.Status) { // nobody waits for it here, as the disk may hang
			k.copies.Store(&all)
			k.looking.Store(false)
		})
	}
	all := k.copies.Swap(nil)
	if all == nil {
		return // the next time
	}
	lacks, scant := map[uint16]bool{}, map[uint16]bool{}
	for group, s := range *all {
		if !lacking(&s, full) {
			continue
		}
		if scant[group] = true; k.scant[group] { // twice: who has just begun to lead has heard of nobody yet
			lacks[group] = true
		}
	}
	k.scant = scant
	for group := range k.lacks {
		if !lacks[group] {
			k.lack(group, false)
		}
	}
	for group := range lacks {
		if !k.lacks[group] {
			k.lack(group, true)
		}
	}
	if len(lacks) != len(k.lacks) {
		k.p.n.cfg.Log.Warn("a majority of copies is on full disks, or away beside such; what writes there is refused", "groups", len(lacks), "refusing", len(lacks) > 0)
	}
	k.lacks = lacks
}

// lacking tells whether a leader's turns would not become durable, as so many of its followers are on full disks or do not answer: as long as those that are on
// full disks answer it leads.
func lacking(s *replica.Status, full map[uint32]bool) bool {
	voters, room := 1, 1 // itself, whose disk is looked at when something is written
	for id, f := range s.Followers {
		if f.Learner {
			continue
		}
		if voters++; f.Active && !full[replica.NodeOf(id)] {
			room++
		}
	}
	return room <= voters/2
}

func (k *keeper) lack(group uint16, yes bool) {
	if g := k.p.n.j.Group(int(group)); g != nil {
		g.Lacks(yes)
	}
}

// successor is the replica that is best to lead a group after this node's, 0 when there is none. It is not on one of the nodes not.
func (k *keeper) successor(group uint16, not map[uint32]bool) (best uint64) {
	all, err := k.p.n.j.Replicas(group)
	if err != nil {
		return 0
	}
	s := all[group]
	for id, f := range s.Followers {
		if f.Active && !f.Learner && !not[replica.NodeOf(id)] && (best == 0 || f.Match > s.Followers[best].Match) {
			best = id
		}
	}
	return best
}
