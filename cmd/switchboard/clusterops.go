package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"switchboard/cluster"
	"switchboard/cluster/member"
)

// seat is where an operator asks a cluster from [SW-8.7].
type seat struct {
	at, certs, as string
	data          string // of a stopped node, where that can be asked instead
	plain, json   bool
	timeout       time.Duration
}

// asks gives a command, and those below it, the flags of who asks.
func (s *seat) asks(cmd *cobra.Command) *cobra.Command {
	s.flags(cmd)
	return cmd
}

func (s *seat) flags(cmd *cobra.Command) {
	fs := cmd.PersistentFlags()
	fs.StringVar(&s.at, "at", "127.0.0.1:7570", "host:port of any node's links")
	fs.StringVar(&s.certs, "cluster-tls", "", "directory with ca.crt, and NAME.crt and NAME.key of --as; without, plain connections on loopback")
	fs.StringVar(&s.as, "as", "operator", "who asks: the name of the certificate, and what the log and the jobs say")
	fs.BoolVar(&s.plain, "cluster-plain", false, "plain connections beyond loopback")
	fs.BoolVar(&s.json, "json", false, "print the answer as JSON")
	fs.DurationVar(&s.timeout, "timeout", 20*time.Second, "how long to wait")
}

// do asks one thing.
func (s *seat) do(cmd *cobra.Command, fn func(ctx context.Context, op *member.Operations) error) error {
	cfg := member.Seat{Name: s.as, Plain: s.plain}
	if s.certs != "" {
		var err error
		if cfg.TLS, err = member.LoadTLS(s.certs, s.as); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), s.timeout)
	defer cancel()
	return unlinked(s.at, fn(ctx, member.At(s.at, cfg)))
}

// print prints v as JSON, or as text says.
func (s *seat) print(cmd *cobra.Command, v any, text func(w io.Writer)) error {
	out := cmd.OutOrStdout()
	if s.json {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	text(w)
	return w.Flush()
}

func line(w io.Writer, cells ...any) {
	for i, c := range cells {
		if i > 0 {
			_, _ = fmt.Fprint(w, "\t") // the writer keeps it, Flush tells
		}
		_, _ = fmt.Fprint(w, c)
	}
	_, _ = fmt.Fprintln(w)
}

// names are the nodes of a report by their numbers.
func names(r *member.Report) map[uint32]string {
	m := map[uint32]string{0: "-"}
	for i := range r.Nodes {
		m[r.Nodes[i].ID] = r.Nodes[i].Name
	}
	return m
}

// node finds a node by its name or number.
func (s *seat) node(ctx context.Context, op *member.Operations, arg string) (uint32, error) {
	if n, err := strconv.ParseUint(arg, 10, 32); err == nil && n > 0 {
		return uint32(n), nil
	}
	r, err := op.Status(ctx)
	if err != nil {
		return 0, err
	}
	gone := uint32(0) // who asks once more for what has been done means the last of that name
	for i := range r.Nodes {
		switch n := &r.Nodes[i]; {
		case n.Name != arg:
		case n.Phase != cluster.Gone:
			return n.ID, nil
		default:
			gone = max(gone, n.ID)
		}
	}
	if gone != 0 {
		return gone, nil
	}
	return 0, fmt.Errorf("%w: there is no node %s: see switchboard nodes", cluster.ErrRefused, arg)
}

func (s *seat) status(use, short string, text func(w io.Writer, r *member.Report)) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.do(cmd, func(ctx context.Context, op *member.Operations) error {
				r, err := op.Status(ctx)
				if err != nil {
					return err
				}
				return s.print(cmd, r, func(w io.Writer) { text(w, r) })
			})
		},
	}
}

func printStatus(w io.Writer, r *member.Report) {
	name := names(r)
	line(w, "cluster", r.Cluster)
	line(w, "leader", name[r.Leader])
	if r.Stale {
		line(w, "", "nobody leads: this is what node "+name[r.Node]+" last knew")
	}
	up, short, silent, mute, open, damaged := 0, 0, 0, 0, 0, 0
	nodes := 0
	var away, draining []string
	for i := range r.Nodes {
		if r.Nodes[i].Phase != cluster.Gone {
			nodes++
			if r.Nodes[i].Up {
				up++
			} else {
				away = append(away, r.Nodes[i].Name)
			}
			if r.Nodes[i].Phase == cluster.Draining {
				draining = append(draining, r.Nodes[i].Name)
			}
		}
	}
	copies := map[string]int{}
	for _, p := range r.Places {
		copies[p.Name] = p.Copies
	}
	stays := here(r)
	for i := range r.Shards {
		have := 0
		for _, rep := range r.Shards[i].Replicas {
			if stays[rep.Node] {
				have++
			}
		}
		if have < copies[r.Shards[i].Placement] {
			short++
		}
		if !led(r, &r.Shards[i]) {
			silent++
		}
		for _, rep := range r.Shards[i].Replicas {
			switch {
			case rep.Damaged != "":
				damaged++
			case !rep.Answers && !rep.Learner && !r.Stale:
				mute++
			}
		}
	}
	for _, j := range r.Jobs {
		if j.Step != cluster.Ended {
			open++
		}
	}
	state := fmt.Sprintf("%d, %d up", nodes, up)
	if len(away) > 0 {
		state += "; away: " + strings.Join(away, " ")
	}
	if len(draining) > 0 {
		state += "; draining: " + strings.Join(draining, " ")
	}
	line(w, "nodes", state)
	line(w, "shards", fmt.Sprintf("%d, %d without a leader, %d with fewer copies than wanted", len(r.Shards), silent, short))
	for _, lost := range given(r) {
		line(w, "given up", lost)
	}
	if mute > 0 {
		line(w, "silent", fmt.Sprintf("%d replicas, which do not answer who leads them: see shards ls", mute))
	}
	line(w, "moves", open)
	if damaged > 0 {
		line(w, "damaged", fmt.Sprintf("%d replicas, which are replaced as soon as the others are a whole majority: see shards ls", damaged))
	}
	for i := range r.Nodes {
		n := &r.Nodes[i]
		if n.Phase != cluster.Draining {
			continue
		}
		what := fmt.Sprintf("node %s, which has %s, leads %d and has %s", n.Name, cluster.Many(n.Holds, "replica"), n.Leads, cluster.Many(n.Connections, "connection"))
		if stay := nowhere(r, n.ID); stay > 0 {
			what += fmt.Sprintf("; %d of them have nowhere to go: start another node that may hold them, or take it back (nodes drain %s --undo)", stay, n.Name)
		}
		line(w, "drains", what)
	}
	line(w, "rebalance", effort(r.Effort))
}

