package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"switchboard/loadtest/capacity"
)

// TestPlanNodes: an answer for people and one for programs, from the shipped runs.
func TestPlanNodes(t *testing.T) {
	load := []string{"plan", "nodes", "--connections", "60000", "--messages", "3000/s", "--memory", "4GiB"}
	r := finish(t, as(t, nil, load...))
	if r.code != 0 || !regexp.MustCompile(`^\d+ nodes \(\d+ to \d+\)\n.* run out first\n`).MatchString(r.out) || !strings.Contains(r.out, "held back") {
		t.Fatalf("exit %d\n%s\n%s", r.code, r.out, r.err)
	}
	for slo, want := range map[string]string{
		"p99 < 4500us": `to not known: measure\)\n`,                         // which only the expected end of the range reaches
		"p99 < 50ms":   `ms expected \(up to [\d.]+ms\), 50.00ms asked for`, // and a number at both ends
		"p99 < 30s":    "p99 is not known where more than 9. % of the processors are used",
	} {
		r = finish(t, as(t, nil, append(load, "--slo", slo)...))
		if r.code != 0 || !regexp.MustCompile(want).MatchString(r.out) || !regexp.MustCompile(`p99 \+\d+ % \(7.01ms measured, [\d.]+ms to [\d.]+ms predicted\)`).MatchString(r.out) {
			t.Errorf("exit %d, without %q:\n%s\n%s", r.code, want, r.out, r.err)
		}
	}
	r = finish(t, as(t, nil, append(load, "--json", "--spare", "1", "--slo", "p99 < 2s")...))
	var doc struct {
		Plan  capacity.Plan
		Check capacity.Errors
		Goal  capacity.Goal
	}
	if err := json.Unmarshal([]byte(r.out), &doc); err != nil || r.code != 0 {
		t.Fatalf("exit %d, %v\n%s\n%s", r.code, err, r.out, r.err)
	}
	if p := doc.Plan; p.Nodes < 4 || p.Low > p.Nodes || p.High < p.Nodes || doc.Goal.Percentile != "p99" || doc.Goal.Spare != 1 || p.Expected == nil || p.ExpectedLow == nil || doc.Check.Answer == 0 {
		t.Errorf("%+v", doc)
	}
}

