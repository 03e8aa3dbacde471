package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"switchboard/broker/routes"
)

const configPath = "/v1/admin/config/{tenant}"

func newQueues() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "queues",
		Short: "Read, check and change how a tenant routes, while its node runs",
		Long: `How a tenant routes is one document: shops, teams, queues and their steps, in YAML or JSON (docs/routing.md).
Get it, change it, look at what would change, apply it. Nobody who waits loses his place.`,
		Example: `  switchboard queues get > routes.yaml
  switchboard queues diff -f routes.yaml
  switchboard queues apply -f routes.yaml --dry-run
  switchboard queues apply -f routes.yaml`,
		Args: exactly(0, "a subcommand"), RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newQueuesApply(), newQueuesGet(), newQueuesDiff(), newQueuesValidate(), newQueuesSchema(), newQueuesVersions())
	return cmd
}

// routesFile is a document in a file, and in which form is told what comes of it.
type routesFile struct {
	name   string
	asJSON bool
}

func (f *routesFile) flag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.name, "file", "f", "", "the document; - is standard input")
	_ = cmd.MarkFlagFilename("file", "yaml", "yml", "json") // the flag is there
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print JSON, also of mistakes: an object with errors")
}

// print prints v as one line of JSON.
func (f *routesFile) print(cmd *cobra.Command, v any) error {
	enc := json.NewEncoder(cmd.OutOrStdout())
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// read returns the document and what it means. Mistakes are printed, a line each, and are a check that did not hold.
func (f *routesFile) read(cmd *cobra.Command) ([]byte, *routes.Routes, error) {
	if f.name == "" {
		return nil, nil, usageError{fmt.Errorf("no document: set -f")}
	}
	var text []byte
	var err error
	if f.name == "-" {
		text, err = io.ReadAll(cmd.InOrStdin())
	} else {
		text, err = os.ReadFile(f.name)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading the document: %w", err)
	}
	r, err := (*routes.Routes)(nil), routes.Whole(text)
	if err == nil {
		r, err = routes.Parse(text)
	}
	if list, ok := errors.AsType[routes.Errors](err); ok {
		var mistakes []mistake
		for _, e := range list {
			mistakes = append(mistakes, mistake{max(e.Line, 1), max(e.Column, 1), e.Path, e.What})
		}
		return nil, nil, f.tell(cmd, mistakes)
	}
	return text, r, err
}

// tell writes mistakes as compilers do, so that editors find them.
func (f *routesFile) tell(cmd *cobra.Command, list []mistake) error {
	what := "a mistake"
	if len(list) > 1 {
		what = fmt.Sprintf("%d mistakes", len(list))
	}
	if f.asJSON {
		err := f.print(cmd, struct {
			File   string    `json:"file"`
			Errors []mistake `json:"errors"`
		}{f.name, list})
		if err != nil {
			return err
		}
		list = nil
	}
	for _, m := range list {
		where := m.Path
		if where != "" {
			where += ": "
		}
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s:%d:%d: %s%s\n", f.name, m.Line, m.Column, where, m.Message); err != nil {
			return err
		}
	}
	return checkError{fmt.Errorf("%s has %s; nothing was changed", f.name, what)}
}

