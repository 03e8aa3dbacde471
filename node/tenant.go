package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"switchboard/broker/level"
	"switchboard/broker/routes"
	"switchboard/session"
	"switchboard/shard"
	"switchboard/wire"
)

// Tenant is one merchant. How it routes is said in one of three ways: Routes, RoutesFile, or just Queues. It is where the tenant
// begins: once the node was told another document ([SW-7.3]), that one counts.
type Tenant struct {
	// Queues are its waiting lines, when there is nothing more to be said of them.
	Queues []Queue `yaml:"queues,omitempty"`
	// Routes is a document of package routes, written here.
	Routes Inline `yaml:"routes,omitempty"`
	// RoutesFile is the path of such a document. The command reads it from beside its configuration file.
	RoutesFile string `yaml:"routes_file,omitempty"`
	// DefaultQueue is where an open without queue goes, while there is such a queue; default the first.
	DefaultQueue string `yaml:"default_queue"`
	// Placement is where the tenant's conversations are kept, in a cluster: on the nodes of that placement, and on no others. It is decided
	// at the first start for good; default main. The placement must be there before.
	Placement string `yaml:"placement,omitempty"`
	// Origins are those from which browsers may use the tenant's tokens; empty means any [SW-2.9].
	Origins []string `yaml:"origins"`
	// Suspended says that the tenant's tokens are refused, whatever they are good for [SW-6.2]. What it has stays as it is.
	Suspended bool `yaml:"suspended"`
	// ReopenWindowMS is how long a closed session can be reopened; default 24 h [SW-4.6].
	ReopenWindowMS int64 `yaml:"reopen_window_ms"`
	// MaxAttempts is how often an entry is delivered before the session moves on; default 5 [SW-5.6].
	MaxAttempts uint32 `yaml:"max_attempts"`
	// WrapUpMS is a human's time after a release; default 0 [SW-5.9].
	WrapUpMS int64 `yaml:"wrapup_ms"`
	// GraceBotsMS and GraceHumansMS are how long a lost worker's sessions wait for it, where the document says nothing; default
	// 5,000 and 30,000.
	GraceBotsMS   int64 `yaml:"grace_bots_ms"`
	GraceHumansMS int64 `yaml:"grace_humans_ms"`
	// Levels are its service levels, at most 16; default none. See docs/levels.md.
	Levels []level.Definition `yaml:"levels"`

	routed *shard.Tenant // by validate
}

// Queue is one waiting line of a tenant. A document of routes says more of it.
type Queue struct {
	Name       string `yaml:"name"`
	Scoring    string `yaml:"scoring"`      // banded (default) or weighted
	Order      string `yaml:"order"`        // ageing (default), strict or fifo
	OfferTTLMS int64  `yaml:"offer_ttl_ms"` // how long a human may think; default 20,000
	Priority   int32  `yaml:"priority"`     // a worker of several queues serves the smaller one first; default 0
}

// Inline is a document inside another one. It knows where it stands there, so that its mistakes are told with the lines of
// the whole file.
type Inline struct {
	text []byte
	line int // of the first, from 1
}

// InlineOf returns a document that stands nowhere else.
func InlineOf(text []byte) Inline { return Inline{text, 1} }

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (i *Inline) UnmarshalYAML(n ast.Node) error {
	i.line = 1
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 {
		i.line = m.Values[0].Key.GetToken().Position.Line
	}
	text, err := n.MarshalYAML()
	i.text = text
	return err
}

// MarshalYAML implements yaml.BytesMarshaler.
func (i Inline) MarshalYAML() ([]byte, error) { return i.text, nil }

// IsZero tells that there is no document.
func (i Inline) IsZero() bool { return len(i.text) == 0 }

// document returns the text by which t routes, and what its mistakes are told with.
func (t *Tenant) document() (text []byte, from string, err error) {
	said := 0
	for _, yes := range [...]bool{len(t.Queues) > 0, !t.Routes.IsZero(), t.RoutesFile != ""} {
		if yes {
			said++
		}
	}
	switch {
	case said == 0:
		return nil, "", errors.New("has no queues: name them under queues, or write routes or routes_file")
	case said > 1:
		return nil, "", errors.New("has more than one of queues, routes and routes_file: one says it all")
	case t.RoutesFile != "":
		text, err = os.ReadFile(t.RoutesFile)
		return text, t.RoutesFile, err
	case len(t.Queues) > 0:
		text, err = t.plain()
		return text, "queues", err
	}
	return t.Routes.text, "routes", nil
}