func TestPlanNodesUsage(t *testing.T) {
	f := func(code int, want string, args ...string) {
		t.Helper()
		complains(t, code, want, nil, append([]string{"plan", "nodes"}, args...)...)
	}
	load := func(more ...string) []string {
		return append([]string{"--connections", "100", "--messages", "10"}, more...)
	}
	bad := filepath.Join(t.TempDir(), "bad.json")
	if err := os.WriteFile(bad, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	f(exitUsage, "--connections is missing", "--messages", "3")
	f(exitUsage, "--messages is missing", "--connections", "3")
	f(exitUsage, "--memory is .4s.", load("--memory", "4s")...)
	f(exitUsage, "--messages is .-5.", "--connections", "3", "--messages", "-5")
	f(exitUsage, "percentile of answers", load("--slo", "lost == 0")...)
	f(exitUsage, "percentile of answers", load("--slo", "p99 > 1s")...)
	f(exitUsage, "headroom", load("--headroom", "100%")...)
	f(exitUsage, "--headroom is .30.: it must be below 100%, as 30%", load("--headroom", "30")...)
	f(exitUsage, "--spare is -1", load("--spare", "-1")...)
	f(exitUsage, "--spare is 100001", load("--spare", "100001")...)
	f(exitUsage, "--cores is 0", load("--cores", "0")...)
	f(exitUsage, "--memory is .16.: it has no unit: write 16GiB", load("--memory", "16")...)
	f(exitUsage, "--disk is .200.: it has no unit", load("--disk", "200")...)
	f(exitUsage, "--memory is 0", load("--memory", "0")...)
	f(exitUsage, "--files is 0", load("--files", "0")...)
	f(exitUsage, "--disk is 0", load("--disk", "0MiB")...)
	f(exitUsage, "about tokens", load("--tokens", "100")...)
	f(exitCheck, "takes more than 100000", "--connections", "1e12", "--messages", "1")
	f(exitUsage, "reading runs", load("--from", bad+"x")...)
	f(exitUsage, "has format 0", load("--from", bad)...)
	f(exitCheck, "no number of nodes", load("--slo", "p99 < 1us")...)
	complains(t, exitUsage, "--json is missing", nil, "plan", "measure")
	complains(t, exitUsage, "cannot be written", nil, "plan", "measure", "--json", filepath.Join(bad, "x.json"))
	complains(t, exitUsage, "cannot be written: it is a directory", nil, "plan", "measure", "--json", filepath.Dir(bad), "--rate", "3")
	complains(t, exitUsage, "--rate must be", nil, "plan", "measure", "--json", bad, "--rate", "3")
}

// TestPlanDisturbed: a plan from runs beside which something else ran says so.
func TestPlanDisturbed(t *testing.T) {
	fitted, check := capacity.Shipped()
	file := filepath.Join(t.TempDir(), "points.json")
	f := func(strangers float64, want bool) {
		t.Helper()
		fitted[2].Strangers, fitted[4].Strangers = strangers, strangers/2
		b, err := json.Marshal(capacity.File{Machine: "here", Points: fitted, Check: &check})
		if err == nil {
			err = os.WriteFile(file, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		r := finish(t, as(t, nil, "plan", "nodes", "--from", file, "--connections", "1000", "--messages", "100"))
		if r.code != 0 || strings.Contains(r.out, "in 2 of 10 runs others used the machine, up to 1.2 processors") != want {
			t.Errorf("%v of strangers, exit %d; want the warning: %t\n%s\n%s", strangers, r.code, want, r.out, r.err)
		}
	}
	f(0, false)
	f(0.2, false)
	f(1.2, true)
}

// TestPlanMeasure: a series of the real thing, as short as can be, that a model can be fitted to.
func TestPlanMeasure(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts nine nodes")
	}
	file := filepath.Join(t.TempDir(), "points.json")
	r := finish(t, as(t, nil, append([]string{"plan", "measure", "--json", file, "--rate", "400", "--sockets", "1000", "--beyond", "1"}, small("ramp=200ms", "steady=1500ms", "gates=[lost == 0]")...)...))
	if r.code != 0 || strings.Count(r.out, "\n") != 10 || !strings.Contains(r.out, "\nrate-600 ") || strings.Count(r.out, "p99") != 7 { // who says nothing waits for nothing
		t.Fatalf("exit %d\n%s\n%s", r.code, r.out, r.err)
	}
	measured, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var doc capacity.File
	if err := json.Unmarshal(measured, &doc); err != nil {
		t.Fatal(err)
	}
	if w := disturbed(append(doc.Points, *doc.Check)); (w != "") != strings.Contains(r.err, "others used the machine") {
		t.Errorf("the runs say %q, and the command\n%s", w, r.err)
	}
	r = finish(t, as(t, nil, "plan", "nodes", "--from", file, "--connections", "10000", "--messages", "200"))
	if r.code != 0 || !strings.Contains(r.out, "9 runs") || !strings.Contains(r.out, "held back     run rate-140") || strings.Contains(r.out, "broke off") {
		t.Fatalf("exit %d\n%s\n%s", r.code, r.out, r.err)
	}
}

// TestPlanMeasureStops: who is interrupted leaves what was measured, and says what is missing.
func TestPlanMeasureStops(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "points.json")
	cmd := as(t, nil, append([]string{"plan", "measure", "--json", file, "--dir", dir, "--rate", "400", "--sockets", "1000"}, small("ramp=200ms")...)...)
	var said strings.Builder
	cmd.Stderr = &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	told := 0
	for lines := bufio.NewScanner(out); lines.Scan(); told++ {
		if told == 1 {
			if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil { // as a terminal does: to all of them
				t.Error(err)
			}
		}
	}
	err = cmd.Wait()
	// Which run it was in the middle of is the machine's: it was told to stop behind the second.
	measured, bad := os.ReadFile(file)
	var doc capacity.File
	if bad == nil {
		bad = json.Unmarshal(measured, &doc)
	}
	if code := cmd.ProcessState.ExitCode(); code != exitFailed || bad != nil || len(doc.Points) != told || told < 2 || len(doc.Missing) != 9-told {
		t.Fatalf("exit %d, %v, %v; %d lines, and in the file %d runs without %v\n%s", code, err, bad, told, len(doc.Points), doc.Missing, said.String())
	}
	want := fmt.Sprintf("it was stopped: %d of 9 runs are in %s, and %s are missing; ", told, file, strings.Join(doc.Missing, ", "))
	if !strings.Contains(said.String(), want) {
		t.Errorf("it said\n%s\nand not %q", said.String(), want)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*-load-*")); err != nil || len(left) > 0 {
		t.Errorf("nodes' directories are left: %v %v", left, err)
	}
	fitted, _ := capacity.Shipped()
	if err := writeWhole(file, capacity.File{Machine: "here", Points: fitted, Missing: []string{"rate-9000", "rate-2800"}}); err != nil {
		t.Fatal(err)
	}
	r := finish(t, as(t, nil, "plan", "nodes", "--from", file, "--connections", "1000", "--messages", "100"))
	if r.code != 0 || !strings.Contains(r.out, "broke off, and rate-9000, rate-2800 are missing") {
		t.Errorf("exit %d\n%s\n%s", r.code, r.out, r.err)
	}
}

// TestPlanBeyond: the first rate at which a gate does not hold is no point of a model, and the last that is tried.
func TestPlanBeyond(t *testing.T) {
	t.Setenv("SWITCHBOARD_TEST_MAIN", "1") // the nodes are this program
	var out strings.Builder
	m := measurement{
		load: &loadFlags{dir: t.TempDir(), repeat: 1, quiet: true, sets: []string{"ramp=200ms", "steady=1s", "stop=20s", "gates=[p99 < 1us]"}},
		file: filepath.Join(t.TempDir(), "points.json"), rate: 200, sockets: 1000, beyond: 3, out: &out, errOut: io.Discard,
	}
	if err := m.further(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), "rate-300   more than this machine can do: p99 < 1us (") || strings.Count(out.String(), "\n") != 1 || len(m.doc.Points) > 0 {
		t.Errorf("%d points, and it says %s", len(m.doc.Points), out.String())
	}
}
