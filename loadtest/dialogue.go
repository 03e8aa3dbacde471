package loadtest

import (
	_ "embed" // the shipped dialogues
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Dialogue is one conversation as somebody recorded or wrote it.
type Dialogue struct {
	// ID names it in reports.
	ID string
	// Timed says that the turns have times; without, the replay makes them up.
	Timed bool
	// Turns in the order in which they were said.
	Turns []Turn
}

// Turn is one message of a dialogue.
type Turn struct {
	// Customer tells who speaks: the customer, or the agent who answers.
	Customer bool
	// At is when, counted from the first turn.
	At time.Duration
	// Text is what is said: valid UTF-8 of 1 to 24,576 bytes.
	Text string
}

// maxText bounds a text so that it fits into a body of 32 KiB, the protocol's default, with what is around it.
const maxText = 24 << 10

//go:embed dialogues.jsonl
var shipped string

// ShippedDialogues returns the dialogues that come with the program: a shop's, in English, German and Chinese.
func ShippedDialogues() []Dialogue {
	ds, err := parseLines("dialogues.jsonl", strings.NewReader(shipped), ownLine)
	if err != nil {
		panic(err) // they are part of the program, and its tests read them
	}
	return ds
}

// round is one turn of the customer and what is answered to it before the next one.
type round struct {
	at      time.Duration
	text    string
	answers []string
}

// rounds returns d as the replay plays it. What an agent says before the customer's first words is said as the first
// answer to them: without a message there is nobody to answer.
func (d *Dialogue) rounds() []round {
	var rs []round
	var early []string
	for _, t := range d.Turns {
		switch {
		case t.Customer:
			rs = append(rs, round{at: t.At, text: t.Text, answers: early})
			early = nil
		case len(rs) == 0:
			early = append(early, t.Text)
		default:
			last := &rs[len(rs)-1]
			last.answers = append(last.answers, t.Text)
		}
	}
	return rs
}

// tidy checks d and brings it into the form that the fields promise. ok is false when nobody would have anything to say.
func (d *Dialogue) tidy() (ok bool, err error) {
	kept := d.Turns[:0]
	var begin, last time.Duration
	customers := 0
	for _, t := range d.Turns {
		t.Text = strings.ToValidUTF8(t.Text, "\uFFFD")
		if strings.TrimSpace(t.Text) == "" {
			continue
		}
		if len(t.Text) > maxText {
			return false, fmt.Errorf("dialogue %s: a text of %d bytes (%d characters) is longer than %d", d.ID, len(t.Text), utf8.RuneCountInString(t.Text), maxText)
		}
		if len(kept) == 0 {
			begin = t.At
		}
		t.At = max(t.At-begin, last) // recorded clocks step back at times
		last = t.At
		if t.Customer {
			customers++
		}
		kept = append(kept, t)
	}
	d.Turns = kept
	return customers > 0, nil
}
