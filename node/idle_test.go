package node_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"switchboard/node"
)

// footprint is what the process takes.
type footprint struct{ heap, stacks, resident int64 }

func measure(b *testing.B) footprint {
	b.Helper()
	for range 3 {
		debug.FreeOSMemory()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	f := footprint{heap: int64(m.HeapAlloc), stacks: int64(m.StackInuse)} //nolint:gosec // of this machine
	if statm, err := os.ReadFile("/proc/self/statm"); err == nil {
		var all, pages int64
		if _, err := fmt.Sscan(string(statm), &all, &pages); err == nil {
			f.resident = pages * int64(os.Getpagesize())
		}
	}
	return f
}

// BenchmarkIdle reports what the server pays for each of 10,000 idle WebSocket connections, for each session that such a
// connection has opened and nobody has said a word in, and for each that waits in its queue with one word. The clients
// are another process. Resident bytes are what the operating system counts, without what it keeps for the sockets itself.
//
//	go test ./node -run '^$' -bench Idle -benchtime 1x
func BenchmarkIdle(b *testing.B) {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		b.Fatal(err)
	}
	count := min(10_000, int(lim.Cur)-1_000) //nolint:gosec // a limit
	b.Logf("%s/%s, %s, %d CPUs, file limit %d, %s", runtime.GOOS, runtime.GOARCH, runtime.Version(), runtime.NumCPU(), lim.Cur, cpuModel())
	for range b.N {
		idle(b, count)
	}
}

func cpuModel() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, model, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(model)
		}
	}
	return "unknown processor"
}

func idle(b *testing.B, count int) {
	n := start(b, b.TempDir(), func(c *node.Config) { c.Shards = 16 })
	defer stop(b, n)
	cmd := exec.Command(os.Args[0]) //nolint:noctx // it ends when its standard input does
	cmd.Env = append(os.Environ(), "SWITCHBOARD_TEST_CLIENTS="+n.Addr())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	answers := bufio.NewScanner(out)
	ask := func(line string) {
		b.Helper()
		if _, err := io.WriteString(in, line+"\n"); err != nil {
			b.Fatal(err)
		}
		if !answers.Scan() || answers.Text() != "done" {
			b.Fatalf("%.20q: the clients said %q", line, answers.Text())
		}
	}
	var tokens strings.Builder
	for i := range count {
		tok, err := n.Mint(claimsOf(fmt.Sprint("c", i)), time.Hour)
		if err != nil {
			b.Fatal(err)
		}
		tokens.WriteString(" " + tok)
	}
	// What grows at the first use, and not with each, is there already.
	p := login(b, n, customerOf("first"))
	p.ask("send", obj{"session": p.open(obj{}), "body": 1})
	before := measure(b)
	report := func(what, line string, since footprint) footprint {
		b.Helper()
		ask(line)
		now := measure(b)
		per := func(was, is int64) float64 { return float64(is-was) / float64(count) }
		b.ReportMetric(per(since.heap+since.stacks, now.heap+now.stacks), "B/"+what)
		b.ReportMetric(per(since.resident, now.resident), "resident-B/"+what)
		b.Logf("%d × %s: heap %.0f B, stacks %.0f B, resident %.0f B each", count, what, per(since.heap, now.heap), per(since.stacks, now.stacks), per(since.resident, now.resident))
		return now
	}
	connected := report("connection", "connect"+tokens.String(), before)
	if n.Connections() != count+1 {
		b.Fatalf("%d connections", n.Connections())
	}
	opened := report("session", "open", connected)
	report("waiting", "send", opened)
	b.ReportMetric(0, "ns/op")
	_ = in.Close()
	if err := cmd.Wait(); err != nil {
		b.Fatal(err)
	}
	until(b, "the sockets are gone", func() bool { return n.Connections() == 1 })
}

// clients is the other process: it does with all its sockets what each line of its standard input says.
func clients(addr string) {
	var list []*socket
	var sessions []string
	fail := func(err error) {
		fmt.Println(err)
		os.Exit(1)
	}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<30)
	for in.Scan() {
		verb, tokens, _ := strings.Cut(in.Text(), " ")
		toks := strings.Fields(tokens)
		if verb == "connect" {
			list, sessions = make([]*socket, len(toks)), make([]string, len(toks))
		}
		var wg sync.WaitGroup
		const hands = 32
		for h := range hands {
			wg.Go(func() {
				for i := h; i < len(list); i += hands {
					var err error
					switch verb {
					case "connect":
						list[i], err = connect(addr, toks[i])
					case "open":
						if sessions[i] = openOn(list[i]); sessions[i] == "" {
							err = io.ErrUnexpectedEOF
						}
					case "send":
						err = sayOn(list[i], sessions[i])
					}
					if err != nil {
						fail(fmt.Errorf("%s on socket %d: %w", verb, i, err))
					}
				}
			})
		}
		wg.Wait()
		fmt.Println("done")
	}
}

// sayOn says one word, and waits for its answer.
func sayOn(s *socket, session string) error {
	_, err := s.Write(frame(fin|opText, fmt.Appendf(nil, `{"id":3,"send":{"session":%q,"body":{"text":"is anybody there?"}}}`, session)))
	for err == nil {
		var m string
		if m, err = s.message(); strings.Contains(m, `"id":3,"send"`) {
			return nil
		}
	}
	return err
}
