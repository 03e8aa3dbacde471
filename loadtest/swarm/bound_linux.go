package swarm

import (
	"os/exec"
	"syscall"
)

// bound lets a node end with the run that started it, even when that is killed. What is typed to end the run is not for the node: it is asked in order.
func bound(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
