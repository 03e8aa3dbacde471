package session

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"switchboard/internal/script"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

func TestScripts(t *testing.T) {
	script.Walk(t, "testdata/*.txt", func(*testing.T) func(*testing.T, *script.Command) string {
		w := newWorld()
		return w.do
	})
}

// world is a session with everything around it that a shard would be: the log, the rows, and the people.
type world struct {
	s      *State
	env    Env
	policy Policy
	d      Decision
	id     wire.SessionID
	conns  map[string]wire.Conn
	names  map[wire.Address]string
	who    map[string]*wire.Principal // by connection
	log    []*wire.Entry
	facts  []Fact
	keys   map[uint64]Key // rows by fingerprint
	order  []uint64
	row    []byte // the state's
	live   []byte // that which says that it is live
	marks  Marks  // in front of the last entry's
	loads  []Load
	out    strings.Builder
}

func newWorld() *world {
	w := &world{
		policy: Policy{
			ReopenWindowMS: 1000, MaxAttempts: 3, WrapUpMS: 0, MaxBody: 4096,
			Queues: map[string]bool{"default": true, "refunds": true}, DefaultQueue: "default",
		},
		conns: map[string]wire.Conn{}, names: map[wire.Address]string{}, who: map[string]*wire.Principal{}, keys: map[uint64]Key{},
	}
	w.env = Env{Now: 1000, Node: 1, Policy: &w.policy, Pool: wire.ToSlot(7)}
	w.names[w.env.Pool] = "pool"
	w.names[wire.Address{}] = "nobody"
	return w
}

// principal returns who a script means by a name.
func principal(name string) *wire.Principal {
	name, instance, _ := strings.Cut(name, "/")
	p := &wire.Principal{Tenant: "demo", Sub: name}
	switch {
	case strings.HasPrefix(name, "bot"):
		p.Role, p.Kind = wire.RoleWorker, wire.OriginBot
	case strings.HasPrefix(name, "bob"), strings.HasPrefix(name, "ann"):
		p.Role, p.Kind, p.Name = wire.RoleWorker, wire.OriginHuman, strings.ToUpper(name[:1])+name[1:]
	case strings.HasPrefix(name, "sue"):
		p.Role = wire.RoleSupervisor
	case name == "opa":
		p.Role = wire.RoleOperator
	case name == "shopsue": // a supervisor of another shop
		p.Role, p.Shop = wire.RoleSupervisor, "s9"
	case name == "mallory":
		p.Tenant, p.Role = "other", wire.RoleCustomer
	case name == "service":
		p.Role = wire.RoleService
	default:
		p.Role = wire.RoleCustomer
	}
	if p.Role == wire.RoleWorker {
		p.Worker = p.Sub
		if instance != "" {
			p.Worker += "/" + instance
		}
	}
	return p
}

func (w *world) conn(name string) wire.Conn {
	if name == "" {
		return wire.Conn{}
	}
	c, ok := w.conns[name]
	if !ok {
		c = wire.Conn{Node: 1, ID: uint64(len(w.conns) + 1)}
		w.conns[name] = c
		w.names[c.Address()] = name
	}
	return c
}

// text makes JSON of a script's word: what is JSON already stays.
func text(s string) []byte {
	if s == "" || s[0] == '{' || s[0] == '[' {
		return []byte(s)
	}
	return []byte(`{"text":` + strconv.Quote(s) + `}`)
}

func optionalOf(c *script.Command, key string) wire.Optional {
	if !c.Has(key) {
		return wire.Optional{}
	}
	return wire.Some(uintOf(c, key))
}

func uintOf(c *script.Command, key string) uint64 { return uint64(c.Int(key, 0)) }

