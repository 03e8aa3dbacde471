package main

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"switchboard/cluster"
	"switchboard/cluster/member"
)

func (s *seat) move() *cobra.Command {
	var from, to, why string
	cmd := &cobra.Command{
		Use: "move SHARD --to NODE", Short: "Move a replica of a shard, or who leads it",
		Long: `Begin to move a replica of a shard to a node that has none of it, and print the move. It goes on by itself, whoever fails;
"shards moves" tells how far it is. Asked again it is the same move. Nodes are given by name or number. Without --from it is the leader's
replica that moves, and the leadership with it.

Without --from, and to a node that has a copy already, only the leadership goes there: it waits until that node leads. Evening out leaves
the shard there as long as nobody else comes to lead it (it does when the node is stopped, drained, lost or its disk full), or until
"shards rebalance".`,
		Example: `  switchboard shards move 3 --to n4
  switchboard shards move 3 --from n1 --to n4 --why "n1 has a slow disk"`,
		Args: exactly(1, "the number of a shard"),
		RunE: func(cmd *cobra.Command, args []string) error {
			shard, err := strconv.ParseUint(args[0], 10, 16)
			if err != nil || to == "" {
				return usageError{fmt.Errorf("it takes the number of a shard, and --to")}
			}
			return s.do(cmd, func(ctx context.Context, op *member.Operations) error {
				b, err := s.node(ctx, op, to)
				if err != nil {
					return err
				}
				if has, err := holds(ctx, op, uint16(shard), b); err != nil || has && from == "" {
					if err != nil {
						return err
					}
					return s.lead(ctx, cmd, op, uint16(shard), b, why)
				}
				a, err := s.source(ctx, op, uint16(shard), from)
				if err != nil {
					return err
				}
				j, err := op.Move(ctx, s.as, uint16(shard), a, b, why)
				if err != nil {
					return err
				}
				return s.printMove(ctx, cmd, op, j)
			})
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "node that gives its replica away (default the leader)")
	cmd.Flags().StringVar(&to, "to", "", "node that shall have it")
	cmd.Flags().StringVar(&why, "why", "", "why, for people")
	return cmd
}

// holds tells whether a node has a copy of a shard that votes, and no move has its hands on the shard.
func holds(ctx context.Context, op *member.Operations, shard uint16, node uint32) (bool, error) {
	r, err := op.Status(ctx)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(r.Shards, func(s member.ShardReport) bool {
		return s.ID == shard && s.Job == 0 && slices.ContainsFunc(s.Replicas, func(rep member.ReplicaReport) bool { return rep.Node == node && !rep.Learner })
	}), nil
}

// How often it is looked whether a node leads that shall, and how often that is asked for again: a hand-over that comes to nothing ends within that.
const (
	lookAfter    = 100 * time.Millisecond
	askLeadAfter = 2 * time.Second
)

// lead has a node lead a shard, and waits until it does.
func (s *seat) lead(ctx context.Context, cmd *cobra.Command, op *member.Operations, shard uint16, node uint32, why string) error {
	first, err := op.Lead(ctx, s.as, shard, node, why)
	if err != nil {
		return err
	}
	look := time.NewTicker(lookAfter)
	defer look.Stop()
	for asked, leads := time.Now(), first.Leads; ; {
		r, err := op.Status(ctx)
		if err != nil {
			return err
		}
		for i := range r.Shards {
			leads = leads || r.Shards[i].ID == shard && r.Shards[i].Leader == node
		}
		if leads {
			return s.print(cmd, first, func(w io.Writer) {
				if first.Leads {
					line(w, fmt.Sprintf("node %s leads shard %d already, and is left to", names(r)[node], shard))
					return
				}
				line(w, fmt.Sprintf("node %s leads shard %d, which node %s led", names(r)[node], shard, names(r)[first.From]))
			})
		}
		if time.Since(asked) >= askLeadAfter {
			asked = time.Now()
			again, err := op.Lead(ctx, s.as, shard, node, why)
			if err != nil {
				return err
			}
			leads = again.Leads
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("node %s was asked to lead shard %d, and does not yet: see switchboard shards ls", names(r)[node], shard)
		case <-look.C:
		}
	}
}

// printMove prints a move, with the names of its nodes.
func (s *seat) printMove(ctx context.Context, cmd *cobra.Command, op *member.Operations, j *cluster.Job) error {
	r, err := op.Status(ctx)
	if err != nil {
		return err
	}
	return s.print(cmd, j, func(w io.Writer) { line(w, strings.Replace(called(names(r), j.String()), "job ", "move ", 1)) })
}

// source returns the node that a move takes a replica from.
func (s *seat) source(ctx context.Context, op *member.Operations, shard uint16, from string) (uint32, error) {
	if from != "" {
		return s.node(ctx, op, from)
	}
	r, err := op.Status(ctx)
	if err != nil {
		return 0, err
	}
	for i := range r.Shards {
		if r.Shards[i].ID != shard {
			continue
		}
		for _, j := range r.Jobs {
			if j.ID == r.Shards[i].Job && j.From != 0 {
				return j.From, nil // it was asked for before, and the leader may be another by now
			}
		}
		if l := r.Shards[i].Leader; l != 0 {
			return l, nil
		}
		return 0, fmt.Errorf("%w: nobody is known to lead shard %d just now: say --from", cluster.ErrRefused, shard)
	}
	return 0, fmt.Errorf("%w: there is no shard %d: see switchboard shards ls", cluster.ErrRefused, shard)
}

func (s *seat) jobs() *cobra.Command {
	cmd := s.status("moves", "List the moves: under way, and the last that ended", printJobs)
	for action, short := range map[string]string{
		"pause":  "Stop a move before its next step",
		"resume": "Let a move go on",
		"abort":  "Take a move back, as long as the new replica does not vote yet",
	} {
		cmd.AddCommand(&cobra.Command{
			Use: action + " MOVE", Short: short, Args: exactly(1, "the number of a move"),
			RunE: func(cmd *cobra.Command, args []string) error {
				id, err := strconv.ParseUint(args[0], 10, 64)
				if err != nil {
					return usageError{fmt.Errorf("%q is not the number of a move", args[0])}
				}
				return s.do(cmd, func(ctx context.Context, op *member.Operations) error {
					j, err := op.Job(ctx, s.as, id, action)
					if err != nil {
						return err
					}
					return s.printMove(ctx, cmd, op, j)
				})
			},
		})
	}
	return cmd
}

func (s *seat) rebalance() *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use: "rebalance", Short: "Make everything even: copies, drained nodes, zones, load, leaders",
		Args: exactly(0, "no arguments, or pause, resume or abort"),
		Long: `Make everything even: copies that are missing, nodes that drain, zones, load, leaders. It goes on by itself, a few moves at a time, until
nothing is left of the plan. Printed are the moves under way and those to come, each with a reason; --dry-run prints them and begins
nothing, and is how to see how far it is.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dry {
				return s.balance(cmd, "dry")
			}
			return s.balance(cmd, "run")
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "print how far it is and what is to come, and begin nothing")
	for action, short := range map[string]string{
		"pause":  "Stop before the next step",
		"resume": "Go on",
		"abort":  "Stop for good, and take back what can be taken back",
	} {
		cmd.AddCommand(&cobra.Command{
			Use: action, Short: short, Args: exactly(0, "no arguments"),
			RunE: func(cmd *cobra.Command, _ []string) error { return s.balance(cmd, action) },
		})
	}
	return cmd
}

func (s *seat) balance(cmd *cobra.Command, action string) error {
	return s.do(cmd, func(ctx context.Context, op *member.Operations) error {
		b, err := op.Rebalance(ctx, s.as, action)
		if err != nil {
			return err
		}
		r, err := op.Status(ctx)
		if err != nil {
			return err
		}
		name := names(r)
		return s.print(cmd, b, func(w io.Writer) {
			line(w, "rebalance: "+effort(b.Effort))
			idle := true
			for _, j := range r.Jobs {
				if j.Step != cluster.Ended {
					idle = false
					line(w, fmt.Sprintf("shard %d", j.Shard), "moves: "+string(j.Step), name[j.From]+" -> "+name[j.To], called(name, j.Why))
				}
			}
			for _, p := range b.Plan {
				what := "a copy"
				if p.Lead {
					what = "leads"
				}
				line(w, fmt.Sprintf("shard %d", p.Shard), what, name[p.From]+" -> "+name[p.To], called(name, p.Why))
			}
			if len(b.Plan) == 0 && idle {
				line(w, "nothing is to be moved")
			}
		})
	})
}

func (s *seat) drain() *cobra.Command {
	var undo, wait bool
	var pace int
	cmd := &cobra.Command{
		Use: "drain NODE", Short: "Make a node give away what it holds",
		Long: `Make a node give away what it holds, so that it can be removed: first the shards that it leads, then its replicas and its vote, and when others
have all of that which they can take, its connections, --pace of them a second. It serves those that come all the same. It goes on by itself,
whoever fails. Printed is what is left; asked again it prints that anew, --wait prints it until nothing is, and another --pace counts
from then on. --undo takes it back: what was moved stays where it is.`,
		Args: exactly(1, "a node, by name or number"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id := uint32(0)
			err := s.do(cmd, func(ctx context.Context, op *member.Operations) (err error) {
				if id, err = s.node(ctx, op, args[0]); err != nil {
					return err
				}
				if undo {
					return op.Drain(ctx, s.as, id, true)
				}
				return op.DrainAt(ctx, s.as, id, pace)
			})
			switch {
			case err != nil:
				return err
			case undo:
				return s.print(cmd, map[string]any{"node": id, "draining": false}, func(w io.Writer) {
					line(w, fmt.Sprintf("node %s is drained no more; what was moved stays where it is", args[0]))
				})
			}
			return s.follow(cmd, id, wait)
		},
	}
	cmd.Flags().BoolVar(&undo, "undo", false, "take it back")
	cmd.Flags().BoolVar(&wait, "wait", false, "print what is left, whenever that has changed, until nothing is")
	cmd.Flags().IntVar(&pace, "pace", 0, "connections a second that it sends away (default what was said before, or 200 for each other node)")
	return cmd
}

// remains is what a node that drains has left.
type remains struct {
	Node        uint32 `json:"node"`
	Draining    bool   `json:"draining"`
	Known       bool   `json:"known"` // the rest is; of who has just come to lead the cluster it may not be
	Leads       int    `json:"leads"`
	Replicas    int    `json:"replicas"`
	Connections int    `json:"connections"`
}

// over tells whether there is nothing more to wait for.
func (x remains) over() bool {
	return x.Known && (!x.Draining || x.Leads+x.Replicas+x.Connections == 0)
}

// left tells what a node has left.
func left(r *member.Report, node uint32) remains {
	x := remains{Node: node, Known: !r.Stale}
	for i := range r.Nodes {
		n := &r.Nodes[i]
		if n.ID != node {
			continue
		}
		x.Draining, x.Connections = n.Phase == cluster.Draining, n.Connections
		if n.Leaving == nil {
			x.Known = x.Known && !x.Draining
		} else {
			x.Leads, x.Replicas = n.Leaving.Leads, n.Leaving.Holds
		}
	}
	return x
}

// follow prints what a node that drains has left, once, or whenever it has changed until nothing is or the drain is taken back.
func (s *seat) follow(cmd *cobra.Command, node uint32, wait bool) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var was remains
	for first := true; ; first = false {
		var r *member.Report
		err := s.do(cmd, func(ctx context.Context, op *member.Operations) (err error) {
			r, err = op.Status(ctx)
			return err
		})
		if err != nil {
			return err
		}
		now := left(r, node)
		if first || now != was {
			err := s.print(cmd, now, func(w io.Writer) {
				if !now.Known {
					line(w, fmt.Sprintf("node %s is being drained; what it has left is not known yet: whoever leads the cluster has only begun to", names(r)[node]))
					return
				}
				line(w, fmt.Sprintf("node %s is being drained; left: %s that it leads, %s, then %s", names(r)[node], cluster.Many(now.Leads, "shard"), cluster.Many(now.Replicas, "replica"), cluster.Many(now.Connections, "connection")))
				if first {
					for _, p := range crowded(r, "the last copies stay where they are") {
						line(w, p)
					}
				}
			})
			if err != nil {
				return err
			}
		}
		if was = now; !wait || now.over() {
			return nil
		}
		select {
		case <-cmd.Context().Done():
			return cmd.Context().Err()
		case <-tick.C:
		}
	}
}

// crowded tells, of each placement that has too few nodes for its copies, what comes of that as long as no node is added: without it whoever drains a node
// of three waits for good.
func crowded(r *member.Report, orElse string) (list []string) {
	stays := map[uint32]bool{}
	for i := range r.Nodes {
		stays[r.Nodes[i].ID] = r.Nodes[i].Phase != cluster.Draining && r.Nodes[i].Phase != cluster.Gone
	}
	for i := range r.Places {
		p, left := &r.Places[i], 0
		for _, n := range p.Nodes {
			if stays[n] {
				left++
			}
		}
		if left < p.Copies {
			list = append(list, fmt.Sprintf("placement %s wants %s, and has %s left for them: add a node, or %s", p.Name, cluster.Many(p.Copies, "copy"), cluster.Many(left, "node"), orElse))
		}
	}
	return list
}

// given says which shards were given up: a majority of their copies was on nodes that are removed.
func given(r *member.Report) (list []string) {
	stays := here(r)
	var lost []string
	for i := range r.Shards {
		voters, left := 0, 0
		for _, rep := range r.Shards[i].Replicas {
			if rep.Learner {
				continue
			}
			voters++
			if stays[rep.Node] {
				left++
			}
		}
		if voters > 0 && left <= voters/2 {
			lost = append(lost, strconv.Itoa(int(r.Shards[i].ID)))
		}
	}
	if len(lost) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%s, which nobody can serve any more: %s. What a backup has of them can be restored into a new cluster", cluster.Many(len(lost), "shard"), strings.Join(lost, " "))}
}

// here tells which nodes are not removed.
func here(r *member.Report) map[uint32]bool {
	nodes := map[uint32]bool{}
	for i := range r.Nodes {
		nodes[r.Nodes[i].ID] = r.Nodes[i].Phase != cluster.Gone
	}
	return nodes
}

// numbered is how reasons speak of nodes.
var numbered = regexp.MustCompile(`\bnode ([0-9]+)\b`)

// called puts names for numbers into a reason: what the cluster has noted knows numbers alone.
func called(name map[uint32]string, why string) string {
	return numbered.ReplaceAllStringFunc(why, func(s string) string {
		if n, err := strconv.ParseUint(strings.TrimPrefix(s, "node "), 10, 32); err == nil && name[uint32(n)] != "" {
			return "node " + name[uint32(n)]
		}
		return s
	})
}

func (s *seat) remove() *cobra.Command {
	var lost, giveUp bool
	cmd := &cobra.Command{
		Use: "remove NODE", Short: "Take a node out for good",
		Long: `Take a node out for good; its number is not given again. A node that holds replicas is drained first. --disk-lost says that its disk
is gone, and nobody will start it again: others stand in for its replicas. That is refused while the node answers, and
when a majority of some shard's copies would be gone with it: such shards are served again when the node is back, and never without it.
--give-up says that they are lost.`,
		Args: exactly(1, "a node, by name or number"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.do(cmd, func(ctx context.Context, op *member.Operations) error {
				n, err := s.node(ctx, op, args[0])
				if err != nil {
					return err
				}
				var short []uint16
				if lost && giveUp {
					short, err = op.GiveUp(ctx, s.as, n)
				} else {
					short, err = op.Remove(ctx, s.as, n, lost)
				}
				if err != nil {
					return err
				}
				return s.print(cmd, map[string]any{"node": n, "removed": true, "short": len(short)}, func(w io.Writer) {
					line(w, fmt.Sprintf("node %s is removed: stop its process, if it still runs: it serves nobody any more; %s had a copy there", args[0], cluster.Many(len(short), "shard")))
					if r, err := op.Status(ctx); err == nil && len(short) > 0 { // it is done, and this is advice
						for _, p := range given(r) {
							line(w, "given up: "+p)
						}
						for _, p := range crowded(r, "its shards stay without the copies that are missing") {
							line(w, p)
						}
					}
				})
			})
		},
	}
	cmd.Flags().BoolVar(&lost, "disk-lost", false, "its disk is gone for good")
	cmd.Flags().BoolVar(&giveUp, "give-up", false, "with --disk-lost: the shards that nobody can serve without it are lost, too")
	return cmd
}

func (s *seat) copies() *cobra.Command {
	var placement string
	cmd := &cobra.Command{
		Use: "copies N", Short: "Say how many copies shards shall have: 1, 3, 5 or 7",
		Args: exactly(1, "a number"),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := strconv.Atoi(args[0])
			if err != nil {
				return usageError{fmt.Errorf("%q is no number", args[0])}
			}
			return s.do(cmd, func(ctx context.Context, op *member.Operations) error {
				if err := op.Copies(ctx, s.as, placement, n); err != nil {
					return err
				}
				return s.print(cmd, map[string]any{"placement": placement, "copies": n}, func(w io.Writer) {
					line(w, fmt.Sprintf("placement %s wants %s", placement, cluster.Many(n, "copy")))
				})
			})
		},
	}
	cmd.Flags().StringVar(&placement, "placement", cluster.Main, "placement")
	return cmd
}
