package shard

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"switchboard/broker"
	"switchboard/broker/level"
	"switchboard/broker/routes"
	"switchboard/session"
	"switchboard/wire"
)

// Tenant is what is configured for one merchant. It is shared and never changes.
type Tenant struct {
	// Session is what sessions go by. [Tenant.Routed] fills in the queues.
	Session session.Policy
	// Broker is what the pool goes by, as Routed makes it of the document.
	Broker broker.Config
	// Document is where both come from; its zero value says that they were made otherwise.
	Document Document
	// Home is the queue of an open that names none, while the document has such a queue; else the first.
	Home string
	// Definitions are the service levels of its configuration. Routed adds those of the document, and makes Levels of all; nil
	// is none.
	Definitions []level.Definition
	Levels      *level.Set
	// BotGraceMS and HumanGraceMS count where the document says nothing; default 5,000 and 30,000.
	BotGraceMS, HumanGraceMS int64

	begins  *session.Policy // Session as the configuration says it, without a document; nil before Routed
	origins []string        // of its document; nil: it says nothing of them
	keeps   keepsWhy
	changed int // in so much it differs from the document before
	hooks   *routes.Hooks
	routes  *routes.Document
	rules   []byte // of its document, as they travel
	levels  []byte // what Levels were made of
}

// Document is a version of the text by which a tenant routes.
type Document struct {
	// Version is 0 of what a configuration file says, and grows by one with every change that a node was told.
	Version uint64
	At      int64 // Unix ms; 0 of version 0
	By      string
	Role    wire.Role
	Text    []byte
}

const (
	// keepVersions is how many versions of a document are kept.
	keepVersions = 20
	// traceKeep is how many decisions a pool remembers to explain, when its document does not say.
	traceKeep = 1024
)

// told is Routed of a text that somebody hands in, of whom more is asked than of one that is kept.
func (t *Tenant) told(text []byte) (*Tenant, error) {
	if err := routes.Whole(text); err != nil {
		return nil, err
	}
	return t.Routed(Document{Text: text})
}

// Routed returns a tenant like t that goes by d. The error is [routes.Errors]; t may then go on. Both sides of it may be
// used by any goroutine.
func (t *Tenant) Routed(d Document) (*Tenant, error) {
	r, err := routes.Parse(d.Text)
	if err != nil {
		return nil, err
	}
	if err := r.Succeeds(t.Broker.Queues); err != nil {
		return nil, err
	}
	n := *t
	n.Document, n.Broker, n.routes = d, r.Broker, &r.Document
	b := &n.Broker
	if b.BotGraceMS == 0 {
		b.BotGraceMS = t.BotGraceMS
	}
	if b.HumanGraceMS == 0 {
		b.HumanGraceMS = t.HumanGraceMS
	}
	if b.TraceEvery == 0 {
		b.TraceEvery = 1
	}
	if b.TraceKeep == 0 {
		b.TraceKeep = traceKeep
	}
	n.levels = measureOf(slices.Concat(t.Definitions, r.Document.Definitions()), b.Teams)
	if n.Levels, err = compile(n.levels); err != nil {
		return nil, routes.Errors{{What: err.Error()}}
	}
	n.keeps = keepsWhyOf(&r.Document)
	n.rules = r.Document.AppendRules(nil)
	if n.hooks, err = routes.ParseHooks(n.rules); err != nil {
		return nil, err
	}
	if n.begins == nil {
		n.begins = &t.Session
	}
	p := &n.Session
	set, err := routes.ParseSettings(n.rules)
	if err != nil {
		return nil, err
	}
	n.origins = set.Origins
	goBy(p, n.begins, &set)
	if p.Rules, err = rulesOf(n.rules); err != nil {
		return nil, err
	}
	p.Queues, p.Moves, p.DefaultQueue = map[string]bool{}, map[string]string{}, b.Queues[0].Name
	for i := range b.Queues {
		p.Queues[b.Queues[i].Name] = true
	}
	for _, m := range b.Moves {
		p.Moves[m.From] = m.To
	}
	if home := r.Document.DefaultQueue; home != "" {
		p.DefaultQueue = home
	} else if to, ok := p.Queue(t.Home); ok {
		p.DefaultQueue = to
	}
	return &n, nil
}

