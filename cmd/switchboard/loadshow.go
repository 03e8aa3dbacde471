package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"switchboard/loadtest/scenario"
	"switchboard/loadtest/swarm"
)

// teller says how a load test goes: on a terminal in lines that it writes over, elsewhere in a line every few seconds.
type teller struct {
	// Fixed.
	out   io.Writer
	live  bool
	quiet bool

	mu sync.Mutex
	// Guarded by mu.
	lines int
	calls int
}

func newTeller(out io.Writer, quiet bool) *teller {
	t := &teller{out: out, quiet: quiet}
	if f, ok := out.(*os.File); ok {
		if st, err := f.Stat(); err == nil {
			t.live = st.Mode()&os.ModeCharDevice != 0
		}
	}
	return t
}

// every is how often a line is written where nothing can be written over.
const every = 5

func (t *teller) progress(p swarm.Progress) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.quiet {
		return
	}
	v := p.Point.Values
	line := fmt.Sprintf("%-7s %6.0f s  %6.0f sockets  due %6.0f/s  answered %6.0f/s  open %5.0f  errors %4.0f/s", p.Phase, p.At, v["sockets"], v["due"], v["answered"], v["open"], v["errors"]+v["refused"])
	if l := p.Point.Latency["answer"]; l != nil {
		line += fmt.Sprintf("  p50 %s p99 %s", scenario.Format(l[0], scenario.Time), scenario.Format(l[1], scenario.Time))
	}
	if rss, ok := v["rss"]; ok {
		line += fmt.Sprintf("  node %s", scenario.Format(rss, scenario.Bytes))
		if cpu, ok := v["cpu"]; ok {
			line += fmt.Sprintf(" %.1f cores", cpu)
		}
	}
	if p.Err != "" {
		line += fmt.Sprintf("  last error: %.120s", strings.ReplaceAll(p.Err, "\n", " "))
	}
	t.calls++
	if t.live {
		t.put(fmt.Sprintf("\r\x1b[K%s", line))
		t.lines = 1
		return
	}
	if t.calls%every == 1 {
		t.put(fmt.Sprintln(line))
	}
}

func (t *teller) say(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.quiet {
		return
	}
	if t.live && t.lines > 0 {
		t.put("\r\x1b[K")
	}
	t.put(fmt.Sprintln(strings.TrimSpace(text)))
}

// end leaves the last line standing.
func (t *teller) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live && t.lines > 0 {
		t.put("\n")
	}
	t.lines = 0
}

// put writes; a run does not end because nobody can be told how it goes.
func (t *teller) put(text string) { _, _ = io.WriteString(t.out, text) }
