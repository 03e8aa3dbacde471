// Command switchboard is the broker, and the tools around it. See `switchboard --help`.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	_ "time/tzdata" // hours of service levels have zones, and not every machine knows them

	"github.com/spf13/cobra"
)

// version is set when a release is built.
var version = "0.1.0"

// The exit codes of [SW-8.4].
const (
	exitFailed = 1
	exitUsage  = 2
	exitCheck  = 3
)

// usageError is a wrong call.
type usageError struct{ error }

// checkError says that a check or gate did not hold.
type checkError struct{ error }

func main() {
	root := newRoot()
	err := root.Execute()
	if err == nil {
		return
	}
	fmt.Fprintf(os.Stderr, "switchboard: %s\n", oneLine(err))
	var usage usageError
	var check checkError
	switch {
	case errors.As(err, &usage):
		os.Exit(exitUsage)
	case errors.As(err, &check):
		os.Exit(exitCheck)
	}
	os.Exit(exitFailed)
}

// oneLine is err in one line [SW-8.4]: errors that are joined stand in lines of their own.
func oneLine(err error) string {
	return strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ")
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "switchboard",
		Short: "A realtime conversation broker: customers here, bots and humans there, nothing lost between",
		Long: `Switchboard stands between the customers of online shops and the bots and humans who answer them.
It holds the connections, keeps every conversation in a durable ordered log, decides who gets the next
one, and hands over from bot to human without losing a word.

Begin with:  switchboard demo
Every flag can also be set by the environment: --listen is SWITCHBOARD_LISTEN.`,
		SilenceUsage: true, SilenceErrors: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("there is no command %q%s: see switchboard --help", args[0], meant(cmd, args[0]))}
			}
			return nil
		},
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return fromEnv(cmd) },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	for _, part := range []struct {
		title    string
		commands []*cobra.Command
	}{
		{"Try it:", []*cobra.Command{newDemo(), newChat(), newWork()}},
		{"Run a node:", []*cobra.Command{newServe(), newToken(), newVerify(), newBackup(), newRestore()}},
		{"Look after a cluster:", []*cobra.Command{newCluster(), newNodes(), newShards(), newPlacements(), newTenants(), newKeys()}},
		{"Look after conversations:", []*cobra.Command{newQueues(), newFloor(), newExplain(), newLog(), newLevels(), newErase()}},
		{"Measure and plan:", []*cobra.Command{newBench(), newLoadtest(), newPlan()}},
	} {
		root.AddGroup(&cobra.Group{ID: part.title, Title: part.title})
		for _, c := range part.commands {
			c.GroupID = part.title
			root.AddCommand(c)
		}
	}
	root.AddCommand(newVersion())
	completions(root)
	strict(root)
	return root
}

// strict makes the commands that the library adds refuse what they do not know, as all others do [SW-8.4].
func strict(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "completion":
			cmd.Args = exactly(0, "the name of a shell: see switchboard completion --help")
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			for _, shell := range cmd.Commands() {
				shell.Args = exactly(0, "no arguments")
			}
		case "help":
			show := cmd.Run
			cmd.RunE = func(cmd *cobra.Command, args []string) error {
				if at, rest, err := root.Find(args); err != nil || len(rest) > 0 {
					return usageError{fmt.Errorf("there is no command %q%s: see switchboard --help", strings.Join(args, " "), meant(at, args[len(args)-1]))}
				}
				show(cmd, args)
				return nil
			}
		}
	}
}

// meant is a hint at a command below cmd that was mistyped, or nothing.
func meant(cmd *cobra.Command, typed string) string {
	if cmd.SuggestionsMinimumDistance == 0 {
		cmd.SuggestionsMinimumDistance = 2
	}
	if like := cmd.SuggestionsFor(typed); len(like) > 0 {
		return fmt.Sprintf("; did you mean %s?", strings.Join(like, " or "))
	}
	return ""
}

// exactly is cobra.ExactArgs with the exit code of a wrong call.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) > n {
			return usageError{fmt.Errorf("it takes %s; %q is too much", what, args[n])}
		}
		if len(args) < n {
			return usageError{fmt.Errorf("it takes %s", what)}
		}
		return nil
	}
}

func newVersion() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version, and of what the program was built", Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			b := built()
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(b)
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), b)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	return cmd
}

// program is of what the program was made.
type program struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"` // none when it was not built in a checkout
	Changed bool   `json:"changed,omitempty"`
	Go      string `json:"go"`
	System  string `json:"system"`
}

// built asks the linker.
func built() program {
	b := program{Version: version, Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Commit = s.Value
			case "vcs.modified":
				b.Changed = s.Value == "true"
			}
		}
	}
	return b
}

// String says it in a line. The version is its first word.
func (b program) String() string {
	s := b.Version
	if b.Commit != "" {
		s += " " + b.Commit[:min(12, len(b.Commit))]
		if b.Changed {
			s += ", changed"
		}
	}
	return s + " " + b.Go + " " + b.System
}