// plain returns the document that says what Queues do.
func (t *Tenant) plain() ([]byte, error) {
	d := routes.Document{Version: 1}
	for _, q := range t.Queues {
		d.Queues = append(d.Queues, routes.Queue{
			Name: q.Name, Priority: q.Priority, OfferTTLMS: q.OfferTTLMS, Order: routes.Order{Mode: q.Order}, Scoring: routes.Scoring{Mode: q.Scoring},
		})
	}
	text, err := json.Marshal(&d)
	if err != nil {
		return nil, err
	}
	return yaml.JSONToYAML(text)
}

// mistakes returns err with the places of the file that the document stands in. Those of a document that nobody wrote have none.
func (t *Tenant) mistakes(from string, err error) error {
	var list routes.Errors
	if !errors.As(err, &list) {
		return err
	}
	for _, e := range list {
		switch {
		case len(t.Queues) > 0:
			e.Line = 0
		case !t.Routes.IsZero() && e.Line > 0:
			e.Line += t.Routes.line - 1
		}
	}
	return fmt.Errorf("%s: %w", from, list)
}

func (t *Tenant) defaults() {
	if t.ReopenWindowMS == 0 {
		t.ReopenWindowMS = (24 * time.Hour).Milliseconds()
	}
	if t.MaxAttempts == 0 {
		t.MaxAttempts = 5
	}
	if t.GraceBotsMS == 0 {
		t.GraceBotsMS = 5_000
	}
	if t.GraceHumansMS == 0 {
		t.GraceHumansMS = 30_000
	}
}

func (t *Tenant) validate(name string, maxBody int) error {
	if !wire.ValidID(name) {
		return fmt.Errorf("tenant %q: a name is 1 to 64 of A-Z a-z 0-9 _ . : -", name)
	}
	text, from, err := t.document()
	if err != nil {
		return fmt.Errorf("tenant %s: %w", name, err)
	}
	if err := notNegative(
		amount{"reopen_window_ms", t.ReopenWindowMS}, amount{"wrapup_ms", t.WrapUpMS}, amount{"grace_bots_ms", t.GraceBotsMS},
		amount{"grace_humans_ms", t.GraceHumansMS},
	); err != nil {
		return fmt.Errorf("tenant %s: %w", name, err)
	}
	if t.WrapUpMS > routes.WrapUpMost {
		return fmt.Errorf("tenant %s: wrapup_ms is %d: it must be 0 to %d, an hour", name, t.WrapUpMS, routes.WrapUpMost)
	}
	t.defaults()
	if t.routed, err = t.route(shard.Document{Text: text}, maxBody); err != nil {
		return fmt.Errorf("tenant %s: %w", name, t.mistakes(from, err))
	}
	if t.DefaultQueue != "" && !t.routed.Session.Queues[t.DefaultQueue] {
		return fmt.Errorf("tenant %s: default_queue %s is none of its queues", name, t.DefaultQueue)
	}
	if err := t.checkLevels(); err != nil {
		return fmt.Errorf("tenant %s: %w", name, err)
	}
	return nil
}

// route returns t as shards know it when it goes by d.
func (t *Tenant) route(d shard.Document, maxBody int) (*shard.Tenant, error) {
	return t.base(maxBody).Routed(d)
}

// base returns t as shards know it, without a document.
func (t *Tenant) base(maxBody int) *shard.Tenant {
	return &shard.Tenant{
		Session:     session.Policy{ReopenWindowMS: t.ReopenWindowMS, MaxAttempts: t.MaxAttempts, WrapUpMS: t.WrapUpMS, MaxBody: maxBody},
		Definitions: t.Levels,
		Home:        t.DefaultQueue, BotGraceMS: t.GraceBotsMS, HumanGraceMS: t.GraceHumansMS,
	}
}
