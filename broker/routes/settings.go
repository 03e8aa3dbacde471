package routes

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
)

// Settings is what a document says of a tenant besides who gets whom. Nothing is what the node's configuration says. Its JSON travels with the rules.
type Settings struct {
	ReopenWindowMS int64    `json:"reopen_window_ms,omitempty"` // how long a closed session can be reopened
	MaxAttempts    uint32   `json:"max_attempts,omitempty"`     // deliveries of one entry before its session moves on
	WrapUpMS       *int64   `json:"wrapup_ms,omitempty"`        // a person's time after a session, where its queue says nothing
	Origins        []string `json:"origins,omitempty"`          // browsers' that may use the tenant's tokens; [AnyOrigin] is all
}

// AnyOrigin allows every origin, whatever the node's configuration says.
const AnyOrigin = "*"

// Bounds of what a document says of origins.
const (
	maxOrigins     = 100
	maxOriginBytes = 256
	maxAttempts    = 1_000
)

// settings returns what d says, nil when that is nothing.
func (d *Document) settings() *Settings {
	if d.ReopenMS == 0 && d.MaxAttempts == 0 && d.WrapUpMS == nil && len(d.Origins) == 0 {
		return nil
	}
	return &Settings{d.ReopenMS, d.MaxAttempts, d.WrapUpMS, d.Origins}
}

// ParseSettings reads what AppendRules has written of them.
func ParseSettings(b []byte) (Settings, error) {
	if len(b) == 0 {
		return Settings{}, nil
	}
	var r rules
	if err := json.Unmarshal(b, &r); err != nil || r.Tenant == nil {
		return Settings{}, err
	}
	return *r.Tenant, nil
}

// settings checks what d says of the tenant besides who gets whom.
func (p *parsing) settings(d *Document, queues []string) {
	p.known("$.default_queue", "queue", d.DefaultQueue, queues)
	p.atLeast("$.reopen_window_ms", d.ReopenMS, 0)
	if d.MaxAttempts > maxAttempts {
		p.fail("$.max_attempts", "max_attempts is %d; the limit is %d", d.MaxAttempts, maxAttempts)
	}
	if ms := d.WrapUpMS; ms != nil && (*ms < 0 || *ms > WrapUpMost) {
		p.fail("$.wrapup_ms", "it is %d; it must be 0 to %d", *ms, WrapUpMost)
	}
	if len(d.Origins) > maxOrigins {
		p.fail("$.origins", "there are %d origins, the limit is %d", len(d.Origins), maxOrigins)
		return
	}
	for i, o := range d.Origins {
		at := fmt.Sprintf("$.origins[%d]", i)
		switch {
		case o == AnyOrigin && len(d.Origins) > 1:
			p.fail(at, "* is any origin: it stands alone")
		case o == AnyOrigin:
		case !isOrigin(o):
			p.fail(at, "%.64q is no origin: write it as browsers do, https://shop.example, without a path", o)
		case slices.Contains(d.Origins[:i], o):
			p.fail(at, "%s is there twice", o)
		}
	}
}

// isOrigin tells whether a browser may say o: a scheme and a host, in small letters, and a port.
func isOrigin(o string) bool {
	u, err := url.Parse(o)
	if err != nil || len(o) > maxOriginBytes || u.Scheme == "" || u.Hostname() == "" || u.User != nil {
		return false
	}
	for _, c := range o {
		if c <= ' ' || c >= 0x7f || c >= 'A' && c <= 'Z' {
			return false
		}
	}
	return o == u.Scheme+"://"+u.Host
}
