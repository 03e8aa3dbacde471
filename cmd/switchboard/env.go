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

// fromEnv sets every flag that was not given from SWITCHBOARD_<FLAG> [SW-8.5], but those that one which was given stands instead of.
func fromEnv(cmd *cobra.Command) error {
	var moot []string
	cmd.Flags().Visit(func(f *pflag.Flag) { moot = append(moot, f.Annotations[insteadOf]...) })
	var bad error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		name := variable(f)
		v, ok := os.LookupEnv(name)
		if f.Changed || !ok || bad != nil || f.Name == "help" || slices.Contains(moot, f.Name) {
			return
		}
		if err := cmd.Flags().Set(f.Name, v); err != nil {
			bad = usageError{fmt.Errorf("%s is %q: %w", name, v, err)}
		}
	})
	return bad
}

// variable is the name of what stands for a flag in the environment.
func variable(f *pflag.Flag) string {
	return "SWITCHBOARD_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
}

// ownEnv is the environment without what stands for a flag of any command: what a shell says of one node is not said of others that are started
// for a test, which would join its cluster or speak with its certificate.
func ownEnv() []string {
	flags := map[string]bool{}
	note := func(f *pflag.Flag) { flags[variable(f)] = true }
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		cmd.Flags().VisitAll(note)
		cmd.PersistentFlags().VisitAll(note)
		for _, c := range cmd.Commands() {
			walk(c)
		}
	}
	walk(newRoot())
	return slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return flags[name]
	})
}

// insteadOf annotates a flag with those that it stands instead of.
const insteadOf = "switchboard_instead_of"

// instead says that a flag, when it is given, stands instead of others: what the environment says for them is of another call.
func instead(fs *pflag.FlagSet, flag string, others ...string) {
	if err := fs.SetAnnotation(flag, insteadOf, others); err != nil {
		panic(err)
	}
}

// errBoth is told of a command that reads a stopped node or asks a running one when it is neither, or both.
var errBoth = usageError{errors.New("set --data for a stopped node, or --addr and --token for a running one, and not both; a flag wins over SWITCHBOARD_DATA, SWITCHBOARD_ADDR and SWITCHBOARD_TOKEN")}
