package main

import (
	"github.com/spf13/cobra"

	"switchboard/examples"
	scenarios "switchboard/examples/loadtest"
)

// completes makes a shell offer what a command's first argument may be, beside files.
func completes(cmd *cobra.Command, words func() []string) *cobra.Command {
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return words(), cobra.ShellCompDirectiveDefault
	}
	return cmd
}

// offers makes a shell offer the words that a flag takes.
func offers(cmd *cobra.Command, flag string, words ...string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // there is no such flag: a test calls every command
	}
}

// completions are what shells offer beside commands and flags.
func completions(root *cobra.Command) {
	for _, c := range []struct {
		path  []string
		words func() []string
	}{
		{[]string{"loadtest", "run"}, scenarios.Names},
		{[]string{"loadtest", "show"}, scenarios.Names},
		{[]string{"plan", "run"}, examples.Days},
		{[]string{"plan", "staff"}, examples.Days},
		{[]string{"plan", "compare"}, examples.Days},
		{[]string{"plan", "show"}, examples.Days},
	} {
		cmd, _, err := root.Find(c.path)
		if err != nil {
			panic(err)
		}
		completes(cmd, c.words)
	}
	token, _, err := root.Find([]string{"token"})
	if err != nil {
		panic(err)
	}
	offers(token, "role", "customer", "worker", "supervisor", "operator", "service")
	offers(token, "kind", "bot", "human")
	serve, _, err := root.Find([]string{"serve"})
	if err != nil {
		panic(err)
	}
	offers(serve, "log-level", "debug", "info", "warn", "error")
}