// command reads what a client asks for.
func (w *world) command(c *script.Command) *wire.Command {
	name := c.String("conn", "")
	conn := w.conn(name)
	if who, ok := c.Get("who"); ok {
		w.who[name] = principal(who)
	}
	m := &wire.Command{
		Verb: wire.Verb(c.Name), ID: uint64(c.Int("id", 1)), Conn: conn, Who: w.who[name], Session: w.id,
		Key: c.String("key", ""), Type: c.String("type", ""), Body: text(c.String("body", "")), ReplyTo: uintOf(c, "reply_to"),
		Visibility: c.String("visibility", ""), Stream: c.String("stream", ""), Text: c.String("text", ""), Reason: c.String("reason", ""),
		Resume: c.Bool("resume"), AE: uintOf(c, "ae"), GE: uintOf(c, "ge"), Seq: uintOf(c, "seq"), Read: uintOf(c, "read"), Ack: optionalOf(c, "ack"), Upto: optionalOf(c, "upto"),
		DelayMS: c.Int("delay", 0), On: c.Bool("on"),
	}
	m.Seq = uint64(c.Int("off", int64(m.Seq)))
	if root, ok := c.Get("root"); ok { // the shard found out who he is by now
		m.Way = &wire.Way{Root: root}
	}
	if c.Bool("proved") { // or that he is the customer
		m.Way = &wire.Way{Proved: true}
	}
	if ext, ok := c.Get("for"); ok { // whom a service acts for
		channel, id, _ := strings.Cut(ext, ":")
		m.For = &wire.External{Channel: channel, ID: id, Name: c.String("name", "")}
	}
	if n := c.Int("big", 0); n > 0 {
		m.Text = strings.Repeat("x", int(n))
	}
	switch m.Verb {
	case wire.VerbOpen:
		o := &wirepb.Open{Session: string(w.id), Channel: c.String("channel", "")}
		if c.Bool("any") { // without session: the shard found this one
			m.Session, o.Session = "", ""
		}
		if from, ok := c.Get("from"); ok {
			epoch, seq, _ := strings.Cut(from, ":")
			o.From = &wirepb.Position{}
			o.From.Epoch, _ = strconv.ParseUint(epoch, 10, 64)
			o.From.Seq, _ = strconv.ParseUint(seq, 10, 64)
		}
		if tail := uint32(c.Int("tail", 0)); tail > 0 {
			o.Tail = &tail
		}
		m.PB = &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Open{Open: o}}
	case wire.VerbHistory:
		h := &wirepb.History{Limit: uint32(c.Int("limit", 0))}
		if v := optionalOf(c, "before"); v.Set {
			h.Before = &v.Value
		}
		if v := optionalOf(c, "after"); v.Set {
			h.After = &v.Value
		}
		m.PB = &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_History{History: h}}
	case wire.VerbRate:
		m.PB = &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Rate{Rate: &wirepb.Rate{Score: uint32(c.Int("score", 0)), Comment: c.String("comment", "")}}}
	case wire.VerbTransfer:
		t := &wirepb.Transfer{To: &wirepb.Target{Queue: c.String("queue", ""), Worker: c.String("worker", ""), Kind: c.String("kind", "")}, Note: c.String("note", ""), Context: []byte(c.String("context", ""))}
		m.PB = &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Transfer{Transfer: t}}
	case wire.VerbRelease:
		m.PB = &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Release{Release: &wirepb.Release{Outcome: c.String("outcome", ""), Summary: c.String("summary", ""), Tags: c.List("tags")}}}
	case wire.VerbContext:
		m.PB = &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Context{Context: &wirepb.Context{IfV: uintOf(c, "if_v"), Patch: []byte(c.String("patch", ""))}}}
		if n := c.Int("big", 0); n > 0 {
			m.PB.GetContext().Patch = []byte(`{"big":"` + strings.Repeat("x", int(n)) + `"}`)
		}
	case wire.VerbJoin:
		m.PB = &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Join{Join: &wirepb.Join{As: c.String("as", "")}}}
	case wire.VerbInvite:
		m.PB = &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Invite{Invite: &wirepb.Invite{Worker: c.String("worker", ""), As: c.String("as", ""), Note: c.String("note", "")}}}
	case wire.VerbAssign:
		m.PB = &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Assign{Assign: &wirepb.Assign{Worker: c.String("worker", ""), Force: c.Bool("force")}}}
	case wire.VerbAttributes:
		m.PB = &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Attributes{Attributes: &wirepb.Attributes{IfV: uintOf(c, "if_v"), Patch: []byte(c.String("patch", ""))}}}
		if n := c.Int("big", 0); n > 0 {
			m.PB.GetAttributes().Patch = []byte(`{"big":"` + strings.Repeat("x", int(n)) + `"}`)
		}
	default:
	}
	return m
}

