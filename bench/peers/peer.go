package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Peer is somebody who takes turns at the same work.
type Peer struct {
	// Name names it in the table, with the setting that matters: "jetstream always r3".
	Name string
	// Client is the library that speaks to it.
	Client string
	// Settings are those of its server that differ from its defaults.
	Settings string
	// Does and DoesNot tell what its answers promise in this workload.
	Does, DoesNot string
	// Program must be found; Install tells how to get it.
	Program, Install string
	// Version is the command that prints Program's version; a single word is an argument of Program itself.
	Version []string

	// start starts the servers of one turn.
	start func(ctx context.Context, t *Turn) error
	// join connects customers and workers to them; nil when it only echoes.
	join func(ctx context.Context, t *Turn, l *Load) (Swarm, error)
	// gather connects a speaker and watchers to them; nil when that is not its work.
	gather func(ctx context.Context, t *Turn, h *hall) (Audience, error)
	// echoes connects socket i of those that are only answered; nil when that is not its work.
	echoes func(ctx context.Context, t *Turn, i int) (*echoer, error)
}

// Swarm is a peer's customers and workers, connected.
type Swarm interface {
	// Say sends customer i's message. It is called by one goroutine at a time for one customer, and must not wait for the
	// answer of the work.
	Say(i int, body []byte) error
	// Close ends all connections and joins what they started.
	Close()
}

// peers returns the whole field, in the order of the table.
func peers() []*Peer {
	all := []*Peer{switchboardRaw(), switchboardSDK(), switchboardCluster()}
	all = append(all, natsCore(), natsWebSocket(), centrifuge(), jetStream("always", 1), jetStream("default", 1), jetStream("always", 3), jetStream("default", 3))
	all = append(all, redisStreams("always"), redisRaw("always"), redisStreams("everysec"), redisRaw("everysec"), rabbitQuorum())
	return append(all, switchboardEdge(), gwsEcho())
}

// find returns the path of a program: beside this one first (that is where `make peers` puts what go.mod pins), then
// wherever the shell would find it.
func find(program string) (string, bool) {
	if self, err := os.Executable(); err == nil {
		if path := filepath.Join(filepath.Dir(self), program); isProgram(path) {
			return path, true
		}
	}
	path, err := exec.LookPath(program)
	return path, err == nil
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir() && info.Mode()&0o111 != 0
}

// version returns the first line that the program says about itself.
func (p *Peer) version(ctx context.Context, path string) string {
	command := p.Version
	if len(command) == 1 {
		command = []string{path, command[0]}
	}
	out, err := exec.CommandContext(ctx, command[0], command[1:]...).Output()
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}
