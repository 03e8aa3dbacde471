package node

import (
	"context"
	"errors"

	"switchboard/cluster/member"
	"switchboard/shard/journal"
)

// openOwn opens the journal of a member, if it is this node's own: one that is lost, or an old copy of itself, has forgotten what it has promised.
// Then the node begins anew, with an empty journal and new replicas, which have all from their peers; when those have no whole majority
// without it, or there are none, it says so and does not start. What was there is put aside until all replicas are whole.
func openOwn(ctx context.Context, id *member.Identity, mc member.Config, jc journal.Config) (*journal.Journal, error) {
	if err := putAside(id, jc); err != nil { // a crash came between
		return nil, err
	}
	said, err := journal.Stamp(jc)
	if err != nil {
		return nil, err
	}
	stamp, why := id.Stamp(said)
	switch {
	case why == "":
	case id.Lonely(&mc):
		jc.Log.Error("nobody has what this node may have forgotten: it goes on with what is here", "why", why)
	default:
		if err := beginAnew(ctx, id, mc, jc, why); err != nil {
			return nil, err
		}
	}
	j, err := journal.Open(jc)
	if errors.Is(err, journal.ErrDamaged) && !id.Lonely(&mc) {
		if again := beginAnew(ctx, id, mc, jc, "the journal cannot be opened: "+err.Error()); again != nil {
			return nil, errors.Join(err, again)
		}
		j, err = journal.Open(jc)
	}
	if err != nil {
		return nil, err
	}
	if err = journal.SetStamp(jc, stamp); err == nil {
		err = id.Stamped(stamp)
	}
	if err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return j, nil
}

// beginAnew asks the cluster whether this node may, and puts the journal aside.
func beginAnew(ctx context.Context, id *member.Identity, mc member.Config, jc journal.Config, why string) error {
	if err := id.Renew(ctx, mc, why); err != nil {
		return err
	}
	return putAside(id, jc)
}

func putAside(id *member.Identity, jc journal.Config) error {
	return id.PutAside(func(why string) error {
		aside, err := journal.PutAside(jc)
		if err != nil {
			return err
		}
		jc.Log.Error("this node begins anew, and has all from its peers; what it had is put aside, and removed when that is done", "why", why, "aside", aside)
		return nil
	})
}

// tidy removes the journal that was put aside, a file at a time, once every replica of this node is whole.
func (p *party) tidy() {
	m := p.member.Load()
	if p.tidied || m == nil || m.Around() == nil || !m.Around().Whole {
		return
	}
	more, err := journal.DropAside(p.n.journalConfig(), 1)
	if err != nil {
		p.n.cfg.Log.Error("what a repair has put aside cannot be removed: remove it by hand", "err", err)
	}
	p.tidied = !more || err != nil
}