// goBy makes p what the configuration says, and a document where it says something.
func goBy(p, configuration *session.Policy, document *routes.Settings) {
	p.ReopenWindowMS, p.MaxAttempts, p.WrapUpMS = configuration.ReopenWindowMS, configuration.MaxAttempts, configuration.WrapUpMS
	if ms := document.ReopenWindowMS; ms != 0 {
		p.ReopenWindowMS = ms
	}
	if n := document.MaxAttempts; n != 0 {
		p.MaxAttempts = n
	}
	if ms := document.WrapUpMS; ms != nil {
		p.WrapUpMS = *ms
	}
}

// merchant returns what sessions of t go by.
func (t *Tenant) merchant() *merchant {
	m := &merchant{Session: t.Session, begins: t.begins, version: t.Document.Version, hooks: t.hooks}
	if m.begins == nil {
		m.begins = &t.Session
	}
	return m
}

// changes returns in what n differs from t, for people.
func (t *Tenant) changes(n *Tenant) []routes.Change {
	was, is := t.routes, n.routes
	if was == nil {
		was = &routes.Document{}
	}
	return routes.Diff(was, is)
}

func documentKey(dst []byte, tenant string, version uint64) []byte {
	dst = append(append(dst[:0], rowDocument), tenant...)
	return binary.BigEndian.AppendUint64(append(dst, 0), version)
}

// signature is what a row says of a document, in a line before its text.
type signature struct {
	At   int64     `json:"at"`
	By   string    `json:"by"`
	Role wire.Role `json:"role"`
}

// appendDocument appends the row of d.
func appendDocument(dst []byte, d *Document) []byte {
	line, err := json.Marshal(signature{d.At, d.By, d.Role})
	if err != nil {
		panic(err) // it has plain fields alone
	}
	return append(append(append(dst, line...), '\n'), d.Text...)
}

// parseDocument reads the row under key, which it copies.
func parseDocument(key, row []byte) (tenant string, d Document, err error) {
	name, version, ok := bytes.Cut(key[1:], []byte{0})
	line, text, cut := bytes.Cut(row, []byte{'\n'})
	var s signature
	if !ok || len(version) != 8 || !cut || json.Unmarshal(line, &s) != nil {
		return "", d, errors.New("a document's row is not one of this version")
	}
	return string(name), Document{Version: binary.BigEndian.Uint64(version), At: s.At, By: s.By, Role: s.Role, Text: bytes.Clone(text)}, nil
}

// ReadDocuments calls each with the latest document of every tenant whose pool is g's. It is for whoever opens shards: what a
// node was told comes before what its configuration file says.
func ReadDocuments(g Rows, each func(tenant string, d Document) error) error {
	latest := map[string]Document{}
	var bad error
	_, away, err := readStanding(g)
	if err != nil {
		return err
	}
	err = g.Scan([]byte{rowDocument}, []byte{rowDocument + 1}, true, func(k, v []byte) bool {
		name, _, _ := bytes.Cut(k[1:], []byte{0})
		if _, told := latest[string(name)]; told || (gone{away}).pool(string(name)) {
			return true // the latest comes first
		}
		tenant, d, err := parseDocument(k, v)
		bad = err
		latest[tenant] = d
		return err == nil
	})
	if err = errors.Join(err, bad); err != nil {
		return fmt.Errorf("reading documents: %w", err)
	}
	for tenant, d := range latest {
		if err := each(tenant, d); err != nil {
			return err
		}
	}
	return nil
}

// documentJob is work on a document: it is parsed, compared and read beside the owner.
type documentJob struct {
	c    *wire.Command
	base *Tenant // as it was when c came
}

// documentRead is what came of it.
type documentRead struct {
	next    *Tenant         // of a configure
	changes []routes.Change // from base
	found   []Document      // of a question; without text when the list was asked for
}