func newQueuesApply() *cobra.Command {
	var r remote
	var f routesFile
	var dry bool
	var follows string
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Make a document the one that counts, at once",
		Long: `Make a document the one that counts, at once and without a restart. Sessions that wait keep their place; those of a queue
that is gone go to the one that the document names under moves. With mistakes in it nothing is changed, each is told with its
line, and it exits 3.

It follows the version that there is when it begins, or the one of --follows: when somebody else was faster, it changes nothing
and exits 1.

With --json it prints {"tenant","version","changed","changes"}, as the node has answered, or, of mistakes,
{"file","errors":[{"line","column","path","message"}]}.

The first document of a tenant who has keys, and whom no node serves yet, makes him one whom all nodes serve; it takes an operator of his. He lives in the
placement main for good, unless "switchboard placements assign", or "tenants create", has said another one before.`,
		Args: exactly(0, "no arguments; the document is -f"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, _, err := f.read(cmd)
			if err != nil {
				return err
			}
			if follows == "" {
				_, follows, err = r.ask(cmd, "GET", configPath, nil)
				if no, ok := errors.AsType[*refused](err); ok && no.Slug == "no_queue" {
					follows, err = "0", nil // it is the tenant's first
				}
				if err != nil {
					return err
				}
			} else if _, err := strconv.ParseUint(follows, 10, 64); err != nil && follows != "*" {
				return usageError{fmt.Errorf("--follows is %q: it must be a version, or *", follows)}
			}
			path := configPath
			if dry {
				path += "?dry_run=1"
			}
			match := `"` + follows + `"`
			if follows == "*" {
				match = follows
			}
			answer, _, err := r.ask(cmd, "PUT", path, text, "If-Match", match)
			if no, ok := errors.AsType[*refused](err); ok {
				switch {
				case len(no.Errors) > 0:
					return f.tell(cmd, no.Errors)
				case no.Slug == "version_conflict":
					return fmt.Errorf("%s: see it with `switchboard queues diff -f %s`", no.Title, f.name)
				}
			}
			if err != nil {
				return err
			}
			if f.asJSON {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", bytes.TrimSpace(answer))
				return err
			}
			return tellApplied(cmd, answer, follows)
		},
	}
	r.flags(cmd, "a supervisor or operator, which names no shop")
	f.flag(cmd)
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would change, and change nothing")
	cmd.Flags().StringVar(&follows, "follows", "", "the version that the document follows; * is whichever there is (default the latest)")
	return cmd
}

// tellApplied prints what came of an apply.
func tellApplied(cmd *cobra.Command, answer []byte, follows string) error {
	var m struct {
		Tenant  string
		Version uint64
		DryRun  bool `json:"dry_run"`
		Changed int
		Changes []string
	}
	if err := json.Unmarshal(answer, &m); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	out := cmd.OutOrStdout()
	for _, line := range m.Changes {
		if _, err := fmt.Fprintln(out, line); err != nil {
			return err
		}
	}
	if n := m.Changed - len(m.Changes); n > 0 {
		if _, err := fmt.Fprintf(out, "… and %d more\n", n); err != nil {
			return err
		}
	}
	var err error
	switch {
	case m.DryRun:
		_, err = fmt.Fprintf(out, "%s: %s would be made to version %d\n", m.Tenant, several(m.Changed, "change"), m.Version)
	case strconv.FormatUint(m.Version, 10) == follows:
		_, err = fmt.Fprintf(out, "%s: version %d already says so\n", m.Tenant, m.Version)
	default:
		_, err = fmt.Fprintf(out, "%s: version %d counts, with %s\n", m.Tenant, m.Version, several(m.Changed, "change"))
	}
	return err
}