// do runs one command of a script.
func (w *world) do(_ *testing.T, c *script.Command) string {
	w.out.Reset()
	w.env.Now = c.Int("at", w.env.Now)
	w.env.Begun = c.Int("begun", w.env.Begun)
	w.env.Current = wire.SessionID(c.String("current", ""))
	w.env.ReadOnly = c.Bool("readonly")
	w.env.Row, w.env.Loaded = nil, false
	switch c.Name {
	case "create":
		w.id = wire.NewSessionID(0, 1, 1)
		w.s = Create(&w.env, &Birth{
			ID: w.id, Tenant: "demo", Shop: c.String("shop", ""), Queue: c.String("queue", "default"), Channel: c.String("channel", "web"),
			Tier: c.String("tier", ""), Customer: principal(c.String("who", "alice")).Author(), Attributes: []byte(c.String("attributes", "")), Epoch: 1,
		}, &w.d)
	case "grant":
		who := principal(c.Word(0))
		w.s.Grant(&w.env, &wire.Grant{
			Session: w.id, Ticket: uintOf(c, "ticket"), Pool: uint64(c.Int("pool", 1)), Worker: who.Worker, Sub: who.Sub, Name: who.Name, Kind: who.Kind,
			Conn: w.conn(c.String("conn", "")), Lease: c.String("lease", "l1"), Window: uint32(c.Int("window", 16)), Reason: c.String("reason", "route"),
			Offer: c.String("offer", ""), Request: uintOf(c, "request"),
		}, &w.d)
	case "lost":
		w.s.Lost(&w.env, &wire.Lost{Session: w.id, Pool: uint64(c.Int("pool", 1)), Worker: c.Word(0), AE: uintOf(c, "ae")}, &w.d)
	case "wrapup_over":
		w.s.WrapUpOver(&w.env, &wire.WrapUpOver{Session: w.id, Pool: uint64(c.Int("pool", 1)), Worker: c.Word(0), AE: uintOf(c, "ae")}, &w.d)
	case "rebind":
		lease := "l1"
		if c.Bool("asked") { // for
			lease = ""
		}
		w.s.Rebind(&w.env, &wire.Rebind{
			Session: w.id, Pool: uint64(c.Int("pool", 1)), Worker: c.Word(0), AE: uintOf(c, "ae"), Conn: w.conn(c.String("conn", "")),
			Lease: lease, Window: uint32(c.Int("window", 16)), Fresh: c.Bool("fresh"), Reason: c.String("reason", "route"),
		}, &w.d)
	case "nogrant":
		w.s.NoGrant(&w.env, &wire.NoGrant{Session: w.id, Ticket: uintOf(c, "ticket"), Pool: uint64(c.Int("pool", 1)), Why: c.String("why", "")}, &w.d)
	case "resort":
		w.s.LastResort(&w.env, &wire.Resort{Session: w.id, Ticket: uintOf(c, "ticket"), Pool: uint64(c.Int("pool", 1)), Action: c.Word(0), Step: c.String("step", ""), OpensAt: c.Int("opens", 0)}, &w.d)
	case "found": // where an invited worker is
		w.s.Found(&w.env, &wire.Found{Session: w.id, N: uintOf(c, "n"), Worker: c.Word(0), Conn: w.conn(c.String("conn", ""))}, &w.d)
	case "classify":
		who := &wire.Principal{}
		if name := c.Word(0); name != "-" {
			who = principal(name)
		}
		w.s.Classify(&w.env, &wire.Classify{
			Session: w.id, Ticket: uintOf(c, "ticket"), Pool: uint64(c.Int("pool", 1)), Queue: "default", Worker: who.Worker, Conn: w.conn(c.String("conn", "")),
			Until: c.Int("until", 0), Default: []byte(c.String("default", "")),
		}, &w.d)
	case "place":
		w.s.Place(&w.env, &wire.Place{Session: w.id, Ticket: uintOf(c, "ticket"), Queue: "default", Position: uint32(c.Int("position", 0)), ETAMS: [2]int64{0, c.Int("eta", 0)}, OpensAt: c.Int("opens", 0)}, &w.d)
	case "introduce":
		w.s.Introduce(uintOf(c, "pool"), &w.d)
	case "adopt":
		w.s.Adopt(&w.env, c.Word(0), &w.d)
	case "merge":
		w.s.Merge(&w.env, wire.SessionID(c.String("into", "")), &w.d)
	case "epoch":
		w.s.Recover(uintOf(c, "n"), &w.d)
	case "census":
		for _, l := range w.s.AppendCensus(nil) {
			fmt.Fprintf(&w.out, "live %s assigned=%v worker=%s lease=%s ae=%d\n", taskLine(&l.Task), l.Assigned, l.Worker, l.Lease, l.AE)
		}
		for _, u := range w.s.AppendWrapUps(nil, w.env.Now) {
			fmt.Fprintf(&w.out, "wrapup ticket=%d queue=%s worker=%s lease=%s ae=%d left=%d\n", u.Ticket, u.Queue, u.Worker, u.Lease, u.AE, u.LeftMS)
		}
	case "again":
		if t := w.s.Again(); t != nil {
			fmt.Fprintf(&w.out, "%s\n", taskLine(t))
		}
	case "unbound":
		if u := w.s.Unbound(); u != nil {
			fmt.Fprintf(&w.out, "unbound %s worker=%s lease=%s ae=%d\n", taskLine(&u.Task), u.Worker, u.Lease, u.AE)
		}
	case "wake":
		if at := w.s.Wake(&w.env, &w.d); at != 0 {
			fmt.Fprintf(&w.out, "alarm at=%d\n", at)
		}
	case "load":
		w.load(c)
	case "crash":
		w.crash(c.Bool("facts"))
	case "show":
		w.show()
	case "repeats":
		c.Name = "open"
		m := w.command(c)
		return fmt.Sprint(w.s.Repeats(m))
	case "flood": // connections that nobody looks at
		for i := range c.Int("n", 0) {
			m := &wire.Command{Verb: wire.VerbOpen, ID: 1, Conn: wire.Conn{Node: 2, ID: uint64(i)}, Who: principal("alice"), PB: &wirepb.ClientFrame{}}
			Decide(w.s, &w.env, m, &w.d)
		}
		return w.quiet()
	case "many": // sends of alice with the keys m<from>, …
		for i := range c.Int("n", 0) {
			n := strconv.FormatInt(c.Int("from", 0)+i, 10)
			m := &wire.Command{Verb: wire.VerbSend, ID: 1, Conn: w.conn("a"), Who: principal("alice"), Key: "m" + n, Body: text(n)}
			Decide(w.s, &w.env, m, &w.d)
		}
		return w.quiet()
	case "rule": // of the queue default
		r := &Rule{FailedTurns: uint32(c.Int("failed", 0)), FailedTypes: []string{"fallback"}, To: c.String("to", ""), ParkMS: c.Int("park", 0), AbsentMS: c.Int("absent", 0)}
		if asked := c.String("asked", ""); asked != "" {
			r.AskedTypes = []string{asked}
		}
		if ms := c.Int("wrapup", -1); ms >= 0 {
			r.WrapUpMS = &ms
		}
		if mood := c.String("mood", ""); mood != "" {
			r.Holds = func(s *State) bool { return strings.Contains(string(s.Attributes), mood) }
		}
		w.policy.Rules = map[string]*Rule{"default": r}
	case "parkat":
		fmt.Fprintf(&w.out, "%d\n", w.s.ParkAt(&w.policy))
	case "absentat":
		fmt.Fprintf(&w.out, "%d\n", w.s.AbsentAt(&w.policy, w.env.Now))
	case "wrapup":
		w.policy.WrapUpMS = c.Int("ms", 0)
	case "policy":
		w.policy.MaxBody = int(c.Int("body", 0))
	default:
		Decide(w.s, &w.env, w.command(c), &w.d)
	}
	w.told()
	return w.out.String()
}

