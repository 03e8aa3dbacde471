package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"switchboard/cluster"
	"switchboard/cluster/member"
	"switchboard/edge"
	"switchboard/wire"
)

// operating is what operators send [SW-7.5].
type operating struct {
	Shard    uint16
	From, To uint32
	Why      string
	Action   string
	Pace     int
	DiskLost bool `json:"disk_lost"`
	GiveUp   bool `json:"give_up"`
	Copies   int
	Shards   int
	Require  map[string]string
	Tenants  []string
	DryRun   bool `json:"dry_run"`
}

// operate does what an operator asks over HTTP. It is edge.Operate.
func (p *party) operate(ctx context.Context, by, path string, body []byte) (any, error) {
	m := p.member.Load()
	if m == nil {
		return nil, &wire.Error{Slug: wire.Unavailable, Message: "the node is starting"}
	}
	var q operating
	if body != nil {
		if err := json.Unmarshal(body, &q); err != nil {
			return nil, &wire.Error{Slug: wire.BadRequest, Message: "the body is no JSON object of this kind: " + err.Error()}
		}
	}
	what, arg, _ := strings.Cut(path, "/")
	v, err := q.do(ctx, m.Operations, by, what, arg, body == nil)
	switch {
	case err == nil, errors.Is(err, edge.ErrNoOperation):
		return v, err
	case errors.Is(err, cluster.ErrRefused):
		return nil, &wire.Error{Slug: wire.BadRequest, Message: strings.TrimPrefix(err.Error(), cluster.ErrRefused.Error()+": ")}
	}
	return nil, &wire.Error{Slug: wire.Unavailable, Message: err.Error()}
}

func (q *operating) do(ctx context.Context, op *member.Operations, by, what, arg string, reads bool) (any, error) {
	switch {
	case reads && what == "" && arg == "":
		return op.Status(ctx)
	case reads:
	case what == "moves" && arg == "":
		return op.Move(ctx, by, q.Shard, q.From, q.To, q.Why)
	case what == "moves":
		id, err := strconv.ParseUint(arg, 10, 64)
		if err != nil {
			return nil, edge.ErrNoOperation
		}
		return op.Job(ctx, by, id, q.Action)
	case what == "shards" && arg != "":
		id, err := strconv.ParseUint(arg, 10, 16)
		if err != nil {
			return nil, edge.ErrNoOperation
		}
		if q.Action != "lead" {
			return nil, fmt.Errorf("%w: with a shard one can say who shall lead it: lead", cluster.ErrRefused)
		}
		return op.Lead(ctx, by, uint16(id), q.To, q.Why)
	case what == "splits" && arg == "" && q.Action == "clean":
		return op.Clean(ctx, by, q.Shard)
	case what == "splits" && arg == "":
		return op.Split(ctx, by, q.Shard, q.Action, q.Why, q.DryRun)
	case what == "rebalance" && arg == "":
		return op.Rebalance(ctx, by, q.Action)
	case what == "nodes" && arg != "":
		id, err := strconv.ParseUint(arg, 10, 32)
		if err != nil {
			return nil, edge.ErrNoOperation
		}
		return q.node(ctx, op, by, uint32(id))
	case what == "placements" && arg != "":
		return q.placement(ctx, op, by, arg)
	}
	return nil, edge.ErrNoOperation
}

// placement is what is done with a placement.
func (q *operating) placement(ctx context.Context, op *member.Operations, by, name string) (any, error) {
	switch q.Action {
	case "create":
		p := &cluster.Placement{Name: name, Copies: q.Copies, Require: q.Require, Tenants: q.Tenants}
		return op.Place(ctx, by, p, q.Shards, q.DryRun)
	case "assign":
		return struct{}{}, op.Assign(ctx, by, name, q.Tenants...)
	case "require":
		return op.Require(ctx, by, name, q.Require, q.DryRun)
	case "", "copies":
		return struct{}{}, op.Copies(ctx, by, name, q.Copies)
	}
	return nil, fmt.Errorf("%w: with a placement one can create it, assign tenants to it, or say its copies or the labels that it requires", cluster.ErrRefused)
}

// node is what is done with a node.
func (q *operating) node(ctx context.Context, op *member.Operations, by string, id uint32) (any, error) {
	short := []uint16{}
	var err error
	switch q.Action {
	case "drain":
		err = op.DrainAt(ctx, by, id, q.Pace)
	case "undrain":
		err = op.Drain(ctx, by, id, true)
	case "remove":
		var list []uint16
		if q.DiskLost && q.GiveUp {
			list, err = op.GiveUp(ctx, by, id)
		} else {
			list, err = op.Remove(ctx, by, id, q.DiskLost)
		}
		short = append(short, list...)
	default:
		err = fmt.Errorf("%w: with a node one can drain, undrain or remove", cluster.ErrRefused)
	}
	return map[string]any{"short": short}, err
}
