package member

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"switchboard/cluster"
	"switchboard/exchange/link"
	"switchboard/shard/journal/replica"
)

// askAgainAfter is how long a node that wants to join waits when nobody it knows has an answer.
const askAgainAfter = time.Second

// comeBackWithin is how long a node that was a member asks who is there.
const comeBackWithin = 3 * time.Second

// entry is what a node that joins is told.
type entry struct {
	Cluster string `json:"cluster"`
	Node    uint32 `json:"node"`
	Meta    uint64 `json:"meta"`
	Peers   []Peer `json:"peers"`
	// Born is what the node's starts are counted from, when it begins anew: others have met it born later than it remembers.
	Born uint64 `json:"born,omitempty"`
}

// entering is what a node says that joins or comes back.
type entering struct {
	cluster.Node
	Starts []string `json:"starts,omitempty"` // see Identity
}

// startsMost bounds how many starts a node remembers that its cluster did not hear of, and in which its journal was not opened.
const startsMost = 1024

// Enter says who this node is: as its directory has it when it was a member before, otherwise by founding a cluster or, with
// Config.Join, by asking members until one answers or ctx ends. It counts the start. cluster.ErrRefused says that asking again
// will not help; a crash in the middle is asked for again under the same birth, and is the same node.
func Enter(ctx context.Context, cfg Config) (*Identity, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	id, err := readIdentity(cfg.Dir)
	if err != nil {
		return nil, err
	}
	switch {
	case id.Birth != "" && id.Name != cfg.Name:
		return nil, fmt.Errorf("%w: %s is the directory of node %s, and the configuration says %s: a node keeps its name", cluster.ErrRefused, cfg.Dir, id.Name, cfg.Name)
	case id.Birth == "":
		id.Name, id.Birth = cfg.Name, draw()
	}
	id.begin()
	if id.Cluster == "" && len(cfg.Join) == 0 {
		if !cfg.Roles.Shard {
			return nil, fmt.Errorf("%w: a node without the role shard cannot found a cluster, as it could hold nothing: give it the role, or an address to join", cluster.ErrRefused)
		}
		id.Cluster, id.Node, id.Founder = "c-"+draw(), 1, true
		id.Meta = replica.ID(1, 1)
	}
	if err := id.save(); err != nil {
		return nil, err
	}
	if id.Cluster != "" {
		return id, id.comeBack(ctx, &cfg)
	}
	got, err := ask(ctx, &cfg, cfg.Join, opJoin, entering{cfg.self(id.Birth), id.Starts})
	if err != nil {
		return nil, err
	}
	id.heard()
	id.Cluster, id.Node, id.Meta, id.Peers = got.Cluster, got.Node, got.Meta, got.Peers
	return id, id.save()
}

// heard notes that the cluster knows of this start.
func (id *Identity) heard() { id.Starts = id.Starts[len(id.Starts)-1:] }

// comeBack asks who is there by now, of those whom this node knew or who are configured, as all whom it knew may have been replaced. When
// its directory is an old copy it asks to begin anew. When nobody answers soon the whole cluster is being started, and it goes on with what it
// knows.
func (id *Identity) comeBack(ctx context.Context, cfg *Config) error {
	at := id.addresses(cfg)
	if len(at) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, comeBackWithin)
	defer cancel()
	self := cfg.self(id.Birth)
	self.ID = id.Node
	got, err := ask(ctx, cfg, at, opJoin, entering{self, id.Starts})
	switch {
	case errors.Is(err, cluster.ErrOldCopy):
		return id.oldCopy(cfg, err)
	case errors.Is(err, cluster.ErrRefused):
		return err
	case err != nil:
		cfg.Log.Warn("coming back: nobody says who is there", "error", err)
		return nil
	case got.Cluster != id.Cluster:
		return fmt.Errorf("%w: %v are of cluster %s, and this node is of cluster %s", cluster.ErrRefused, at, got.Cluster, id.Cluster)
	}
	id.heard()
	id.know(got.Peers)
	return id.save()
}

// ask asks members, at one of these addresses, to be let in, as op says.
func ask(ctx context.Context, cfg *Config, at []string, op string, self any) (*entry, error) {
	body, err := json.Marshal(self)
	if err != nil {
		return nil, err
	}
	asked, err := json.Marshal(question{Op: op, Body: body})
	if err != nil {
		return nil, err
	}
	var last error
	for {
		for _, addr := range at {
			_, b, err := link.Ask(ctx, addr, cfg.link(), asked)
			var a answer
			if err == nil {
				err = json.Unmarshal(b, &a)
			}
			if err == nil {
				err = a.err()
			}
			if errors.Is(err, cluster.ErrRefused) {
				return nil, fmt.Errorf("joining at %s: %w", addr, err)
			}
			var got entry
			if err == nil {
				err = json.Unmarshal(a.Body, &got)
			}
			if err == nil && (got.Cluster == "" || got.Node == 0 || replica.NodeOf(got.Meta) != got.Node) {
				err = fmt.Errorf("%s lets this node in as nobody: %s", addr, b)
			}
			if err == nil {
				return &got, nil
			}
			if ctx.Err() == nil {
				last = err
				cfg.Log.Warn("joining", "at", addr, "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("joining: %w", errors.Join(context.Cause(ctx), last))
		case <-time.After(askAgainAfter):
		}
	}
}