// several counts things for people.
func several(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

func newQueuesGet() *cobra.Command {
	var r remote
	var version uint64
	cmd := &cobra.Command{
		Use: "get", Short: "Print the document that counts, or one of its last 20 versions",
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			path := configPath
			if version != 0 {
				path += fmt.Sprintf("/versions/%d", version)
			}
			text, _, err := r.ask(cmd, "GET", path, nil)
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
	r.flags(cmd, "a supervisor or operator, which names no shop")
	cmd.Flags().Uint64Var(&version, "version", 0, "which version (default the latest)")
	return cmd
}

func newQueuesDiff() *cobra.Command {
	var r remote
	var f routesFile
	cmd := &cobra.Command{
		Use: "diff -f FILE", Short: "Print in what a document differs from the one that counts",
		Long: `Print in what a document differs from the one that counts, by names: + is new, - is gone, ~ is changed. It exits 0 when they
mean the same, and 3 when they differ. With --json it prints {"file","version","changes":[{"path","was","is"}]}.`,
		Args: exactly(0, "no arguments; the document is -f"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, is, err := f.read(cmd)
			if err != nil {
				return err
			}
			text, version, err := r.ask(cmd, "GET", configPath, nil)
			if err != nil {
				return err
			}
			was := &routes.Routes{}
			if len(text) > 0 { // a tenant who was made has none at first
				if was, err = routes.Parse(text); err != nil {
					return fmt.Errorf("this program does not understand version %s: %w", version, err)
				}
			}
			changes := routes.Diff(&was.Document, &is.Document)
			if err := f.tellChanges(cmd, version, changes); err != nil {
				return err
			}
			if len(changes) > 0 {
				return checkError{fmt.Errorf("%s differs from version %s in %s", f.name, version, several(len(changes), "place"))}
			}
			return nil
		},
	}
	r.flags(cmd, "a supervisor or operator, which names no shop")
	f.flag(cmd)
	return cmd
}

// tellChanges prints in what a document differs from version.
func (f *routesFile) tellChanges(cmd *cobra.Command, version string, changes []routes.Change) error {
	if !f.asJSON {
		for _, c := range changes {
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), c); err != nil {
				return err
			}
		}
		return nil
	}
	type change struct {
		Path string          `json:"path"`
		Was  json.RawMessage `json:"was,omitempty"`
		Is   json.RawMessage `json:"is,omitempty"`
	}
	list := make([]change, len(changes))
	for i, c := range changes {
		list[i] = change{c.Path, json.RawMessage(c.Was), json.RawMessage(c.Is)}
	}
	n, err := strconv.ParseUint(version, 10, 64)
	if err != nil {
		return fmt.Errorf("reading the version %q: %w", version, err)
	}
	return f.print(cmd, struct {
		File    string   `json:"file"`
		Version uint64   `json:"version"`
		Changes []change `json:"changes"`
	}{f.name, n, list})
}

func newQueuesValidate() *cobra.Command {
	var f routesFile
	cmd := &cobra.Command{
		Use: "validate -f FILE", Short: "Check a document, without a node",
		Long: `Check a document, without a node. It exits 3 when it has mistakes, which are told with their lines. What a node also checks is
that every queue that goes has a successor. With --json it prints {"file","queues","teams","shops","errors"}, or {"file","errors":[{"line",
"column","path","message"}]}.`,
		Args: exactly(0, "no arguments; the document is -f"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, r, err := f.read(cmd)
			if err != nil {
				return err
			}
			d := &r.Document
			if f.asJSON {
				return f.print(cmd, struct {
					File   string    `json:"file"`
					Queues int       `json:"queues"`
					Teams  int       `json:"teams"`
					Shops  int       `json:"shops"`
					Errors []mistake `json:"errors"`
				}{f.name, len(d.Queues), len(d.Teams), len(d.Shops), []mistake{}})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, %s, %s\n", f.name, several(len(d.Queues), "queue"), several(len(d.Teams), "team"), several(len(d.Shops), "shop"))
			return err
		},
	}
	f.flag(cmd)
	return cmd
}

func newQueuesSchema() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of documents, for editors",
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(routes.Schema())
			return err
		},
	}
}

func newQueuesVersions() *cobra.Command {
	var r remote
	var asJSON bool
	cmd := &cobra.Command{
		Use: "versions", Short: "List the versions of the document that are kept: when they were applied, and by whom",
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			answer, _, err := r.ask(cmd, "GET", configPath+"/versions", nil)
			if err != nil {
				return err
			}
			if asJSON {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", answer)
				return err
			}
			var list struct {
				Versions []struct {
					Version  uint64
					At       int64
					By, Role string
					Bytes    int
				}
			}
			if err := json.Unmarshal(answer, &list); err != nil {
				return fmt.Errorf("reading the answer: %w", err)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, v := range list.Versions {
				if _, err := fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%d bytes\n", v.Version, time.UnixMilli(v.At).Format(time.RFC3339), v.By, v.Role, v.Bytes); err != nil {
					return err
				}
			}
			return w.Flush()
		},
	}
	r.flags(cmd, "a supervisor or operator, which names no shop")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
