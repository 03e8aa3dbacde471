package main

import "github.com/spf13/cobra"

func newPlan() *cobra.Command {
	cmd := &cobra.Command{
		Use: "plan", Short: "Plan ahead: how many nodes a load takes", Args: exactly(0, "a command: see switchboard plan --help"),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPlanNodes(), newPlanMeasure())
	return cmd
}