// led tells whether a shard has a leader: one whose node is away is what was known last.
func led(r *member.Report, s *member.ShardReport) bool {
	return slices.ContainsFunc(r.Nodes, func(n member.NodeReport) bool { return n.ID == s.Leader && n.Up })
}

// nowhere returns how many replicas of a node no other node could take.
func nowhere(r *member.Report, node uint32) (stay int) {
	may := map[string][]uint32{}
	for i := range r.Places {
		may[r.Places[i].Name] = r.Places[i].Nodes
	}
	for i := range r.Shards {
		held := map[uint32]bool{}
		for _, rep := range r.Shards[i].Replicas {
			held[rep.Node] = true
		}
		if held[node] && !slices.ContainsFunc(may[r.Shards[i].Placement], func(id uint32) bool { return !held[id] }) {
			stay++
		}
	}
	return stay
}

func effort(e cluster.Effort) string {
	switch {
	case !e.Run:
		return "not running"
	case e.Paused:
		return "paused, begun by " + e.By
	}
	return "running, begun by " + e.By
}

func printNodes(w io.Writer, r *member.Report) {
	line(w, "NODE", "NAME", "ADDRESS", "STATE", "ZONE", "WEIGHT", "REPLICAS", "LEADS", "VOTES", "CONNECTIONS", "LABELS")
	for i := range r.Nodes {
		n := &r.Nodes[i]
		state := string(n.Phase)
		if n.Phase != cluster.Gone && !n.Up {
			state += ", away"
		}
		if n.Full {
			state += ", disk full"
		}
		var labels []string
		for k, v := range n.Labels {
			labels = append(labels, k+"="+v)
		}
		slices.Sort(labels)
		line(w, n.ID, n.Name, n.Addr, state, dash(n.Zone), n.Weight, n.Holds, n.Leads, yes(n.Votes), n.Connections, dash(strings.Join(labels, ",")))
	}
}

// yes returns what a table says of a thing that is so, or not.
func yes(so bool) string {
	if so {
		return "yes"
	}
	return "-"
}

func printShards(w io.Writer, r *member.Report) {
	name := names(r)
	line(w, "SHARD", "PLACEMENT", "LEADER", "TERM", "CHANGES", "BYTES", "SESSIONS", "PER SECOND", "MOVE", "REPLICAS")
	for i := range r.Shards {
		s := &r.Shards[i]
		var on []string
		for _, rep := range s.Replicas {
			t := name[rep.Node]
			switch {
			case rep.Damaged != "":
				t += " (damaged)"
			case rep.Learner && repairs(r, s.Job):
				t += " (repairing)"
			case rep.Learner:
				t += " (learns)"
			case !rep.Answers:
				t += " (silent)"
			case rep.Lag > 0:
				t += fmt.Sprintf(" (-%d)", rep.Lag)
			}
			on = append(on, t)
		}
		move := "-"
		if s.Job != 0 {
			move = strconv.FormatUint(s.Job, 10)
		}
		leader := name[s.Leader]
		if s.Leader != 0 && !led(r, s) {
			leader += " (away)"
		} else if s.Leader != 0 && s.Leader == s.Chosen {
			leader += " (chosen)"
		}
		line(w, s.ID, s.Placement, leader, s.Term, s.Changes, s.Bytes, s.Sessions, fmt.Sprintf("%.1f", s.Rate), move, strings.Join(on, " "))
	}
}

// repairs tells whether a move replaces a damaged replica on its own node.
func repairs(r *member.Report, job uint64) bool {
	for _, j := range r.Jobs {
		if j.ID == job {
			return j.Renews()
		}
	}
	return false
}

func printJobs(w io.Writer, r *member.Report) {
	name := names(r)
	line(w, "MOVE", "SHARD", "FROM", "TO", "STEP", "BY", "WHY")
	for _, j := range r.Jobs {
		line(w, j.ID, j.Shard, name[j.From], name[j.To], j.Progress(), j.By, called(name, j.Why))
	}
}
