package level

import (
	"slices"
	"strings"
)

// What counts are kept of.
const (
	OfShop   = "shop"
	OfQueue  = "queue"
	OfTeam   = "team"
	OfWorker = "worker"
)

// Key is whom counts are about, by which definition.
type Key struct {
	Level string
	Of    string // shop, queue, team or worker
	Name  string // empty for sessions without one; "*" for all that have no room of their own
}

// The windows, by number.
const (
	Minute = iota
	FiveMinutes
	Hour
	Today
	Total  // since the counts began; what counters are made of
	window // how many there are
)

// WindowNames are what windows are called.
var WindowNames = [...]string{"1m", "5m", "1h", "today", "total"}

// MaxKeys is how many keys a Rates holds of each kind; what is beyond goes to "*". One takes some 7 KB.
const MaxKeys = 256

// The rings: a window is as many slots, the last of which is not over.
var rings = [...]struct {
	width int64 // ms
	slots int64
}{{5_000, 12}, {30_000, 10}, {300_000, 12}}

const allSlots = 12 + 10 + 12

// Rates are sliding windows of what was counted. They take fixed memory per key. The zero Rates are none: use NewRates.
type Rates struct {
	set  *Set
	keys map[rateKey]*rate
	held [4]int // keys by kind
}

type rateKey struct {
	def  int32
	of   uint8
	name string
}

var kindNames = [...]string{OfShop, OfQueue, OfTeam, OfWorker}

// rate is what is kept of a key.
type rate struct {
	slots [allSlots]slot
	day   int32
	today Counts
	total Counts
	used  int64
}

// slot is a part of a ring, with the number of its time.
type slot struct {
	at                int64
	count, met, timed int32
	sum               int64
	times             [buckets]uint16
}

// NewRates returns empty rates of a set.
func NewRates(set *Set) *Rates { return &Rates{set: set, keys: map[rateKey]*rate{}} }

// Add counts a sample: for its shop, its queue, its worker and his teams.
func (r *Rates) Add(s *Sample) {
	r.add(s, 0, s.Shop)
	r.add(s, 1, s.Queue)
	if s.Worker == "" {
		return
	}
	r.add(s, 3, s.Worker)
	for _, team := range r.set.teams[s.Worker] {
		r.add(s, 2, team)
	}
}

func (r *Rates) add(s *Sample, of uint8, name string) {
	k := rateKey{int32(s.Def), of, name} //nolint:gosec // few
	x := r.keys[k]
	if x == nil {
		if r.held[of] >= MaxKeys && name != "*" && !r.evict(of, s.At) {
			r.add(s, of, "*")
			return
		}
		k.name = strings.Clone(name)
		x = &rate{}
		r.keys[k] = x
		r.held[of]++
	}
	x.add(s, r.set.defs[s.Def].cal)
}

// idle is how long a key without samples is kept when others want its place.
const idle = 24 * 3_600_000

// evict takes the place of a key that was not used for a day.
func (r *Rates) evict(of uint8, now int64) bool {
	for k, x := range r.keys {
		if k.of == of && k.name != "*" && x.used < now-idle {
			delete(r.keys, k)
			r.held[of]--
			return true
		}
	}
	return false
}

func (x *rate) add(s *Sample, cal *Calendar) {
	x.used = max(x.used, s.At)
	x.total.add(s)
	switch day := cal.Day(s.At); {
	case day > x.day:
		x.day, x.today = day, Counts{}
		fallthrough
	case day == x.day:
		x.today.add(s)
	}
	base := int64(0)
	for _, ring := range rings {
		at := s.At / ring.width
		p := &x.slots[base+at%ring.slots]
		if p.at < at {
			*p = slot{at: at}
		}
		if p.at == at {
			p.add(s)
		}
		base += ring.slots
	}
}

func (p *slot) add(s *Sample) {
	p.count += s.Count
	p.met += s.Met
	if s.Timed > 0 {
		p.timed += s.Timed
		p.sum += int64(s.Timed) * s.RT
		n := &p.times[bucketOf(s.RT)]
		*n = uint16(min(int64(*n)+int64(s.Timed), 1<<16-1)) //nolint:gosec // bounded: beyond it a percentile is less exact
	}
}

// window adds up what a window holds at now.
func (x *rate) window(w int, now int64, cal *Calendar) (c Counts) {
	switch w {
	case Today:
		if x.day == cal.Day(now) {
			return x.today
		}
		return c
	case Total:
		return x.total
	}
	base := int64(0)
	for _, ring := range rings[:w] {
		base += ring.slots
	}
	last := now / rings[w].width
	for i := range rings[w].slots {
		if p := &x.slots[base+i]; p.at <= last && p.at > last-rings[w].slots {
			c.Count += int64(p.count)
			c.Met += int64(p.met)
			c.Timed += int64(p.timed)
			c.Sum += p.sum
			for b, n := range p.times {
				c.times[b] += uint32(n)
			}
		}
	}
	return c
}

// Row is a key and its windows.
type Row struct {
	Key
	Windows [window]Counts
}

// Report is rows by key, at a moment. Reports of one moment add up.
type Report []Row

// Report returns how it stands at now, without keys whose windows are all empty.
func (r *Rates) Report(now int64) Report {
	list := make(Report, 0, len(r.keys))
	for k, x := range r.keys {
		d := &r.set.defs[k.def]
		row := Row{Key: Key{d.Name, kindNames[k.of], k.name}}
		for w := range row.Windows {
			row.Windows[w] = x.window(w, now, d.cal)
		}
		list = append(list, row)
	}
	slices.SortFunc(list, func(a, b Row) int { return a.compare(b.Key) })
	return list
}

func (k Key) compare(o Key) int {
	if c := strings.Compare(k.Level, o.Level); c != 0 {
		return c
	}
	if c := strings.Compare(k.Of, o.Of); c != 0 {
		return c
	}
	return strings.Compare(k.Name, o.Name)
}

// Merge returns the report of two parts together. It may change r.
func (r Report) Merge(b Report) Report {
	for i := range b {
		j, found := slices.BinarySearchFunc(r, b[i].Key, func(row Row, k Key) int { return row.compare(k) })
		if !found {
			r = slices.Insert(r, j, b[i])
			continue
		}
		for w := range r[j].Windows {
			r[j].Windows[w].Merge(&b[i].Windows[w])
		}
	}
	return r
}
