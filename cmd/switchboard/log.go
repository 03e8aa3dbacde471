package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"switchboard/node"
	"switchboard/shard/journal"
	"switchboard/wire"
)

func newLog() *cobra.Command {
	var data, addr, tok string
	var asJSON, all bool
	var tenant, from, to string
	cmd := &cobra.Command{
		Use:   "log (SESSION (--data DIR | --addr HOST:PORT --token T) | --all --data DIR)",
		Short: "Print a session's entries, or those of all",
		Long: `Print a session's entries in order: from the data directory of a stopped node, or from a running one with
a token that may see the session.

With --all it prints every session of a stopped node: a JSON object a line, with what is known of the session (tenant, customer,
shop, tier, channel, attributes) and all its entries. switchboard plan replay reads that.`,
		Example: `  switchboard log --data ./data s_00c1k0v7x2m9q4ab --json
  switchboard log --addr 127.0.0.1:7470 --token "$TOKEN" s_00c1k0v7x2m9q4ab
  switchboard log --all --data ./data --tenant acme --from 2026-11-11 --to 2026-11-12 > day.jsonl`,
		Args: func(_ *cobra.Command, args []string) error {
			if all == (len(args) == 1) || len(args) > 1 {
				return usageError{fmt.Errorf("it takes one session id, or --all")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if all {
				if data == "" || addr != "" {
					return usageError{fmt.Errorf("--all reads the data directory of a stopped node: set --data")}
				}
				return printAll(cmd, data, tenant, from, to)
			}
			if tenant+from+to != "" {
				return usageError{fmt.Errorf("--tenant, --from and --to go with --all")}
			}
			id := wire.SessionID(args[0])
			if _, _, ok := id.Place(); !ok {
				return usageError{fmt.Errorf("%q is no session id", id)}
			}
			out := bufio.NewWriter(cmd.OutOrStdout())
			line := func(raw []byte) error { return printEntry(out, raw, asJSON) }
			var err error
			switch {
			case (data == "") == (addr == ""):
				return errBoth
			case data != "":
				prev := uint64(0)
				err = node.ReadLog(data, id, func(e *wire.Entry) error {
					raw, err := wire.JSON.Append(nil, e.PB(prev))
					if err != nil {
						return err
					}
					prev = e.Seq
					return line(raw)
				})
				if errors.Is(err, journal.ErrInUse) {
					err = fmt.Errorf("%w, or ask it: --addr and --token", err)
				}
			case strings.TrimSpace(tok) == "":
				return usageError{fmt.Errorf("no token: set --token; one of the session's customer, or of a supervisor")}
			default:
				err = fetchLog(cmd, addr, tok, id, line)
			}
			if err != nil {
				return err
			}
			return out.Flush()
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&data, "data", "", "data directory of a stopped node")
	fs.StringVar(&addr, "addr", "", "host:port of a running node, or its URL")
	fs.StringVar(&tok, "token", "", "token for a running node")
	fs.BoolVar(&asJSON, "json", false, "one JSON object a line; --all always prints that")
	fs.BoolVar(&all, "all", false, "every session of a stopped node")
	fs.StringVar(&tenant, "tenant", "", "with --all: the sessions of this tenant alone")
	fs.StringVar(&from, "from", "", "with --all: sessions with an entry then or later, as 2026-11-02T08:00 in UTC, or RFC 3339")
	fs.StringVar(&to, "to", "", "with --all: and before")
	instead(fs, "data", "addr")
	instead(fs, "addr", "data")
	instead(fs, "all", "addr")
	return cmd
}

// printAll prints every session of a data directory, one a line.
func printAll(cmd *cobra.Command, data, tenant, from, to string) error {
	first, err := moment("from", from, time.UTC)
	if err != nil {
		return err
	}
	last, err := moment("to", to, time.UTC)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(cmd.OutOrStdout())
	enc := json.NewEncoder(jsonShown{out})
	enc.SetEscapeHTML(false)
	err = node.ReadRecords(data, tenant, first, last, func(r *node.Record) error { return enc.Encode(r) })
	return errors.Join(err, out.Flush()) // what could be read is printed
}

// printEntry prints one entry, whose JSON is raw.
func printEntry(out io.Writer, raw []byte, asJSON bool) error {
	if asJSON {
		_, err := fmt.Fprintf(out, "%s\n", shownJSON(raw))
		return err
	}
	var e struct {
		Seq    uint64          `json:"seq"`
		TS     int64           `json:"ts"`
		Origin string          `json:"origin"`
		Type   string          `json:"type"`
		Body   json.RawMessage `json:"body"`
		From   struct {
			ID string `json:"id"`
		} `json:"from"`
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		return fmt.Errorf("reading an entry: %w", err)
	}
	_, err := fmt.Fprintf(out, "%5d  %-8s %-12s %-22s %s\n", e.Seq, e.Origin, e.From.ID, e.Type, shown(string(e.Body)))
	return err
}

// fetchLog reads a session page by page over HTTP.
func fetchLog(cmd *cobra.Command, addr, tok string, id wire.SessionID, line func([]byte) error) error {
	after, told := uint64(0), false
	for {
		url := fmt.Sprintf("%s/v1/sessions/%s/messages?after=%d&limit=100", baseURL(addr), id, after)
		req, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, url, nil)
		if err != nil {
			return usageError{err}
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(tok))
		page, wait, err := fetchPage(req)
		if wait > 0 { // a long log has more pages than a customer may ask for at once
			if !told {
				told = true
				if _, err := fmt.Fprintf(cmd.ErrOrStderr(), "switchboard: %s takes so many requests of a token at a time: going on from entry %d as it allows\n", addr, after+1); err != nil {
					return err
				}
			}
			select {
			case <-cmd.Context().Done():
				return cmd.Context().Err()
			case <-time.After(wait):
				continue
			}
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", id, unreachable(addr, err))
		}
		for _, raw := range page.Entries {
			var e struct{ Seq uint64 }
			if err := json.Unmarshal(raw, &e); err != nil {
				return fmt.Errorf("reading an entry: %w", err)
			}
			after = e.Seq
			if err := line(raw); err != nil {
				return err
			}
		}
		if !page.More {
			return nil
		}
	}
}

type logPage struct {
	Entries []json.RawMessage
	More    bool
}

// fetchPage returns a page, or for how long the node wants to be left alone.
func fetchPage(req *http.Request) (page logPage, wait time.Duration, err error) {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return page, 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusTooManyRequests {
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		return page, max(time.Duration(seconds)*time.Second, 100*time.Millisecond), nil
	}
	if resp.StatusCode != http.StatusOK {
		var p struct{ Title, Slug string }
		_ = json.NewDecoder(resp.Body).Decode(&p)
		return page, 0, fmt.Errorf("%d %s: %s", resp.StatusCode, p.Slug, p.Title)
	}
	err = json.NewDecoder(resp.Body).Decode(&page)
	return page, 0, err
}

func newVerify() *cobra.Command {
	var data string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "verify --data DIR", Short: "Check the data directory of a stopped node from end to end",
		Long: `Read every record of the log and every block of the data, and compare their checksums, numbers and the fence.
It exits 3 when something is not what was written. How far it is goes to standard error, what it found to standard output.`,
		Example: "  switchboard verify --data /var/lib/switchboard",
		Args:    exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if data == "" {
				return usageError{fmt.Errorf("no data directory: set --data")}
			}
			cfg, err := node.StoppedJournal(data)
			if err != nil {
				return err
			}
			return verify(cmd, cfg, asJSON)
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "data directory of a stopped node")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line, and nothing of how far it is")
	return cmd
}

// verify checks a journal and prints what it finds.
func verify(cmd *cobra.Command, cfg journal.Config, asJSON bool) error {
	var bad error
	last := time.Now()
	enc := json.NewEncoder(cmd.OutOrStdout())
	err := journal.Verify(cfg, func(f journal.Finding) {
		if f.Text == "" {
			if now := time.Now(); !asJSON && now.Sub(last) >= 2*time.Second {
				last = now
				_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "%s of %s read\n", sized(f.Done), sized(f.Total)) // for people
			}
			return
		}
		if asJSON {
			if err := enc.Encode(foundOf(f)); err != nil {
				bad = err
			}
			return
		}
		where := ""
		if f.Group >= 0 {
			where = fmt.Sprintf("shard %d: ", f.Group)
		}
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), where+f.Text); err != nil {
			bad = err
		}
	})
	if errors.Is(err, journal.ErrDamaged) {
		return checkError{err}
	}
	return errors.Join(err, bad)
}

// found is a finding as JSON tells it.
type found struct {
	Shard   *int   `json:"shard,omitempty"` // none: a file, or a store
	Damaged bool   `json:"damaged"`
	Text    string `json:"text"`
}

func foundOf(f journal.Finding) found {
	x := found{Damaged: f.Damaged, Text: f.Text}
	if f.Group >= 0 {
		x.Shard = &f.Group
	}
	return x
}