// told takes note of what was decided, as a shard would, and prints it. A decision that is told by the rows of its entries
// and keys writes no row of the state.
func (w *world) told() {
	heavy, said := false, false
	for i := range w.d.Facts {
		f := w.d.Facts[i]
		heavy = heavy || !f.Light()
		switch f.Kind {
		case Said:
			said = true
			w.log = append(w.log, f.Entry)
		case Known:
			k := *f.Key
			f.Key = &k
			w.keys[k.FP] = k
			w.order = append(w.order, k.FP)
		case WrapUpBegan, WrapUpEnded:
			w.live = AppendLive(nil, w.s)
		default:
		}
		w.facts = append(w.facts, f)
		w.out.WriteString("+ " + factLine(&f) + "\n")
	}
	if said {
		w.marks = w.s.Marks()
	}
	if len(w.d.Facts) > 0 && (heavy || !said) {
		w.row = AppendState(w.row[:0], w.s)
	}
	for _, e := range w.d.Mail {
		name := w.names[e.To]
		if name == "" {
			name = "stranger"
		}
		w.out.WriteString(name + " < " + mailLine(e.Mail) + "\n")
	}
	for _, l := range w.d.Load {
		w.loads = append(w.loads, l)
		w.out.WriteString("? " + loadLine(&l) + "\n")
	}
	w.d.Reset()
}

