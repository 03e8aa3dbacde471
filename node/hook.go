package node

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"switchboard/hook"
	"switchboard/shard"
)

// Hooks is how the node calls the hooks that tenants have in their documents.
type Hooks struct {
	// Secrets are what calls are signed with: by tenant/name, the name as documents have it, where the secret is: file:PATH or env:NAME. A file is
	// read at every call, so that a secret can be changed while the node runs.
	Secrets map[string]string `yaml:"secrets"`
	// Allow are addresses, as 10.1.0.0/16 or 127.0.0.1, that hooks may reach though they are of this machine, private or otherwise special.
	// Default none: whoever may write a document must not reach by it what only this node can.
	Allow []string `yaml:"allow"`
	// Concurrency is how many calls may be on their way at once, three quarters of them one tenant's at most, and PerHook how many of one hook; default 32 and 4.
	Concurrency int `yaml:"concurrency"`
	PerHook     int `yaml:"per_hook"`

	// FirstMS is how long after a first attempt that has failed a hook is called again; default 2,000. Each time it is twice as long, up to an
	// hour.
	FirstMS int64 `yaml:"first_ms"`

	allow []netip.Prefix // by validate
}

func (h *Hooks) validate() error {
	for key, at := range h.Secrets {
		kind, where, _ := strings.Cut(at, ":")
		if tenant, name, ok := strings.Cut(key, "/"); !ok || tenant == "" || name == "" {
			return fmt.Errorf("hooks.secrets: %q is not tenant/name", key)
		}
		if kind != "file" && kind != "env" || where == "" {
			return fmt.Errorf("hooks.secrets: %s must say where its secret is: file:PATH or env:NAME", key)
		}
	}
	for _, text := range h.Allow {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			var ip netip.Addr
			if ip, err = netip.ParseAddr(text); err == nil {
				p = netip.PrefixFrom(ip, ip.BitLen())
			}
		}
		if err != nil {
			return fmt.Errorf("hooks.allow: %q is no address and no range of them", text)
		}
		h.allow = append(h.allow, p)
	}
	if most := time.Hour.Milliseconds(); h.FirstMS > most {
		return fmt.Errorf("hooks.first_ms is %d: it must be at most %d", h.FirstMS, most)
	}
	return notNegative(amount{"hooks.concurrency", int64(h.Concurrency)}, amount{"hooks.per_hook", int64(h.PerHook)}, amount{"hooks.first_ms", h.FirstMS})
}

// secret returns what a tenant's calls are signed with.
func (h *Hooks) secret(tenant, name string) ([]byte, error) {
	kind, where, _ := strings.Cut(h.Secrets[tenant+"/"+name], ":")
	var text []byte
	switch kind {
	case "file":
		var err error
		if text, err = os.ReadFile(where); err != nil {
			return nil, errors.New("its file cannot be read") // where it is, is the node's business
		}
	case "env":
		text = []byte(os.Getenv(where))
	default:
		return nil, errors.New("the node's hooks.secrets does not have it")
	}
	if strings.TrimSpace(string(text)) == "" {
		return nil, errors.New("it is empty")
	}
	return text, nil
}

// openHooks prepares the node to call out.
func (n *Node) openHooks() {
	h := &n.cfg.Hooks
	n.hooks = hook.Open(hook.Config{Allow: h.allow, Secret: h.secret, Concurrency: h.Concurrency, PerHook: h.PerHook, Now: n.cfg.Clock})
}

// callHook makes a shard's call.
func (n *Node) callHook(c *shard.HookCall, done func(status int, why string, retryAfter time.Duration, final bool)) bool {
	call := &hook.Call{Tenant: c.Tenant, Hook: c.Hook, URL: c.URL, Secret: c.Secret, ID: c.ID, Body: c.Body, Timeout: c.Timeout}
	return n.hooks.Send(call, func(r hook.Result) {
		why := ""
		if r.Err != nil {
			why = r.Err.Error()
		}
		done(r.Status, why, r.RetryAfter, r.Final)
	})
}
