package sim_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"switchboard/client"
	"switchboard/edge/token"
	"switchboard/wire"
)

// secret is in every word of those who are erased, and in nobody else's.
const secret = "Canary4b8e17Xw"

// TestErase erases customers, of whom some have become one, while machines lose their power, alone and two at once, shards move and are split: every erasure
// comes to its end, nobody can read anything of them then, no byte of any disk has anything, and others have lost nothing [I14].
func TestErase(t *testing.T) {
	for _, seed := range seeds(t) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("again: SWITCHBOARD_SIM_FROM=%d SWITCHBOARD_SIM_SEEDS=1 go test ./internal/sim -run TestErase -count=1 -v", seed)
				}
			}()
			synctest.Test(t, func(t *testing.T) { runErase(t, seed) })
		})
	}
}

func runErase(t *testing.T, seed uint64) {
	p := &play{world: newWorld(t, seed, 4, 2*time.Millisecond), l: newLedger(), company: &company{}}
	p.ctx, p.home = context.WithCancel(t.Context())
	p.settle(time.Minute)
	sessions := map[string]string{} // by customer
	for i := range 7 {
		name := fmt.Sprint("v", i)
		word := secret
		if i == 6 {
			word = "kept"
		}
		sessions[name] = p.confide(name, fmt.Sprint("s", i), word, i < 3)
	}
	if sessions["alice"] = p.confide("alice", "s0", secret, false); t.Failed() {
		return
	}
	for _, m := range p.hosts[:copies-1] { // one of four nodes may have no copy of what they said
		if on(t, m, secret) == 0 {
			t.Errorf("the disk of %s has nothing to be erased", m.name)
		}
	}
	doomed := []string{"v0", "v4", "v5"} // the first of whom is alice
	p.crew.Go(func() {
		for _, name := range doomed {
			time.Sleep(time.Duration(seed%5) * 300 * time.Millisecond)
			if !p.untilCustomer(http.MethodDelete, name, "", func(map[string]any) bool { return true }) {
				t.Errorf("nobody takes the erasure of %s", name)
			}
		}
	})
	p.crew.Go(func() {
		p.split(p.ctx, uint16(seed%shards)) //nolint:gosec // small
	})
	for n := range 10 {
		time.Sleep(time.Duration(p.rng.IntN(500)) * time.Millisecond)
		up := p.up()
		m := up[p.rng.IntN(len(up))]
		wait := time.Duration(p.rng.IntN(900)) * time.Millisecond
		switch n % 5 {
		case 2:
			p.two(m, wait)
		case 4:
			p.move(m, wait)
		default:
			p.restart(m, true, wait)
		}
	}
	p.crew.Wait()
	p.parts++
	p.settle(3 * time.Minute)
	for _, name := range []string{"alice", "v0", "v1", "v2", "v4", "v5"} {
		if !p.untilCustomer(http.MethodGet, name, "/erasure", func(m map[string]any) bool { return m["state"] == "completed" }) {
			t.Errorf("the erasure of %s comes to no end", name)
		}
	}
	kept := 0
	for name, id := range sessions {
		page := p.read(id)
		switch has := strings.Contains(page, secret); {
		case name == "v3":
			if !has {
				t.Errorf("the words of %s are gone: %s", name, page)
			}
		case name == "v6":
			kept = strings.Count(page, "kept ")
		case has:
			t.Errorf("the words of %s are there: %s", name, page)
		case !strings.Contains(page, "session.erased"):
			t.Errorf("the session of %s is not erased: %s", name, page)
		}
	}
	if kept != 4 {
		t.Errorf("%d of 4 words of somebody else are there", kept)
	}
	// v3 was not erased: once he is, no disk has anything of anybody.
	if !p.untilCustomer(http.MethodDelete, "v3", "", func(map[string]any) bool { return true }) ||
		!p.untilCustomer(http.MethodGet, "v3", "/erasure", func(m map[string]any) bool { return m["state"] == "completed" }) {
		t.Error("the erasure of v3 comes to no end")
	}
	for _, m := range p.hosts {
		if n := on(t, m, secret); n > 0 {
			t.Errorf("%d files of %s have it still", n, m.name)
		}
	}
	p.home()
	for _, m := range p.up() {
		p.off(m, false)
	}
	time.Sleep(11 * time.Second) // a goroutine of fasthttp's looks around every ten
}

// confide lets a customer say four words, and log in as alice then.
func (p *play) confide(name, shop, word string, login bool) string {
	c, err := client.Dial(p.ctx, p.config("out", token.Claims{Sub: name, Role: wire.RoleCustomer, Name: word}))
	if err != nil {
		p.t.Error(err)
		return ""
	}
	defer func() { _ = c.Close() }()
	s, err := c.Open(p.ctx, client.OpenOptions{Queue: "default", Shop: shop, Attributes: map[string]string{"about": word}})
	if err != nil {
		p.t.Error(err)
		return ""
	}
	for i := range 4 {
		if _, err := s.Send(p.ctx, "text", fmt.Sprint(word, " ", i), client.WithKey(fmt.Sprint(word, i))); err != nil {
			p.t.Error(err)
		}
	}
	if login {
		if _, _, err := c.Identify(p.ctx, p.mint(token.Claims{Sub: "alice", Role: wire.RoleCustomer})); err != nil {
			p.t.Error(err)
		}
	}
	return s.ID()
}

// web asks whichever node answers.
func (p *play) web(method, path string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(p.ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://switchboard"+path, nil)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+p.mint(token.Claims{Sub: "olga", Role: wire.RoleOperator}))
	way := &http.Transport{DialContext: p.from("office"), DisableKeepAlives: true}
	defer way.CloseIdleConnections()
	resp, err := way.RoundTrip(req)
	if err != nil {
		return 0, nil, err
	}
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, b, errors.Join(err, resp.Body.Close())
}

// untilCustomer asks about a customer until the answer is as it should be, for some minutes.
func (p *play) untilCustomer(method, name, path string, good func(map[string]any) bool) bool {
	var last string
	for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		code, b, err := p.web(method, "/v1/customers/"+name+path)
		var m map[string]any
		if err == nil && code/100 == 2 && json.Unmarshal(b, &m) == nil && good(m) {
			return true
		}
		last = fmt.Sprint(code, " ", string(b), err)
	}
	p.t.Logf("%s %s: %s", method, name, last)
	return false
}

// read reads a session as staff.
func (p *play) read(id string) string {
	for range 60 {
		if code, b, err := p.web(http.MethodGet, "/v1/sessions/"+id+"/messages?after=0&limit=100"); err == nil && code == http.StatusOK {
			return string(b)
		}
		time.Sleep(time.Second)
	}
	p.t.Errorf("session %s cannot be read", id)
	return ""
}

// on tells how many files of a machine's disk hold a word.
func on(t *testing.T, m *machine, word string) (n int) {
	t.Helper()
	var walk func(dir string)
	walk = func(dir string) {
		names, err := m.disk.List(dir)
		if err != nil {
			return
		}
		for _, name := range names {
			path := m.disk.PathJoin(dir, name)
			info, err := m.disk.Stat(path)
			if err != nil {
				continue // it was removed just now
			}
			if info.IsDir() {
				walk(path)
				continue
			}
			if b, err := contents(m.disk, path); err == nil && bytes.Contains(b, []byte(word)) {
				t.Logf("%s has it in %s", m.name, path)
				n++
			}
		}
	}
	walk("/")
	return n
}

func contents(fs vfs.FS, path string) ([]byte, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	return b, errors.Join(err, f.Close())
}
