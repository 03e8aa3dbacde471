package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"

	"switchboard/broker/routes"
	"switchboard/cluster"
	"switchboard/internal/sealed"
	"switchboard/shard"
	"switchboard/shard/journal"
	"switchboard/wire"
)

// tenantry is whom the node serves. It never changes: another one takes its place.
type tenantry struct {
	all  map[string]Tenant
	made map[string]*TenantMade // those that were made while nodes ran, also who is in the configuration by now
	rows map[string][]byte      // what made was read from

	mu sync.Mutex
	// Guarded by mu.
	told map[string]*shard.Tenant // what the last document of a tenant came to, which is dear to find out, and the same for every shard
}

// TenantSettings is what a tenant has besides his document. The fields are those of [Tenant], with the same defaults.
type TenantSettings struct {
	Placement      string   `json:"placement,omitempty"`
	DefaultQueue   string   `json:"default_queue,omitempty"`
	Origins        []string `json:"origins,omitempty"`
	ReopenWindowMS int64    `json:"reopen_window_ms,omitempty"`
	MaxAttempts    uint32   `json:"max_attempts,omitempty"`
	WrapUpMS       int64    `json:"wrapup_ms,omitempty"`
	GraceBotsMS    int64    `json:"grace_bots_ms,omitempty"`
	GraceHumansMS  int64    `json:"grace_humans_ms,omitempty"`
}

// TenantMade is what stays of the making of a tenant: a row of the cluster, or of tenants.json.
type TenantMade struct {
	At int64  `json:"at"` // Unix ms
	By string `json:"by"`
	TenantSettings
}

const (
	// tenantPrefix begins the rows of tenants that were made while nodes ran; what follows is his name.
	tenantPrefix = nodePrefix + "tenant:"
	// tenantsFile has these tenants on a node that is no member of a cluster.
	tenantsFile = "tenants.json"
	// tenantsMost bounds them: every node has what each of them routes by in memory.
	tenantsMost = 1000
	// tenantMost bounds what one begins with, in bytes: a question to a node has room for so much.
	tenantMost = 2 << 10
)

// check says what is wrong with s, or nil.
func (s *TenantSettings) check() error {
	if s.ReopenWindowMS < 0 || s.WrapUpMS < 0 || s.GraceBotsMS < 0 || s.GraceHumansMS < 0 {
		return fmt.Errorf("%w: a time is negative", cluster.ErrRefused)
	}
	b, _ := json.Marshal(s) // of plain fields, it cannot fail
	if len(b) > tenantMost {
		return fmt.Errorf("%w: the settings of a tenant have %d bytes, and may have %d: fewer origins, or put him into the configuration", cluster.ErrRefused, len(b), tenantMost)
	}
	return nil
}

// tenant returns who has s, and no document: there is no queue to wait in until he has.
func (s *TenantSettings) tenant(maxBody int) Tenant {
	t := Tenant{
		DefaultQueue: s.DefaultQueue, Placement: s.Placement, Origins: s.Origins, ReopenWindowMS: s.ReopenWindowMS, MaxAttempts: s.MaxAttempts,
		WrapUpMS: s.WrapUpMS, GraceBotsMS: s.GraceBotsMS, GraceHumansMS: s.GraceHumansMS,
	}
	t.defaults()
	t.routed = t.base(maxBody)
	return t
}

// same tells whether s and o are the same, but for where he lives, which the cluster knows.
func (s TenantSettings) same(o TenantSettings) bool {
	s.Placement, o.Placement = "", ""
	a, _ := json.Marshal(s) // of plain fields, it cannot fail
	b, _ := json.Marshal(o)
	return bytes.Equal(a, b)
}

