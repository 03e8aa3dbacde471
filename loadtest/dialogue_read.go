package loadtest

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Formats of dialogue files; doc.go describes Own.
const (
	Own      = "own"
	Star     = "star"
	CrossWOZ = "crosswoz"
	Tau      = "tau"
)

// known are the files that a folder of each data set has.
var known = []struct{ format, file string }{
	{Star, "star_dialogues.jsonl.gz"}, {CrossWOZ, "val.json.zip"}, {Tau, "few_shot.jsonl"}, {Own, "dialogues.jsonl"},
}

// maxFile bounds what is read from one file, unpacked, so that a bomb in an archive does not fill the memory.
const maxFile = 512 << 20

// ReadDialogues reads the dialogues of a file, or of a folder that holds a known one. An empty format is guessed: from
// the file's name, or from its first line. At most limit of them are returned; 0 means all.
func ReadDialogues(path, format string, limit int) ([]Dialogue, error) {
	path, format, err := find(path, format)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading dialogues: %w", err)
	}
	ds, err := read(f, filepath.Base(path), format)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("reading dialogues: %s: %w", path, err)
	}
	if len(ds) == 0 {
		return nil, fmt.Errorf("reading dialogues: %s: there are none in it", path)
	}
	if limit > 0 && len(ds) > limit {
		ds = ds[:limit]
	}
	return ds, nil
}

// find returns the file that path means.
func find(path, format string) (file, form string, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", "", fmt.Errorf("reading dialogues: %w", err)
	}
	if !info.IsDir() {
		return path, format, nil
	}
	for _, k := range known {
		if p := filepath.Join(path, k.file); format == "" || format == k.format {
			if _, err := os.Stat(p); err == nil {
				return p, k.format, nil
			}
		}
	}
	return "", "", fmt.Errorf("reading dialogues: %s holds no dialogue file: name one", path)
}

func read(f *os.File, name, format string) ([]Dialogue, error) {
	if strings.HasSuffix(name, ".zip") {
		if format != "" && format != CrossWOZ {
			return nil, fmt.Errorf("a zip holds the format %s, not %s", CrossWOZ, format)
		}
		return readZip(f)
	}
	var r io.Reader = f
	if strings.HasSuffix(name, ".gz") {
		z, err := gzip.NewReader(f)
		if err != nil {
			return nil, err
		}
		r = z
	}
	b := bufio.NewReaderSize(io.LimitReader(r, maxFile), 64<<10)
	if format == "" {
		format = guess(b)
	}
	switch format {
	case Own, Star: // the same shape; the times are absolute in one and relative in the other
		return parseLines(name, b, ownLine)
	case Tau:
		return parseLines(name, b, tauLine)
	case CrossWOZ:
		return parseCrossWOZ(b)
	}
	return nil, fmt.Errorf("the format is %q: it must be %s, %s, %s or %s", format, Own, Star, CrossWOZ, Tau)
}

// guess looks at the beginning of a file.
func guess(b *bufio.Reader) string {
	head, _ := b.Peek(4096) // a shorter file is fine
	line, _, _ := bytes.Cut(head, []byte("\n"))
	switch {
	case bytes.Contains(line, []byte(`"messages_display"`)):
		return Tau
	case bytes.Contains(head, []byte(`"messages"`)) || bytes.Contains(head, []byte(`"dialog_act"`)):
		return CrossWOZ
	}
	return Own
}

func readZip(f *os.File) ([]Dialogue, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	z, err := zip.NewReader(f, info.Size())
	if err != nil {
		return nil, err
	}
	for _, e := range z.File {
		if !strings.HasSuffix(e.Name, ".json") {
			continue
		}
		r, err := e.Open()
		if err != nil {
			return nil, err
		}
		ds, err := parseCrossWOZ(io.LimitReader(r, maxFile))
		return ds, errors.Join(err, r.Close())
	}
	return nil, errors.New("the archive holds no .json")
}

