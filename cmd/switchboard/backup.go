package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"switchboard/backup"
	"switchboard/node"
)

func newBackup() *cobra.Command {
	r := &remote{}
	var to, data string
	var full, asJSON bool
	var rate int64
	cmd := &cobra.Command{
		Use: "backup --to DIR (--token T [--addr HOST:PORT] | --data DIR)", Short: "Take a backup of a running node or cluster, or of a stopped node",
		Long: `Take a backup into a directory of backups, which is made when it is missing: all shards with their sessions, customers and documents, and
the keys of tokens. Nobody waits for it. Everything that was acknowledged before it began is in. Of a cluster any node may be asked; the token is that of an
operator whose tenant is in cluster.operators. Rows that the backup before it in the directory has are not written again; each backup is whole all the same.

There is a backup when the command exits 0, and otherwise there is none: repeat it. The directory holds message texts and keys in the clear. Configuration files
are not in it. To copy it away, copy all of it while no backup is taken, and verify the copy.`,
		Example: `  switchboard backup --to /backup/switchboard --addr 127.0.0.1:7470 --token "$TOKEN"
  switchboard backup --to /backup/switchboard --data /var/lib/switchboard      # of a stopped node
  switchboard backup verify /backup/switchboard
  switchboard restore --from /backup/switchboard --data /var/lib/switchboard-new`,
		Args: exactly(0, "no arguments: the directory goes with --to; see switchboard backup --help"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if to == "" {
				return usageError{fmt.Errorf("no directory for the backup: set --to")}
			}
			if data != "" && r.token != "" {
				return errBoth
			}
			if rate < 0 {
				return usageError{fmt.Errorf("--rate is negative")}
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			d := backup.Open(to, nil)
			t := node.Taking{Full: full, Rate: rate << 20, Final: node.FinalAnswer}
			if !asJSON {
				t.Progress = reporter(cmd.ErrOrStderr())
			}
			var m *backup.Manifest
			var err error
			if data != "" {
				m, err = node.BackupStopped(ctx, d, data, version, t)
			} else {
				var base string
				if base, err = r.base(); err == nil {
					m, err = node.TakeBackup(ctx, d, &node.Remote{URL: base, Token: r.token}, t)
				}
			}
			if err != nil {
				return fmt.Errorf("there is no backup: %w", err)
			}
			return summaryOf(m).print(cmd, asJSON, "backup")
		},
	}
	fs := cmd.Flags()
	r.flags(cmd, "an operator of a tenant in cluster.operators")
	fs.StringVar(&to, "to", "", "directory of backups")
	fs.StringVar(&data, "data", "", "data directory of a stopped node, instead of --addr and --token")
	instead(fs, "data", "addr", "token")
	instead(fs, "addr", "data")
	instead(fs, "token", "data")
	fs.BoolVar(&full, "full", false, "write everything anew, trusting nothing that is there")
	fs.Int64Var(&rate, "rate", 64, "MiB of rows to read a second at most; 0 is no bound")
	fs.BoolVar(&asJSON, "json", false, "print the backup as JSON, and no progress")
	cmd.AddCommand(newBackupList(), newBackupVerify(), newBackupPrune())
	return cmd
}

// reporter tells how far a backup is, every two seconds.
func reporter(w io.Writer) func(node.Progress) {
	last := time.Now()
	return func(p node.Progress) {
		if time.Since(last) < 2*time.Second {
			return
		}
		last = time.Now()
		_, _ = fmt.Fprintf(w, "shard %d of %d: %s in %d rows so far, %s new\n", p.Shard+1, p.Shards, sized(p.All.Bytes), p.All.Rows, sized(p.Added.Bytes)) // for people
	}
}

// sized is a number of bytes for people.
func sized(n uint64) string {
	switch {
	case n < 10_000:
		return fmt.Sprintf("%d bytes", n)
	case n < 10_000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 10_000_000_000:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}

// summary is a backup without its secrets.
type summary struct {
	ID      string        `json:"id"`
	Taken   time.Time     `json:"taken"`
	From    string        `json:"from"`
	Program string        `json:"program"`
	Shards  int           `json:"shards"`
	Total   backup.Amount `json:"total"`
	Added   backup.Amount `json:"added"`
	Stored  uint64        `json:"stored"`
	Bad     string        `json:"bad,omitempty"`
}

func summaryOf(m *backup.Manifest) *summary {
	return &summary{ID: m.ID, Taken: m.Taken, From: m.From, Program: m.Program, Shards: m.Shards, Total: m.Total(), Added: m.Added, Stored: m.Stored}
}

func (s *summary) print(cmd *cobra.Command, asJSON bool, what string) error {
	out := cmd.OutOrStdout()
	if asJSON {
		return json.NewEncoder(out).Encode(s)
	}
	_, err := fmt.Fprintf(out, "%s %s: %d shards, %d rows, %s; new are %d rows, %s, stored as %s\n",
		what, s.ID, s.Shards, s.Total.Rows, sized(s.Total.Bytes), s.Added.Rows, sized(s.Added.Bytes), sized(s.Stored))
	return err
}

// named splits DIR@ID. A directory that is there by the whole name is that one.
func named(arg string) (dir, id string) {
	i := strings.LastIndexByte(arg, '@')
	if i <= 0 {
		return arg, ""
	}
	if _, err := os.Stat(arg); err == nil {
		return arg, ""
	}
	return arg[:i], arg[i+1:]
}

func newBackupList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "ls DIR", Short: "List the backups in a directory",
		Long: "List the backups in a directory, the oldest first: when they were taken, how much they hold, and how much of that was new and is stored. It exits 3 when one\ncannot be read. Rows are not looked at: see backup verify.",
		Args: exactly(1, "a directory of backups"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := os.Stat(args[0]); err != nil { // mistyped, or not mounted: who watches the newest line is to hear of it
				return fmt.Errorf("listing the backups: %w", err)
			}
			all, broken, err := backup.Open(args[0], nil).Backups()
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
			if !asJSON {
				line(w, "BACKUP", "TAKEN", "SHARDS", "ROWS", "BYTES", "NEW", "STORED", "FROM")
			}
			for _, m := range all {
				s := summaryOf(m)
				if asJSON {
					if err := s.print(cmd, true, ""); err != nil {
						return err
					}
					continue
				}
				line(w, s.ID, s.Taken.Format("2006-01-02 15:04:05 MST"), s.Shards, s.Total.Rows, sized(s.Total.Bytes), sized(s.Added.Bytes), sized(s.Stored), s.From)
			}
			for _, b := range broken {
				if asJSON {
					if err := (&summary{ID: b.ID, Bad: b.Err.Error()}).print(cmd, true, ""); err != nil {
						return err
					}
					continue
				}
				line(w, b.ID, "cannot be read: "+b.Err.Error())
			}
			if !asJSON {
				if err := w.Flush(); err != nil {
					return err
				}
			}
			if len(broken) > 0 {
				return checkError{fmt.Errorf("%d backups in %s cannot be read", len(broken), args[0])}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return cmd
}

func newBackupVerify() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "verify DIR[@ID]", Short: "Read backups from end to end, and compare every checksum",
		Long: "Read every row of the backups in a directory, or of one, and compare the checksums of all that they are made of. It changes nothing, and exits 3 when something is\nnot what was written: then take a backup with --full.",
		Args: exactly(1, "a directory of backups, or one of them as DIR@ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, id := named(args[0])
			return (&verifier{cmd: cmd, d: backup.Open(dir, nil), asJSON: asJSON, told: time.Now()}).verify(dir, id)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line for each backup, with what is wrong as bad, and nothing of how far it is")
	return cmd
}

// verifier reads backups and tells what it finds.
type verifier struct {
	cmd    *cobra.Command
	d      *backup.Dir
	asJSON bool
	told   time.Time // when it was last said how far it is
	bad    int       // backups that are damaged
}

// verify reads all backups in dir, or the one with an id.
func (v *verifier) verify(dir, id string) error {
	all, broken, err := v.list(id)
	if err != nil {
		return err
	}
	for _, b := range broken {
		if err := v.unreadable(b.ID, b.Err); err != nil {
			return err
		}
	}
	for _, m := range all {
		if err := v.backup(m); err != nil {
			return err
		}
	}
	if v.bad > 0 {
		return checkError{fmt.Errorf("%d backups in %s are damaged", v.bad, dir)}
	}
	return nil
}

// list returns what is to be read. When one is named that is not there, or none is there at all, that is an error.
func (v *verifier) list(id string) (all []*backup.Manifest, broken []backup.Broken, err error) {
	if all, broken, err = v.d.Backups(); err != nil || id == "" && len(all)+len(broken) > 0 {
		return all, broken, err
	}
	m, err := v.d.Backup(id)
	if err != nil {
		return nil, nil, damaged(err)
	}
	return []*backup.Manifest{m}, nil, nil
}

// unreadable tells of a backup of which not even the list of its parts can be read.
func (v *verifier) unreadable(id string, why error) error {
	v.bad++
	if v.asJSON {
		return (&summary{ID: id, Bad: why.Error()}).print(v.cmd, true, "")
	}
	_, err := fmt.Fprintf(v.cmd.OutOrStdout(), "%s: %v\n", id, why)
	return err
}

// backup reads one from end to end, and tells how it is. An error is that it could not be read or told, not that it is damaged.
func (v *verifier) backup(m *backup.Manifest) error {
	why := v.d.Verify(m, func(shard int, err error) { v.progress(m, shard, err) })
	if why != nil && !errors.Is(why, backup.ErrDamaged) {
		return why
	}
	if why != nil {
		v.bad++
	}
	switch {
	case v.asJSON:
		s := summaryOf(m)
		if why != nil {
			s.Bad = why.Error()
		}
		return s.print(v.cmd, true, "")
	case why != nil: // its shards were told
		return nil
	}
	_, err := fmt.Fprintf(v.cmd.OutOrStdout(), "%s: whole, %d shards, %d rows, %s\n", m.ID, m.Shards, m.Total().Rows, sized(m.Total().Bytes))
	return err
}

// progress tells people of a shard that is damaged, and every two seconds how far it is.
func (v *verifier) progress(m *backup.Manifest, shard int, err error) {
	switch now := time.Now(); {
	case v.asJSON:
	case err != nil:
		_, _ = fmt.Fprintf(v.cmd.OutOrStdout(), "%s: shard %d: %v\n", m.ID, shard, err) // it is told at the end, too
	case now.Sub(v.told) > 2*time.Second:
		v.told = now
		_, _ = fmt.Fprintf(v.cmd.ErrOrStderr(), "%s: shard %d of %d\n", m.ID, shard+1, m.Shards) // for people
	}
}

// damaged makes damage a check that did not hold.
func damaged(err error) error {
	if errors.Is(err, backup.ErrDamaged) {
		return checkError{err}
	}
	return err
}

func newBackupPrune() *cobra.Command {
	keep := 0
	var asJSON bool
	cmd := &cobra.Command{
		Use: "prune DIR --keep N", Short: "Remove all but the latest backups",
		Long: "Remove all but the N latest backups of a directory, and the files that none of these needs. A file that holds a little of a backup that stays is kept as a whole;\na backup with --full lets all before it be removed entirely.",
		Args: exactly(1, "a directory of backups"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if keep < 1 {
				return usageError{fmt.Errorf("set --keep to the number of backups that stay, at least 1")}
			}
			gone, freed, err := backup.Open(args[0], nil).Prune(keep)
			if err != nil {
				return damaged(err)
			}
			if asJSON {
				removed := []string{}
				for _, m := range gone {
					removed = append(removed, m.ID)
				}
				return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{"removed": removed, "freed": freed})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d backups removed, %s freed\n", len(gone), sized(freed))
			return err
		},
	}
	cmd.Flags().IntVar(&keep, "keep", 0, "how many stay")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what was removed as JSON")
	return cmd
}

func newRestore() *cobra.Command {
	var from, data string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "restore --from DIR[@ID] --data NEW", Short: "Make a data directory of a backup",
		Long: `Make a data directory of a backup, the latest one without ID. The directory must be missing or empty. What comes of it is a node that is alone; start it with your
configuration file, with cluster.listen to make a cluster of it, which other nodes with empty directories then join. Never start it beside what is left of the old
cluster: both would serve the same customers.

Every session goes on in a new epoch. A client that has more than the backup is told so (truncated), one that has not goes on where it was. Conversations that had
a worker are queued again, at their old place. Tokens stay good.

Every checksum is compared. When the command does not exit 0 the directory is of no use, and says so to whoever starts a node there: repeat it.`,
		Example: `  switchboard backup ls /backup/switchboard
  switchboard restore --from /backup/switchboard@20261121T031500Z --data /var/lib/switchboard-new
  switchboard serve --data /var/lib/switchboard-new --config /etc/switchboard.yaml`,
		Args: exactly(0, "no arguments: see switchboard restore --help"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" || data == "" {
				return usageError{fmt.Errorf("set --from to a directory of backups, and --data to the new data directory")}
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return restore(ctx, cmd, from, data, asJSON)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&from, "from", "", "directory of backups, or one of them as DIR@ID")
	fs.StringVar(&data, "data", "", "the new data directory, missing or empty")
	fs.BoolVar(&asJSON, "json", false, "print what was done as JSON, and no progress")
	return cmd
}

func restore(ctx context.Context, cmd *cobra.Command, from, data string, asJSON bool) error {
	dir, id := named(from)
	d := backup.Open(dir, nil)
	m, err := d.Backup(id)
	if err != nil {
		return damaged(err)
	}
	last := time.Now()
	r, err := node.Restore(ctx, d, m, data, last, func(shard int) {
		if !asJSON && time.Since(last) > 2*time.Second {
			last = time.Now()
			_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "shard %d of %d\n", shard+1, m.Shards) // for people
		}
	})
	if err != nil {
		return damaged(err)
	}
	out := cmd.OutOrStdout()
	if asJSON {
		return json.NewEncoder(out).Encode(r)
	}
	if r.Erased > 0 {
		if _, err := fmt.Fprintf(out, "%d customers who were erased since are erased in it\n", r.Erased); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(out, "%s holds backup %s of %s: %d shards, %d rows, %s; positions are of epoch %d from now on\nstart it: switchboard serve --data %s, with your --config\n",
		data, r.Backup, r.Taken.Format(time.RFC3339), r.Shards, r.Rows, sized(r.Bytes), r.Epoch, data)
	return err
}
