//go:build unix && !linux

package swarm

import (
	"os/exec"
	"syscall"
)

// bound keeps what is typed to end the run from the node, which is asked in order. A run that is killed leaves its node behind.
func bound(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
