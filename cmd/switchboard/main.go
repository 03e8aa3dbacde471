// Command switchboard is the broker, and the tools around it. See `switchboard --help`.
package main

import (
	"errors"
	"fmt"
	"os"
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
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("there is no command %q: see switchboard --help", args[0])}
			}
			return nil
		},
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return fromEnv(cmd) },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(newServe(), newDemo(), newToken(), newKeys(), newChat(), newWork(), newLog(), newLevels(), newVerify(), newBackup(), newRestore(), newCluster(), newNodes(), newShards(), newPlacements(), newTenants(), newQueues(), newExplain(), newErase(), newFloor(), newBench(), newLoadtest(), newPlan(), newVersion())
	return root
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
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), version)
			return err
		},
	}
}
