package loadtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"syscall"
	"time"
)

// What is made up where a recording has no times, and kept within bounds where it has: the pauses between a customer's
// messages are lognormal in seconds, as measured in shops.
const (
	pauseMu, pauseSigma = 2.92, 0.737
	pauseMax            = 60 * time.Second
	readMax             = time.Second     // from opening the page to the first message
	betweenMax          = 5 * time.Second // from one dialogue of a lane to the next
)

// fit scales Concurrency to the files that the process may open.
func (r *replay) fit() error {
	const reserve = 256 // the node's journal, the program itself
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		return fmt.Errorf("reading the limit of open files: %w", err)
	}
	each := 1
	if r.SameProcess {
		each = 2
	}
	most := (int(min(lim.Cur, math.MaxInt32))-reserve)/each - r.Bots - r.Humans //nolint:gosec // bounded
	if most < 1 {
		return errors.New("the process may open too few files: raise `ulimit -n`")
	}
	if r.Concurrency > most {
		r.Progress(fmt.Sprintf("the process may open %d files: %d dialogues at a time instead of %d", lim.Cur, most, r.Concurrency))
		r.Concurrency = most
	}
	return nil
}

// plan decides everything that is left to chance, and puts the conversations into lanes. A lane plays one after the
// other, and the moments at which they begin are fixed here: what is late does not delay the schedule, it counts.
func (r *replay) plan() (lanes [][]*conversation) {
	var total time.Duration
	for i := range len(r.Dialogues) * r.Repeat {
		c := r.conversation(i)
		total += c.due[len(c.due)-1]
		r.all = append(r.all, c)
	}
	lanes = make([][]*conversation, min(r.Concurrency, len(r.all)))
	free := make([]time.Duration, len(lanes))
	mean := total / time.Duration(len(r.all))
	for i := range free {
		free[i] = mean * time.Duration(i) / time.Duration(len(lanes)) // so that they do not beat in time
	}
	for _, c := range r.all {
		lane := 0
		for i, f := range free {
			if f < free[lane] {
				lane = i
			}
		}
		c.begin = free[lane]
		for i := range c.due {
			c.due[i] += c.begin
		}
		free[lane] = c.due[len(c.due)-1] + r.compress(betweenMax)
		lanes[lane] = append(lanes[lane], c)
	}
	return lanes
}

func (r *replay) compress(d time.Duration) time.Duration {
	return time.Duration(float64(d) / r.Speed)
}

// conversation plans the i'th.
func (r *replay) conversation(i int) *conversation {
	d := &r.Dialogues[i%len(r.Dialogues)]
	rng := rand.New(rand.NewPCG(r.Seed, uint64(i))) //nolint:gosec // a load is not a secret
	c := &conversation{
		index: i, dialogue: d, rounds: d.rounds(), sub: fmt.Sprintf("replay-%s-%d", r.name, i), moveAt: -1, progress: make(chan struct{}, 1),
		disturber: &disturber{},
	}
	at, last := time.Duration(float64(readMax)*rng.Float64()), time.Duration(0)
	for n, round := range c.rounds {
		pause := round.at - last
		last = round.at
		if made := time.Duration(math.Exp(pauseMu+pauseSigma*rng.NormFloat64()) * float64(time.Second)); !d.Timed && n > 0 {
			pause = made
		}
		at += min(pause, pauseMax)
		c.due = append(c.due, r.compress(at))
		c.customerCuts = append(c.customerCuts, pick(rng, r.Disconnects))
		c.workerCuts = append(c.workerCuts, pick(rng, r.Disconnects))
		c.said = append(c.said, body(&carried{Text: round.text, Run: r.name, Dialogue: i, Turn: n}))
		var answers [][]byte
		for part, text := range round.answers {
			answers = append(answers, body(&carried{Text: text, Run: r.name, Dialogue: i, Turn: n, Part: &part}))
			c.places = append(c.places, n)
		}
		c.answers = append(c.answers, answers)
	}
	if rng.Float64() < r.HandOff {
		n := len(c.rounds)
		c.moveAt = n/4 + rng.IntN(max(n-n/4, 1)) // in the middle or later
		// A bot that has answered moves the session before the next message, if one is to come.
		c.moveAfter = c.moveAt < n-1 && rng.IntN(2) == 0
	}
	c.sent = make([]uint64, len(c.rounds))
	c.handled = make([]bool, len(c.rounds))
	return c
}

// carried is the body of every message of a replay: what is said, and what tells a worker what to answer.
type carried struct {
	Text     string `json:"text"`
	Run      string `json:"run"`
	Dialogue int    `json:"dialogue"`
	Turn     int    `json:"turn"`
	Part     *int   `json:"part,omitempty"` // of an answer: which of those to the turn
}

// body returns v as it goes over the wire. Text stays as it is, so that all of Unicode does.
func body(v *carried) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // of plain fields, it cannot fail
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