// parseLines reads one dialogue a line; those in which no customer speaks are left out.
func parseLines(name string, r io.Reader, parse func(line []byte, number int) (Dialogue, error)) ([]Dialogue, error) {
	var ds []Dialogue
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 8<<20)
	for n := 1; lines.Scan(); n++ {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		d, err := parse(line, n)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n, err)
		}
		ok, err := d.tidy()
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n, err)
		}
		if ok {
			ds = append(ds, d)
		}
	}
	return ds, lines.Err()
}

// ownLine reads our own format and STAR's.
func ownLine(line []byte, number int) (Dialogue, error) {
	var in struct {
		ID    json.RawMessage `json:"id"`
		Turns []struct {
			From string   `json:"from"`
			T    *float64 `json:"t"`
			Text string   `json:"text"`
		} `json:"turns"`
	}
	if err := json.Unmarshal(line, &in); err != nil {
		return Dialogue{}, err
	}
	d := Dialogue{ID: strings.Trim(string(in.ID), `"`), Timed: true}
	if d.ID == "" {
		d.ID = fmt.Sprintf("line-%d", number)
	}
	for i, t := range in.Turns {
		turn := Turn{Customer: t.From == "customer", Text: t.Text}
		if !turn.Customer && t.From != "agent" {
			return Dialogue{}, fmt.Errorf(`turn %d is from %q: it must be "customer" or "agent"`, i, t.From)
		}
		if t.T == nil {
			d.Timed = false
		} else {
			// From the first turn on, before it becomes a duration: absolute times in nanoseconds would lose their end.
			var zero float64
			if first := in.Turns[0].T; first != nil {
				zero = *first
			}
			turn.At = time.Duration(min(max(*t.T-zero, 0), 1e9) * float64(time.Second))
		}
		d.Turns = append(d.Turns, turn)
	}
	return d, nil
}

// parseCrossWOZ reads one object: id → messages.
func parseCrossWOZ(r io.Reader) ([]Dialogue, error) {
	var in map[string]struct {
		Messages []struct {
			Role    string `json:"role"`
			Content string `json:"content"`
		} `json:"messages"`
	}
	if err := json.NewDecoder(r).Decode(&in); err != nil {
		return nil, err
	}
	ids := make([]string, 0, len(in))
	for id := range in {
		ids = append(ids, id)
	}
	slices.Sort(ids) // a seed is to mean the same every time
	var ds []Dialogue
	for _, id := range ids {
		d := Dialogue{ID: id}
		for i, m := range in[id].Messages {
			if m.Role != "usr" && m.Role != "sys" {
				return nil, fmt.Errorf(`dialogue %s: message %d is from %q: it must be "usr" or "sys"`, id, i, m.Role)
			}
			d.Turns = append(d.Turns, Turn{Customer: m.Role == "usr", Text: m.Content})
		}
		ok, err := d.tidy()
		if err != nil {
			return nil, err
		}
		if ok {
			ds = append(ds, d)
		}
	}
	return ds, nil
}

// speaker begins a turn of a τ-bench transcript.
var speaker = regexp.MustCompile(`(?m)^(user|assistant|tool|system): ?`)

// tauLine reads a τ-bench transcript. What tools say, and an assistant who only calls one ("None"), no customer hears.
func tauLine(line []byte, number int) (Dialogue, error) {
	var in struct {
		Display *string `json:"messages_display"`
	}
	if err := json.Unmarshal(line, &in); err != nil {
		return Dialogue{}, err
	}
	if in.Display == nil {
		return Dialogue{}, errors.New("there is no messages_display")
	}
	d := Dialogue{ID: fmt.Sprintf("tau-%d", number)}
	text := *in.Display
	marks := speaker.FindAllStringSubmatchIndex(text, -1)
	for i, m := range marks {
		end := len(text)
		if i+1 < len(marks) {
			end = marks[i+1][0]
		}
		who, said := text[m[2]:m[3]], strings.TrimSuffix(text[m[1]:end], "\n")
		if who == "user" || who == "assistant" && said != "None" {
			d.Turns = append(d.Turns, Turn{Customer: who == "user", Text: said})
		}
	}
	return d, nil
}
