package routes

import (
	"encoding/json"
	"fmt"
	"slices"

	"switchboard/broker/selector"
)

// Rule is what sessions of a queue go by themselves, while somebody has them. Its JSON travels from where a document counts to the
// shards that host sessions.
type Rule struct {
	Queue string `json:"queue"`
	// A bot's session goes to people of the queue To (default its own) after so many replies in a row of one of these types,
	// and as soon as When holds of it.
	FailedTurns uint32   `json:"failed_turns,omitempty"`
	FailedTypes []string `json:"failed_types,omitempty"`
	// AskedTypes are types of messages by which a customer asks for people.
	AskedTypes []string `json:"asked_types,omitempty"`
	When       string   `json:"when,omitempty"`
	To         string   `json:"to,omitempty"`
	// ParkMS is after how much silence of a customer who was answered a session is let go until he writes again; 0 is never.
	ParkMS int64 `json:"park_ms,omitempty"`
	// AbsentMS is how long a customer who waits and is not there keeps his place; 0 is for good.
	AbsentMS int64 `json:"absent_ms,omitempty"`
	// WrapUpMS is how long a person may take after a session; nil is the tenant's.
	WrapUpMS *int64 `json:"wrapup_ms,omitempty"`

	Holds *selector.Expr `json:"-"` // When; nil when there is none
}

// defaultFailed is the type of replies that count as failed turns, when the document does not say.
const defaultFailed = "fallback"

// rules is how they travel: with the kinds of the attributes that When may speak of.
type rules struct {
	Task  map[string]string `json:"task,omitempty"`
	Rules []Rule            `json:"rules"`
	Hooks *Hooks            `json:"hooks,omitempty"`
	// What the tenant's sessions go by in every queue. A node of an earlier version goes by its configuration.
	Tenant *Settings `json:"tenant,omitempty"`
}

// AppendRules appends what [ParseRules] reads; nothing when there are none.
func (d *Document) AppendRules(dst []byte) []byte {
	r := rules{Task: d.Attributes.Task, Rules: d.rules(), Hooks: d.hooks(), Tenant: d.settings()}
	if len(r.Rules) == 0 && r.Hooks == nil && r.Tenant == nil {
		return dst
	}
	b, err := json.Marshal(&r)
	if err != nil {
		panic(err) // it has plain fields alone
	}
	return append(dst, b...)
}

// rules returns the rules of queues that have any.
func (d *Document) rules() (list []Rule) {
	for i := range d.Queues {
		q := &d.Queues[i]
		r := Rule{Queue: q.Name, FailedTurns: q.Handoff.FailedTurns, FailedTypes: q.Handoff.FailedTypes, AskedTypes: q.Handoff.AskedTypes, When: q.Handoff.When, To: q.Handoff.Queue, ParkMS: q.ParkMS, AbsentMS: q.AbsentMS, WrapUpMS: q.WrapUpMS}
		if r.FailedTurns > 0 && len(r.FailedTypes) == 0 {
			r.FailedTypes = []string{defaultFailed}
		}
		if r.FailedTurns > 0 || len(r.AskedTypes) > 0 || r.When != "" || r.ParkMS+r.AbsentMS > 0 || r.WrapUpMS != nil {
			list = append(list, r)
		}
	}
	return list
}

// ParseRules reads what AppendRules has written.
func ParseRules(b []byte) ([]Rule, error) {
	if len(b) == 0 {
		return nil, nil
	}
	var r rules
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, err
	}
	p := &parsing{schema: selector.Standard()}
	p.attributes(&Attributes{Task: r.Task})
	if len(p.errs) > 0 {
		return nil, p.errs
	}
	for i := range r.Rules {
		if r.Rules[i].When == "" {
			continue
		}
		e, err := p.schema.Parse(r.Rules[i].When)
		if err != nil {
			return nil, fmt.Errorf("queue %s: %w", r.Rules[i].Queue, err)
		}
		r.Rules[i].Holds = e
	}
	return r.Rules, nil
}

// handoff checks when a queue's bots give up.
func (p *parsing) handoff(h *Handoff, queues []string, path string) {
	p.known(path+".queue", "queue", h.Queue, queues)
	if h.When != "" {
		if e := p.selector(path+".when", h.When); e.AsksWorkers() {
			p.fail(path+".when", "it is of the session alone; it cannot speak of workers")
		}
	}
	if h.FailedTurns == 0 && len(h.FailedTypes) > 0 {
		p.fail(path+".failed_types", "say after how many: failed_turns")
	}
	if h.FailedTurns == 0 && len(h.AskedTypes) == 0 && h.When == "" && h.Queue != "" {
		p.fail(path, "say when: failed_turns, asked_types or when")
	}
	for name, types := range map[string][]string{"failed_types": h.FailedTypes, "asked_types": h.AskedTypes} {
		for i, x := range types {
			if !id(x) || x == "" || len(x) > 64 {
				p.fail(fmt.Sprintf("%s.%s[%d]", path, name, i), "%q is no type: it has 1 to 64 of A-Z a-z 0-9 _ . : -", x)
			}
		}
	}
	if slices.Contains(h.AskedTypes, "text") {
		p.fail(path+".asked_types", "text is what customers usually say; name a type that your app's button sends, as human")
	}
}