// tenantryOf returns whom a node serves who has c and, by names, the rows of tenants that were made. Rows that make no sense are told in bad, and have no
// tenant.
func (c *Config) tenantryOf(rows map[string][]byte) (t *tenantry, bad error) {
	t = &tenantry{all: maps.Clone(c.Tenants), made: map[string]*TenantMade{}, rows: rows}
	if t.all == nil {
		t.all = map[string]Tenant{}
	}
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		m := &TenantMade{}
		err := json.Unmarshal(rows[name], m)
		if err == nil {
			err = m.check()
		}
		if err == nil && !wire.ValidID(name) {
			err = errors.New("that is no name of a tenant")
		}
		if err != nil {
			bad = errors.Join(bad, fmt.Errorf("the row of tenant %q: %w", name, err))
			continue
		}
		t.made[name] = m
		if _, ok := c.Tenants[name]; !ok { // what a file says of him counts, as it is changed there
			t.all[name] = m.tenant(c.Limits.Body)
		}
	}
	return t, bad
}

// routed returns what the shards of groups go by: of each tenant of those, or of all with nil, the latest document that the node was told, and without
// one what he begins with.
func (t *tenantry) routed(groups []shard.Rows, those map[string]bool, maxBody int) (map[string]*shard.Tenant, error) {
	all, latest := map[string]*shard.Tenant{}, map[string]shard.Document{}
	for name := range t.all {
		if those == nil || those[name] {
			all[name] = t.all[name].routed
		}
	}
	for _, g := range groups {
		if err := shard.ReadDocuments(g, func(name string, d shard.Document) error {
			if all[name] != nil && d.Version >= latest[name].Version {
				latest[name] = d // else he is configured no more, or nobody asks; or the rows are those of a shard that he was in before
			}
			return nil
		}); err != nil {
			return nil, err
		}
	}
	for name, d := range latest {
		routed, err := t.understand(name, d, maxBody)
		if err != nil {
			return nil, fmt.Errorf("version %d of the routes of tenant %s is not understood by this version of the program; start the one that it was "+
				"applied with, and apply a document that both understand: %w", d.Version, name, err)
		}
		all[name] = routed
	}
	return all, nil
}

// understand returns what a tenant goes by who has document d. Every shard that opens asks for all tenants, mostly with the document that the one before had.
func (t *tenantry) understand(name string, d shard.Document, maxBody int) (*shard.Tenant, error) {
	t.mu.Lock()
	routed := t.told[name]
	t.mu.Unlock()
	if routed != nil && reflect.DeepEqual(routed.Document, d) {
		return routed, nil
	}
	who := t.all[name]
	routed, err := who.route(d, maxBody)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.told == nil {
		t.told = map[string]*shard.Tenant{}
	}
	t.told[name] = routed
	return routed, nil
}

// tenants returns what the shards of groups go by.
func (n *Node) tenants(groups []*journal.Group) (map[string]*shard.Tenant, error) {
	return n.tenantry.Load().routed(rowsOf(groups), nil, n.cfg.Limits.Body)
}

// tenantsFor returns what a shard goes by whose group is mine: of his own tenants the latest document, and of others what the store has of them in the
// groups beside. What came there last he is told by their pools, as where copies lag.
func (n *Node) tenantsFor(mine *journal.Group, groups []*journal.Group) (map[string]*shard.Tenant, error) {
	rows := rowsOf(groups)
	for i, g := range groups {
		if g != mine {
			rows[i] = g.Stored()
		}
	}
	return n.tenantry.Load().routed(rows, nil, n.cfg.Limits.Body)
}

func rowsOf(groups []*journal.Group) []shard.Rows {
	rows := make([]shard.Rows, len(groups))
	for i, g := range groups {
		rows[i] = g
	}
	return rows
}

// newcomers returns those tenants whom a shard that is open does not serve yet: of nobody else a document is to be understood again.
func (n *Node) newcomers() map[string]bool {
	list := map[string]bool{}
	for name := range n.tenantry.Load().all {
		n.hosts.each(func(_ int, s *shard.Shard) {
			if !s.Hosts(name) {
				list[name] = true
			}
		})
	}
	return list
}

