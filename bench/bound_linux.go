package bench

import (
	"os/exec"
	"syscall"
)

// bound lets a node end with the bench that started it, even when that is killed.
func bound(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