// documentsMost bounds the jobs of one pool that are on their way.
const documentsMost = 4

// document takes what is asked about the document of a tenant, or about changing it.
func (s *Shard) document(c *wire.Command) {
	p := s.pools[c.Who.Tenant]
	switch {
	case c.Who.Role != wire.RoleOperator && c.Who.Role != wire.RoleSupervisor:
		s.d.Refuse(c, wire.Forbidden)
		return
	case p == nil:
		s.strange(c)
		return
	}
	if c.Verb == wire.VerbDocument && c.Type == "" && c.Seq == 0 {
		s.say(c, p.decided.Document.Version, string(p.decided.Document.Text))
		return
	}
	if p.reading >= documentsMost {
		s.refuseOverloaded(c)
		return
	}
	p.reading++
	s.wish(job{kind: jobDocument, document: documentJob{c: c, base: p.decided}})
}

// say answers c with text, which stands for version.
func (s *Shard) say(c *wire.Command, version uint64, text string) {
	if c.ID == 0 {
		return
	}
	f := s.d.Frame(c.Conn)
	f.Kind, f.ID, f.Verb, f.Seq, f.Text = wire.FrameAnswer, c.ID, c.Verb, version, text
}

// readDocument is the loader's part.
func (s *Shard) readDocument(j job) result {
	r := result{job: j}
	c, base := j.document.c, j.document.base
	if c.Verb == wire.VerbConfigure {
		d := &r.answer
		if d.next, r.err = base.told(bytes.Clone(c.Body)); r.err == nil {
			d.changes = base.changes(d.next)
		}
		return r
	}
	var bad error
	err := s.g.Scan(documentKey(nil, c.Who.Tenant, 0), after(documentKey(nil, c.Who.Tenant, 1<<64-1)), true, func(k, v []byte) bool {
		_, d, err := parseDocument(k, v)
		if bad = err; err != nil {
			return false
		}
		if c.Type == "" && d.Version != c.Seq {
			return true
		}
		r.answer.found = append(r.answer.found, d)
		return c.Type != ""
	})
	r.err = errors.Join(err, bad)
	return r
}

// documentLoaded goes on with what the loader found.
func (s *Shard) documentLoaded(r *result) {
	c := r.document.c
	p := s.pools[c.Who.Tenant]
	p.reading--
	var mistakes routes.Errors
	switch {
	case errors.As(r.err, &mistakes) && c.Ack.Set && c.Ack.Value != p.decided.Document.Version:
		s.d.Fail(c, p.conflict()) // a mistake may be one only behind what somebody else has said since
	case errors.As(r.err, &mistakes):
		s.d.Fail(c, refuseDocument(mistakes))
	case r.err != nil:
		s.d.Refuse(c, slugOf(r.err))
	case c.Verb == wire.VerbConfigure:
		s.configure(p, c, r.document.base, &r.answer)
	case c.Type != "":
		s.say(c, p.decided.Document.Version, listVersions(r.answer.found))
	case len(r.answer.found) == 0:
		s.d.Fail(c, &wire.Error{Slug: wire.PositionGone, Message: fmt.Sprintf("version %d is not kept: the last %d are", c.Seq, keepVersions)})
	default:
		s.say(c, c.Seq, string(r.answer.found[0].Text))
	}
}