// quiet takes note of what was decided and says how much it was.
func (w *world) quiet() string {
	facts, mail, loads := len(w.d.Facts), len(w.d.Mail), len(w.d.Load)
	w.told()
	return fmt.Sprintf("%d facts, %d frames and words, %d questions", facts, mail, loads)
}

// load answers the oldest question.
func (w *world) load(c *script.Command) {
	if len(w.loads) == 0 {
		w.out.WriteString("nothing to load\n")
		return
	}
	l := w.loads[0]
	w.loads = w.loads[1:]
	switch l.Kind {
	case LoadKey:
		w.env.Loaded = true
		if k, ok := w.keys[l.FP]; ok && !c.Bool("gone") {
			w.env.Row = &k
		}
		Decide(w.s, &w.env, l.Command, &w.d)
	case LoadPage:
		list, more := w.read(&l)
		w.s.Page(&l, list, w.prev(&l, list), more, &w.d)
	case LoadBack:
		list, _ := w.read(&l)
		if c.Bool("fail") {
			list = nil
		}
		w.s.Back(&w.env, list, &w.d)
	case LoadNothing:
	}
}

// read reads the log as a shard does.
func (w *world) read(l *Load) (list []*wire.Entry, more bool) {
	for _, e := range w.log {
		if e.Seq > l.After && e.Seq < l.Before && (l.Staff || e.Visibility != wire.Staff) {
			list = append(list, e)
		}
	}
	if len(list) <= l.Limit {
		return list, false
	}
	if l.Reverse {
		return list[len(list)-l.Limit:], true
	}
	return list[:l.Limit], true
}

// prev returns the seq before the first of a page, as a shard finds it.
func (w *world) prev(l *Load, list []*wire.Entry) uint64 {
	if len(list) == 0 {
		return 0
	}
	before, _ := w.read(&Load{Before: list[0].Seq, Limit: 1, Reverse: true, Staff: l.Staff})
	if len(before) == 0 {
		return 0
	}
	return before[0].Seq
}

// crash forgets everything volatile: the state is read from its row and brought up to its last entry and key, or made of
// the facts alone.
func (w *world) crash(factsAlone bool) {
	st := &State{}
	if factsAlone {
		for i := range w.facts {
			st.Apply(&w.facts[i])
		}
	} else {
		if err := errors.Join(ParseState(w.row, st), ParseLive(w.live, st)); err != nil {
			panic(err)
		}
		keys, older := w.remembered()
		st.CatchUp(uint64(len(w.log)), w.marks, uint64(len(w.order)))
		st.Remember(w.tail(), keys, older, uint64(len(w.order)))
	}
	w.s, w.loads = st, nil
}

func (w *world) tail() []*wire.Entry { return w.log[max(len(w.log)-TailEntries, 0):] }

func (w *world) remembered() (keys []Key, older []KeyAt) {
	split := max(len(w.order)-KeysInMemory, 0)
	for _, fp := range w.order[split:] {
		keys = append(keys, w.keys[fp])
	}
	for _, fp := range w.order[:split] {
		older = append(older, KeyAt{FP: fp, Seq: w.keys[fp].Seq})
	}
	return keys, older
}

func (w *world) show() {
	s := w.s
	fmt.Fprintf(&w.out, "%s ae=%d ticket=%d head=%d public=%d said=%d cursor=%d since=%d pool=%d keys=%d", s.Phase, s.AE, s.Ticket, s.Head, s.Public, s.Said, s.Cursor, s.EnqueuedAt, s.Pool, s.KeyCount)
	if s.FailSeq != 0 {
		fmt.Fprintf(&w.out, " fail=%d attempt=%d hold=%d", s.FailSeq, s.Attempt, s.HoldUntil)
	}
	if s.HumanOnly {
		w.out.WriteString(" humans")
	}
	if s.Transfer.Ticket != 0 {
		fmt.Fprintf(&w.out, " transfer=%d/%s", s.Transfer.Ticket, s.Transfer.Worker)
	}
	if s.ContextV != 0 {
		fmt.Fprintf(&w.out, " context=%d/%s", s.ContextV, short(s.Context))
	}
	for _, p := range s.Past {
		fmt.Fprintf(&w.out, " past=%s/%d", p.Worker, p.Until)
	}
	w.out.WriteString("\n")
}
