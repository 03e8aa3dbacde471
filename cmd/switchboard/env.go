package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// instead is the annotation of a flag with those that stand for something else.
const instead = "instead"

// stoppedOrRunning says that a command reads a stopped node, by --data, or asks a running one, by these flags: what is given of one is what is meant, and
// the environment says nothing of the other.
func stoppedOrRunning(fs *pflag.FlagSet, asks ...string) {
	set := func(flag string, others ...string) {
		if err := fs.SetAnnotation(flag, instead, others); err != nil {
			panic(err) // there is no such flag
		}
	}
	set("data", asks...)
	for _, flag := range asks {
		set(flag, "data")
	}
}

// errBoth is told of a command that is [stoppedOrRunning] when it is neither, or both.
var errBoth = usageError{errors.New("set --data for a stopped node, or --addr and --token for a running one, and not both; a flag wins over SWITCHBOARD_DATA, SWITCHBOARD_ADDR and SWITCHBOARD_TOKEN")}

// fromEnv sets every flag that was not given from SWITCHBOARD_<FLAG> [SW-8.5], but for those in whose place another one was given.
func fromEnv(cmd *cobra.Command) error {
	var bad error
	given := map[string]bool{}
	cmd.Flags().Visit(func(f *pflag.Flag) { given[f.Name] = true })
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		name := "SWITCHBOARD_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		v, ok := os.LookupEnv(name)
		if f.Changed || !ok || bad != nil || f.Name == "help" || slices.ContainsFunc(f.Annotations[instead], func(other string) bool { return given[other] }) {
			return
		}
		if err := cmd.Flags().Set(f.Name, v); err != nil {
			bad = usageError{fmt.Errorf("%s is %q: %w", name, v, err)}
		}
	})
	return bad
}
