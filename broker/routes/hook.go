package routes

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
)

// Hook is an address that is called when a route has come to its last step.
type Hook struct {
	Name      string `json:"name" yaml:"name" required:"1" doc:"As steps name it."`
	URL       string `json:"url" yaml:"url" required:"1" pattern:"^https?://" doc:"Where it is posted: http or https, without user and password."`
	Secret    string `json:"secret" yaml:"secret" required:"1" doc:"The name of the secret that it is signed with, as the nodes' configuration has it (hooks.secrets). The secret itself is never here."`
	TimeoutMS int64  `json:"timeout_ms,omitempty" yaml:"timeout_ms" min:"100" max:"30000" doc:"How long one call may take. Default 5000."`
	Attempts  int    `json:"attempts,omitempty" yaml:"attempts" min:"1" max:"50" doc:"How often it is tried, ever less often, before it is given up. Default 12: some two hours."`
}

// Defaults of a hook, and bounds.
const (
	defaultHookTimeoutMS = 5_000
	defaultHookAttempts  = 12
	maxHookURL           = 2048
)

// Hooks is what session shards know of the hooks of a document.
type Hooks struct {
	// All are the hooks, with their defaults filled in.
	All []Hook `json:"all,omitempty"`
	// Steps are the last steps that call one.
	Steps []HookStep `json:"steps,omitempty"`
}

// HookStep says which hook a last step calls.
type HookStep struct {
	Queue string `json:"queue"`
	Step  string `json:"step"` // as people call it: a step without a name by its place
	Hook  string `json:"hook"`
}

// Of returns the name of the hook that a queue's step calls, or nothing. A nil h has none.
func (h *Hooks) Of(queue, step string) string {
	if h == nil {
		return ""
	}
	for i := range h.Steps {
		if x := &h.Steps[i]; x.Queue == queue && x.Step == step {
			return x.Hook
		}
	}
	return ""
}

// Named returns the hook of that name, or nil. A nil h has none.
func (h *Hooks) Named(name string) *Hook {
	if h == nil {
		return nil
	}
	if i := slices.IndexFunc(h.All, func(x Hook) bool { return x.Name == name }); i >= 0 {
		return &h.All[i]
	}
	return nil
}

// hooks returns what travels of d's, or nil.
func (d *Document) hooks() *Hooks {
	h := &Hooks{}
	for _, x := range d.Hooks {
		if x.TimeoutMS == 0 {
			x.TimeoutMS = defaultHookTimeoutMS
		}
		if x.Attempts == 0 {
			x.Attempts = defaultHookAttempts
		}
		h.All = append(h.All, x)
	}
	for i := range d.Queues {
		for n, s := range d.Queues[i].Route {
			if s.Hook == "" {
				continue
			}
			name := s.Name
			if name == "" {
				name = "step " + strconv.Itoa(n+1)
			}
			h.Steps = append(h.Steps, HookStep{d.Queues[i].Name, name, s.Hook})
		}
	}
	if len(h.All) == 0 {
		return nil
	}
	return h
}

// ParseHooks reads the hooks of what AppendRules has written; nil is none.
func ParseHooks(b []byte) (*Hooks, error) {
	if len(b) == 0 {
		return nil, nil //nolint:nilnil // none
	}
	var r rules
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, err
	}
	return r.Hooks, nil
}

// hook checks a hook.
func (p *parsing) hook(h *Hook, path string) {
	if !id(h.Secret) || h.Secret == "" || len(h.Secret) > 64 {
		p.fail(path+".secret", "%q is no name of a secret: it has 1 to 64 of A-Z a-z 0-9 _ . : -; the secret itself does not belong here", short(h.Secret))
	}
	u, err := url.Parse(h.URL)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.Opaque != "":
		p.fail(path+".url", "it is no address: write https://host/path")
	case len(h.URL) > maxHookURL:
		p.fail(path+".url", "it has %d bytes; the limit is %d", len(h.URL), maxHookURL)
	case u.User != nil:
		p.fail(path+".url", "a user or password does not belong into an address: calls are signed")
	case u.Fragment != "":
		p.fail(path+".url", "what is behind # is never sent")
	}
	if h.TimeoutMS != 0 && (h.TimeoutMS < 100 || h.TimeoutMS > 30_000) {
		p.fail(path+".timeout_ms", "it is %d; it is 100 to 30000", h.TimeoutMS)
	}
	if h.Attempts < 0 || h.Attempts > 50 {
		p.fail(path+".attempts", "it is %d; it is 1 to 50", h.Attempts)
	}
}

// short is the beginning of what may be a secret by mistake: enough to find it, too little to tell.
func short(s string) string {
	if len(s) > 4 {
		return s[:4] + "…"
	}
	return s
}

// calls checks which hook a step calls.
func (p *parsing) calls(s *Step, hooks []string, path string) {
	if s.Hook == "" {
		return
	}
	if s.Resort == "" {
		p.fail(path+".hook", "only a last step calls a hook: give it a resort")
	}
	p.known(path+".hook", "hook", s.Hook, hooks)
}

// maxHooks bounds the hooks of a document.
const maxHooks = 32

func (p *parsing) hooks(d *Document) (all []string) {
	all = names(p, "$.hooks", d.Hooks, func(h Hook) string { return h.Name })
	p.ids("$.hooks", all)
	if len(d.Hooks) > maxHooks {
		p.fail("$.hooks", "there are %d hooks, the limit is %d", len(d.Hooks), maxHooks)
	}
	for i := range d.Hooks {
		p.hook(&d.Hooks[i], fmt.Sprintf("$.hooks[%d]", i))
	}
	for i := range d.Queues {
		for n := range d.Queues[i].Route {
			p.calls(&d.Queues[i].Route[n], all, fmt.Sprintf("$.queues[%d].route[%d]", i, n))
		}
	}
	return all
}