// serves tells whether the node serves a tenant.
func (n *Node) serves(tenant string) bool {
	_, ok := n.tenantry.Load().all[tenant]
	return ok
}

// origins returns the browsers' origins that may use a tenant's tokens; none is any. It is what his document says, as the shards here have it, or his
// configuration where it says nothing and where no shard of his placement is led here.
func (n *Node) origins(tenant string) []string {
	var by shard.LevelSet
	n.hosts.each(func(_ int, s *shard.Shard) {
		if x, ok := s.LevelSets()[tenant]; ok && x.Version >= by.Version {
			by = x
		}
	})
	switch {
	case by.Origins == nil:
		return n.tenantry.Load().all[tenant].Origins
	case slices.Contains(by.Origins, routes.AnyOrigin):
		return nil
	}
	return by.Origins
}

// has tells whether the node and all its shards serve a tenant.
func (n *Node) has(tenant string) bool {
	if !n.serves(tenant) || !n.hosts.x.Knows(tenant) {
		return false
	}
	all := true
	n.hosts.each(func(_ int, s *shard.Shard) { all = all && s.Hosts(tenant) })
	return all
}

// tenantsKept is tenants.json, which has a checksum of all of it besides.
type tenantsKept struct {
	Version int                        `json:"version"`
	Tenants map[string]json.RawMessage `json:"tenants"`
}

// parseTenants reads what tenantsFile has, which may be nothing.
func parseTenants(doc []byte) (map[string][]byte, error) {
	rows := map[string][]byte{}
	if len(doc) == 0 {
		return rows, nil
	}
	var k tenantsKept
	if err := json.Unmarshal(doc, &k); err != nil {
		return nil, fmt.Errorf("%w: it is damaged: put it back from a backup", err)
	}
	if _, err := sealed.Check(doc, []string{"version", "tenants"}); err != nil {
		return nil, fmt.Errorf("%w: it is damaged, or was changed by hand: put it back from a backup; after a change by hand remove %q from it", err, sealed.Field)
	}
	if k.Version != 1 {
		return nil, fmt.Errorf("it has version %d, and this program reads 1", k.Version)
	}
	for name, row := range k.Tenants {
		rows[name] = row
	}
	return rows, nil
}

// writeTenants is the opposite of parseTenants; nil without rows.
func writeTenants(rows map[string][]byte) []byte {
	if len(rows) == 0 {
		return nil
	}
	k := tenantsKept{Version: 1, Tenants: map[string]json.RawMessage{}}
	for name, row := range rows {
		if json.Valid(row) {
			k.Tenants[name] = row
		}
	}
	b, _ := json.MarshalIndent(&k, "", " ") // of what was looked at, it cannot fail
	b, _ = sealed.Seal(b)
	return append(b, '\n')
}

// readTenants reads the tenants that were made on the node of a data directory.
func readTenants(data string) (map[string][]byte, error) {
	path := filepath.Join(data, tenantsFile)
	doc, err := os.ReadFile(path) //nolint:gosec // the operator's path
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	rows, readErr := parseTenants(doc)
	if err == nil && len(doc) == 0 {
		readErr = errors.New("it is empty, which was not written: put it back from a backup")
	}
	if err := readErr; err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return rows, nil
}

// tenantRows returns the rows of tenants that the cluster has; nil while it has no rows at all.
func tenantRows(j *journal.Journal) (map[string][]byte, error) {
	g := j.Group(int(cluster.Meta))
	if g == nil {
		return nil, nil //nolint:nilnil // none are known yet
	}
	rows := map[string][]byte{}
	prefix := []byte(tenantPrefix)
	end := append(bytes.Clone(prefix[:len(prefix)-1]), prefix[len(prefix)-1]+1)
	err := g.Scan(prefix, end, false, func(k, v []byte) bool {
		rows[strings.TrimPrefix(string(k), tenantPrefix)] = bytes.Clone(v)
		return true
	})
	return rows, err
}
