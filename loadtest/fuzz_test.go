package loadtest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// FuzzDialogues reads anything as a file of dialogues, in each format. What is read keeps what its fields promise, and is the same when it is
// written in the format of our own.
func FuzzDialogues(f *testing.F) {
	lines := strings.SplitAfter(shipped, "\n")
	f.Add([]byte(lines[0] + lines[1]))
	f.Add([]byte(`{"id":7,"turns":[{"from":"customer","t":1.8e9,"text":"hi"},{"from":"agent","t":1.8e9,"text":"\ud800"},{"from":"agent","text":""}]}`))
	f.Add([]byte(`{"turns":[{"from":"agent","t":-1e308,"text":"a"},{"from":"customer","t":1e308,"text":"b"}]}`))
	f.Add([]byte(`{"391":{"messages":[{"role":"usr","content":"你好"},{"role":"sys","content":"您好"}]}}`))
	f.Add([]byte(`{"messages_display":"user: hi\nassistant: None\ntool: x\nassistant: hello\nsystem: y\n"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = guess(bufio.NewReader(bytes.NewReader(b)))
		for _, parse := range []func() ([]Dialogue, error){
			func() ([]Dialogue, error) { return parseLines("f", bytes.NewReader(b), ownLine) },
			func() ([]Dialogue, error) { return parseLines("f", bytes.NewReader(b), tauLine) },
			func() ([]Dialogue, error) { return parseCrossWOZ(bytes.NewReader(b)) },
		} {
			ds, err := parse()
			if err != nil {
				continue
			}
			for i := range ds {
				kept(t, &ds[i])
			}
		}
	})
}

// kept checks d, and that it is read again from what it is in our own format.
func kept(t *testing.T, d *Dialogue) {
	t.Helper()
	type turn struct {
		From string   `json:"from"`
		T    *float64 `json:"t,omitempty"`
		Text string   `json:"text"`
	}
	var turns []turn
	last, customers := time.Duration(0), 0
	for i, x := range d.Turns {
		if x.At < last || i == 0 && x.At != 0 || x.Text == "" || len(x.Text) > maxText || !utf8.ValidString(x.Text) {
			t.Fatalf("turn %d after %v: %+v", i, last, x)
		}
		last = x.At
		w := turn{From: "agent", Text: x.Text}
		if x.Customer {
			w.From = "customer"
			customers++
		}
		if d.Timed {
			s := x.At.Seconds()
			w.T = &s
		}
		turns = append(turns, w)
	}
	if rounds := d.rounds(); customers == 0 || len(rounds) != customers {
		t.Fatalf("%d customer's turns are %d rounds", customers, len(rounds))
	}
	line, err := json.Marshal(map[string]any{"id": "again", "turns": turns})
	if err != nil {
		t.Fatal(err)
	}
	ds, err := parseLines("again", bytes.NewReader(line), ownLine)
	if err != nil || len(ds) != 1 || len(ds[0].Turns) != len(d.Turns) || d.Timed && !ds[0].Timed {
		t.Fatalf("%s reads as %+v, %v", line, ds, err)
	}
	for i, x := range ds[0].Turns {
		// Seconds are written as a float, which tells times of years to the microsecond.
		if y := d.Turns[i]; x.Text != y.Text || x.Customer != y.Customer || d.Timed && (x.At-y.At).Abs() > time.Microsecond {
			t.Fatalf("turn %d was %+v and is %+v", i, y, x)
		}
	}
}
