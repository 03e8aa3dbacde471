package loadtest

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// show is a dialogue in one line.
func show(d *Dialogue) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s timed=%v", d.ID, d.Timed)
	for _, t := range d.Turns {
		who := "A"
		if t.Customer {
			who = "C"
		}
		fmt.Fprintf(&b, " | %s %v %q", who, t.At, t.Text)
	}
	return b.String()
}

func write(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func gzipped(s string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(s)) // into memory, it cannot fail
	_ = z.Close()
	return b.Bytes()
}

func zipped(t *testing.T, s string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create("val.json")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write([]byte(s)) // into memory, it cannot fail
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const crossWOZSample = `{"9":{"goal":[],"messages":[{"content":"你好，推荐一家餐馆吧。","role":"usr","dialog_act":[["General","greet","none","none"]]},
{"content":"推荐您去讲礼驴肉馆。","role":"sys","dialog_act":[]},{"content":"谢谢！","role":"usr"}],"type":"单领域"},
"10":{"messages":[{"content":"再见","role":"usr"}]}}`

func TestFormats(t *testing.T) {
	f := func(name string, content []byte, format string, want ...string) {
		t.Helper()
		ds, err := ReadDialogues(write(t, name, content), format, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(ds) != len(want) {
			t.Fatalf("%s: %d dialogues; want %d", name, len(ds), len(want))
		}
		for i := range ds {
			if got := show(&ds[i]); got != want[i] {
				t.Errorf("%s: dialogue %d is\n %s\nwant\n %s", name, i, got, want[i])
			}
		}
	}
	own := `{"id":"a","lang":"en","turns":[{"from":"customer","t":0,"text":"hi \"there\"\n👋"},{"from":"agent","t":1.5,"text":"Hello"}]}

{"turns":[{"from":"agent","text":"first"},{"from":"customer","text":"second"},{"from":"customer","text":"   "}]}
{"id":"nobody","turns":[{"from":"agent","t":1,"text":"is there anyone?"}]}
`
	f("mine.jsonl", []byte(own), "", `a timed=true | C 0s "hi \"there\"\n👋" | A 1.5s "Hello"`, `line-3 timed=false | A 0s "first" | C 0s "second"`)
	star := `{"id": 7, "domains": ["bank"], "completion": "Complete", "turns": [{"from": "customer", "t": 1589375697, "text": "Hello"}, {"from": "agent", "t": 1589375714, "text": "Your name?", "act": "ask_name"}, {"from": "customer", "t": 1589375710, "text": "Ada"}]}`
	f("star_dialogues.jsonl.gz", gzipped(star), "", `7 timed=true | C 0s "Hello" | A 17s "Your name?" | C 17s "Ada"`)
	f("x.jsonl", []byte(star), Star, `7 timed=true | C 0s "Hello" | A 17s "Your name?" | C 17s "Ada"`)
	cross := []string{`10 timed=false | C 0s "再见"`, `9 timed=false | C 0s "你好，推荐一家餐馆吧。" | A 0s "推荐您去讲礼驴肉馆。" | C 0s "谢谢！"`}
	f("val.json.zip", zipped(t, crossWOZSample), "", cross...)
	f("val.json", []byte(crossWOZSample), "", cross...)
	f("few_shot.jsonl", []byte(`{"messages_display": "user: Hi, where is it?\nIt is late.\nassistant: None\ntool: {\"user: x\": 1}\nassistant: Tomorrow: at noon.\nuser: Thanks"}`), "",
		`tau-1 timed=false | C 0s "Hi, where is it?\nIt is late." | A 0s "Tomorrow: at noon." | C 0s "Thanks"`)
}

func TestBadFiles(t *testing.T) {
	f := func(name string, content []byte, format, want string) {
		t.Helper()
		_, err := ReadDialogues(write(t, name, content), format, 0)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", name, err, want)
		}
	}
	f("a.jsonl", []byte("{}\n{"), "", "a.jsonl:2")
	f("a.jsonl", []byte(`{"turns":[{"from":"bot","text":"x"}]}`), "", `from "bot"`)
	f("a.jsonl", nil, "", "none in it")
	f("a.jsonl", []byte(`{}`), Tau, "no messages_display")
	f("a.jsonl", []byte(`{}`), "csv", `"csv"`)
	f("a.zip", []byte("PK"), "", "zip")
	f("a.zip", zipped(t, "{}"), Star, "not star")
	f("a.gz", []byte("x"), "", "a.gz")
	f("a.json", []byte(`{"1":{"messages":[{"role":"x"}]}}`), "", `from "x"`)
	f("a.jsonl", []byte(`{"turns":[{"from":"customer","text":"`+strings.Repeat("x", maxText+1)+`"}]}`), "", "longer than")
	if _, err := ReadDialogues(t.TempDir(), "", 0); err == nil {
		t.Error("an empty folder has no dialogues")
	}
}

// TestShipped keeps the shipped dialogues what they are there for: three languages, every plane of Unicode, short and long.
func TestShipped(t *testing.T) {
	ds := ShippedDialogues()
	var turns, longest int
	var all strings.Builder
	for i := range ds {
		if !ds[i].Timed {
			t.Errorf("%s has no times", ds[i].ID)
		}
		for _, turn := range ds[i].Turns {
			turns++
			longest = max(longest, len(turn.Text))
			all.WriteString(turn.Text)
		}
	}
	if len(ds) < 20 || turns < 120 || longest < 1000 {
		t.Errorf("%d dialogues, %d turns, the longest text has %d bytes", len(ds), turns, longest)
	}
	for _, want := range []string{"退款", "Königstraße", "order", "👨‍👩‍👧‍👦", "שלום", "𝄞", "\n", "\t", `"`, `\`, "<b>", "&"} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("nobody says %q", want)
		}
	}
}

func TestRounds(t *testing.T) {
	d := Dialogue{Turns: []Turn{
		{Text: "welcome"}, {Customer: true, At: time.Second, Text: "one"}, {Customer: true, At: 2 * time.Second, Text: "two"}, {Text: "a"}, {Text: "b"},
	}}
	if got, want := fmt.Sprint(d.rounds()), "[{1000000000 one [welcome]} {2000000000 two [a b]}]"; got != want {
		t.Errorf("rounds are %s; want %s", got, want)
	}
}

// TestDataSets reads the data sets themselves, where SWITCHBOARD_DATASETS names the folder that they lie in.
func TestDataSets(t *testing.T) {
	root := os.Getenv("SWITCHBOARD_DATASETS")
	if root == "" {
		t.Skip("the data sets are not part of the project: set SWITCHBOARD_DATASETS to a folder with star, crosswoz and tau_bench_retail")
	}
	f := func(folder string, dialogues int) {
		t.Helper()
		path := filepath.Join(root, folder)
		if _, err := os.Stat(path); err != nil {
			t.Logf("%s is not here, so it is not read: %v", folder, err)
			return
		}
		ds, err := ReadDialogues(path, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(ds) != dialogues {
			t.Errorf("%s: %d dialogues; want %d", folder, len(ds), dialogues)
		}
	}
	f("star", 6205)
	f("crosswoz", 500)
	f("tau_bench_retail", 69)
}
