package shard

import (
	"bytes"
	"errors"
	"fmt"

	"switchboard/session"
	"switchboard/shard/journal"
	"switchboard/wire"
)

// Head is what is known of a session besides its entries, as it stands in the end.
type Head struct {
	Session    wire.SessionID
	Tenant     string
	Customer   string // who opened it
	Shop       string
	Tier       string
	Channel    string // that it was opened on
	Attributes []byte // JSON, or nil
}

// ReadHeads gives fn every session of g, whether or not a shard runs on it. fn's error ends it.
func ReadHeads(g *journal.Group, fn func(Head) error) error {
	var list []Head
	var bad error
	_, away, err := readStanding(g)
	if err != nil {
		return err
	}
	err = g.Scan([]byte{rowState}, []byte{rowState + 1}, false, func(k, v []byte) bool {
		st := &session.State{}
		if bad = session.ParseState(v, st); bad != nil {
			return false
		}
		if (gone{away}).session(wire.SessionID(k[1:])) {
			return true
		}
		h := Head{Session: wire.SessionID(k[1:]), Tenant: st.Tenant, Customer: st.Customer.ID, Shop: st.Shop, Tier: st.Tier, Attributes: bytes.Clone(st.Attributes)}
		if len(st.Channels) > 0 {
			h.Channel = st.Channels[0]
		}
		list = append(list, h)
		return true
	})
	if err = errors.Join(err, bad); err != nil {
		return fmt.Errorf("reading sessions: %w", err)
	}
	for i := range list {
		if err := fn(list[i]); err != nil {
			return err
		}
	}
	return nil
}
