package node

import (
	"encoding/json"
	"errors"
	"fmt"

	"switchboard/shard"
	"switchboard/shard/journal"
	"switchboard/wire"
)

// Record is one session with all that its log has: what `switchboard log --all` writes, one a line.
type Record struct {
	Session    wire.SessionID    `json:"session"`
	Tenant     string            `json:"tenant"`
	Customer   string            `json:"customer"`
	Shop       string            `json:"shop,omitempty"`
	Tier       string            `json:"tier,omitempty"`
	Channel    string            `json:"channel,omitempty"`
	Attributes json.RawMessage   `json:"attributes,omitempty"`
	Entries    []json.RawMessage `json:"entries"`
}

// ReadRecords gives fn every session of a tenant, or of all when it is empty, that has an entry at from or later and before
// until (Unix ms; 0 is no bound), from the data directory of a stopped node. fn's error ends it. When a shard has lost
// data, what is left is given to fn, and then the error says so.
func ReadRecords(data, tenant string, from, until int64, fn func(*Record) error) error {
	return WithStopped(data, func(j *journal.Journal, shards []int) error {
		return readRecords(j, shards, tenant, from, until, fn)
	})
}

func readRecords(j *journal.Journal, shards []int, tenant string, from, until int64, fn func(*Record) error) error {
	var lost error
	for _, i := range shards {
		g := j.Group(i)
		err := shard.ReadHeads(g, func(h shard.Head) error {
			if tenant != "" && h.Tenant != tenant {
				return nil
			}
			r := Record{Session: h.Session, Tenant: h.Tenant, Customer: h.Customer, Shop: h.Shop, Tier: h.Tier, Channel: h.Channel, Attributes: h.Attributes}
			within, prev := false, uint64(0)
			if err := shard.ReadLog(g, h.Session, func(e *wire.Entry) error {
				within = within || e.TS >= from && (until == 0 || e.TS < until)
				raw, err := wire.JSON.Append(nil, e.PB(prev))
				prev = e.Seq
				r.Entries = append(r.Entries, raw)
				return err
			}); err != nil {
				return err
			}
			if !within {
				return nil
			}
			return fn(&r)
		})
		if err != nil {
			return err
		}
		if s := g.State(); s.Mode != journal.OK {
			lost = errors.Join(lost, fmt.Errorf("shard %d is %s, so what was read may not be all: %s; see switchboard verify", i, s.Mode, s.Reason))
		}
	}
	return lost
}