// configure decides that a document becomes the one that counts, when it is still the version that its sender knows. It counts
// once it is durable: everybody is told by the mail of this turn.
func (s *Shard) configure(p *pool, c *wire.Command, base *Tenant, r *documentRead) {
	have := p.decided.Document.Version
	answer := configured{Tenant: p.tenant, Version: have, DryRun: c.On, Changes: tellChanges(r.changes), Changed: len(r.changes)}
	same := bytes.Equal(c.Body, p.decided.Document.Text)
	switch {
	case same && (!c.Ack.Set || c.Ack.Value == have || c.Ack.Value+1 == have): // nothing is new, or it was sent twice
		answer.Changes, answer.Changed = []string{}, 0
		s.sayJSON(c, have, answer)
		return
	case c.Ack.Set && c.Ack.Value != have || base != p.decided:
		s.d.Fail(c, p.conflict())
		return
	case c.On:
		s.sayJSON(c, have, answer)
		return
	case !s.writable:
		s.d.Refuse(c, wire.Unavailable)
		return
	}
	next := r.next
	next.changed = len(r.changes)
	next.Document.Version, next.Document.At, next.Document.By, next.Document.Role = have+1, s.now, c.Who.Sub, c.Who.Role
	s.key = documentKey(s.key, p.tenant, have+1)
	s.row = appendDocument(s.row[:0], &next.Document)
	s.turn.Put(s.key, s.row)
	if have+1 > keepVersions {
		s.key = documentKey(s.key, p.tenant, have+1-keepVersions)
		s.turn.Delete(s.key)
	}
	if p.before == nil {
		p.before = p.decided
		s.amended = append(s.amended, p)
	}
	p.decided = next
	p.pending = append(p.pending, next)
	for i := range s.cfg.Peers {
		s.d.Mail = append(s.d.Mail, p.settings(s, next, i))
	}
	answer.Version = have + 1
	s.sayJSON(c, have+1, answer)
}

// conflict says that the document is another one by now than its sender knows.
func (p *pool) conflict() *wire.Error {
	d := &p.decided.Document
	return &wire.Error{
		Slug: wire.VersionConflict, Detail: fmt.Appendf(nil, `{"v":%d}`, d.Version),
		Message: fmt.Sprintf("the document is at version %d by now, of %s; get it, and make your change there", d.Version, d.author()),
	}
}

// configured answers a change of a document.
type configured struct {
	Tenant  string   `json:"tenant"`
	Version uint64   `json:"version"`
	DryRun  bool     `json:"dry_run,omitempty"`
	Changed int      `json:"changed"`
	Changes []string `json:"changes"`
}

func (s *Shard) sayJSON(c *wire.Command, version uint64, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // it has plain fields alone
	}
	s.say(c, version, string(text))
}

// toldChanges bounds the changes that an answer lists.
const toldChanges = 100

func tellChanges(list []routes.Change) []string {
	lines := []string{}
	for _, c := range list[:min(len(list), toldChanges)] {
		lines = append(lines, c.String())
	}
	return lines
}

func (d *Document) author() string {
	if d.By == "" {
		return "the configuration file"
	}
	return d.By
}

// refuseDocument tells the mistakes of a document.
func refuseDocument(list routes.Errors) *wire.Error {
	type mistake struct {
		Line    int    `json:"line"`
		Column  int    `json:"column"`
		Path    string `json:"path,omitempty"`
		Message string `json:"message"`
	}
	var detail struct {
		Errors []mistake `json:"errors"`
	}
	for _, e := range list {
		detail.Errors = append(detail.Errors, mistake{max(e.Line, 1), max(e.Column, 1), e.Path, e.What})
	}
	text, err := json.Marshal(detail)
	if err != nil {
		panic(err) // it has plain fields alone
	}
	what := "one mistake"
	if n := len(list); n > 1 {
		what = fmt.Sprintf("%d mistakes", n)
	}
	return &wire.Error{Slug: wire.InvalidBody, Message: "the document has " + what + "; nothing was changed", Detail: text}
}

// listVersions tells about documents, as JSON.
func listVersions(list []Document) string {
	type version struct {
		Version uint64    `json:"version"`
		At      int64     `json:"at"`
		By      string    `json:"by"`
		Role    wire.Role `json:"role"`
		Bytes   int       `json:"bytes"`
	}
	out := struct {
		Versions []version `json:"versions"`
	}{[]version{}}
	for i := range list {
		d := &list[i]
		out.Versions = append(out.Versions, version{d.Version, d.At, d.By, d.Role, len(d.Text)})
	}
	text, err := json.Marshal(out)
	if err != nil {
		panic(err) // it has plain fields alone
	}
	return strings.TrimSpace(string(text))
}
