// Package archtest keeps the house's shape: who may import whom, and where goroutines may start.
package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "switchboard/"

// mayImport lists, for each package of ours, the packages of ours that it may import.
// A package that is not listed here fails the test, so a new package is a decision.
var mayImport = allowed(
	row("wire", "wire/wirepb"),
	row("wire/wirepb"),
	row("session", "wire", "wire/wirepb"),
	row("broker", "wire", "broker/selector", "internal/prefetch"),
	row("exchange", "wire"),
	row("exchange/link", "wire", "exchange"),
	row("shard/journal", "shard/journal/replica", "shard/journal/seglog"),
	row("shard/journal/replica"),
	row("shard", "wire", "wire/wirepb", "session", "broker", "broker/level", "broker/routes", "broker/selector", "broker/why", "exchange", "shard/journal", "internal/mailbox"),
	row("edge", "wire", "wire/wirepb", "exchange", "edge/ws", "edge/token", "edge/secure", "internal/mailbox", "internal/prefetch"),
	row("edge/ws"),
	row("edge/secure"),
	row("edge/token", "wire", "internal/sealed"),
	row("node", "internal/sealed", "backup", "wire", "session", "broker/level", "broker/routes", "exchange", "shard", "shard/journal", "edge", "edge/token", "edge/secure", "cluster", "cluster/member", "shard/journal/replica", "hook"),
	row("hook"),
	row("backup", "shard/journal"),
	row("client", "wire", "wire/wirepb"),
	row("client/js"),
	row("console", "client/js"),
	row("bench", "edge/secure", "loadtest", "loadtest/socket", "shard/journal", "wire"),
	row("loadtest", "wire", "wire/wirepb", "client", "loadtest/socket"),
	row("cmd/switchboard", "backup", "wire", "cluster", "cluster/member", "broker/level", "broker/routes", "node", "bench", "loadtest", "loadtest/scenario", "loadtest/report", "loadtest/swarm", "examples/loadtest", "client", "console", "internal/written", "edge", "edge/token", "shard/journal", "loadtest/capacity", "broker/whatif", "broker/whatif/page", "examples"),
	row("internal/mailbox"),
	row("internal/prefetch"),
	row("internal/sealed"),
	row("internal/script"),
	row("internal/written"),
	row("internal/archtest"),
	row("internal/memnet"),
	row("internal/sim", "internal/memnet"),
	row("internal/sim/history"),
	row("internal/sim/mutants"),
	row("cluster", "shard/journal/replica"),
	row("loadtest/socket", "edge/ws", "edge/secure"),
	row("loadtest/ledger"),
	row("loadtest/scenario", "internal/written"),
	row("loadtest/report", "loadtest/ledger", "loadtest/scenario"),
	row("loadtest/swarm", "loadtest/ledger", "loadtest/scenario", "loadtest/report", "loadtest/socket", "edge/secure"),
	row("examples/loadtest"),
	row("broker/selector"),
	row("broker/level", "wire"),
	row("broker/why", "wire", "broker"),
	row("broker/whatif", "wire", "broker", "broker/level", "broker/routes", "broker/selector", "broker/whatif/erlang", "loadtest/scenario"),
	row("broker/whatif/erlang"),
	row("broker/routes", "broker", "broker/level", "broker/selector", "internal/written"),
	row("shard/journal/seglog"),
	row("cluster/member", "internal/sealed", "cluster", "exchange", "exchange/link", "shard/journal/replica", "wire"),
	row("loadtest/capacity", "loadtest/report", "loadtest/scenario"),
	row("broker/whatif/page", "broker/whatif", "loadtest/report"),
	row("examples"),
)

type importRow struct {
	pkg  string
	from []string
}

func row(pkg string, from ...string) importRow { return importRow{pkg, from} }

func allowed(rows ...importRow) map[string][]string {
	m := map[string][]string{}
	for _, r := range rows {
		m[r.pkg] = r.from
	}
	return m
}

// mayStart lists the functions that may start a goroutine: by a go statement, or by handing a function to the Go of a
// sync.WaitGroup or its like.
var mayStart = []string{
	"cluster/member.Open", "cluster/member.Push",
	"shard.Open", "shard/journal.Open",
	"exchange/link.Open", "exchange/link.Add", "exchange/link.accept", "exchange/link.connect",
	"edge.Open", "edge.accept", "edge.stream", "edge.start", "edge.openLoops",
	"client.dial", "client.connect", "client.employ", "client.offered", "client.classify", "client.invited",
	"node.StartContext", "node.start",
	"hook.Send",
	"cmd/switchboard.chat", "cmd/switchboard.desk", "cmd/switchboard.serveProfiles", "cmd/switchboard.demo", "cmd/switchboard.run",
	"bench.crowdOf", "bench.letIn", "bench.memory", "bench.loopback", "bench.echoes", "bench.appends",
	"loadtest.play", "loadtest.converse", "loadtest.audit", "loadtest.employ", "loadtest.work", "loadtest.connect", "loadtest.measure",
	"loadtest/socket.put",
	"loadtest/swarm.ramp", "loadtest/swarm.audits", "loadtest/swarm.work", "loadtest/swarm.Agent", "loadtest/swarm.inside", "loadtest/swarm.outside",
	"loadtest/swarm.launch", "loadtest/swarm.live", "loadtest/swarm.listen", "loadtest/swarm.begin",
}

// mayTime lists the functions that may leave a function to a timer or to the end of a context: AfterFunc of time and of context run it on a
// goroutine of its own.
var mayTime = []string{
	"exchange/link.askOnce", "exchange/link.dial", "exchange/link.Stream",
	"edge.setPatience",
	"client.Close", "client.connect", "client.refreshIn", "client.hold", "client.stop",
	"node.keep", "node.transfer",
	"cmd/switchboard.speak", "cmd/switchboard.untilSignal",
	"loadtest/socket.Dial", "loadtest/swarm.stop", "loadtest/swarm.connect", "loadtest/swarm.attempt", "loadtest/swarm.newBeat",
}

// starts returns where f starts a goroutine, and where it leaves that to an AfterFunc, each with the name of the function that it happens
// in, which is "var" outside of all. Whoever takes an AfterFunc for a value is one that calls it.
func starts(f *ast.File, seen func(name string, timed bool, at token.Pos)) {
	for _, decl := range f.Decls {
		name := "var"
		if fn, ok := decl.(*ast.FuncDecl); ok {
			name = fn.Name.Name
		}
		ast.Inspect(decl, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				seen(name, false, n.Pos())
			case *ast.CallExpr:
				if fn, ok := n.Fun.(*ast.SelectorExpr); ok && fn.Sel.Name == "Go" && len(n.Args) > 0 {
					seen(name, false, n.Pos())
				}
			case *ast.SelectorExpr:
				if of, ok := n.X.(*ast.Ident); ok && n.Sel.Name == "AfterFunc" && (of.Name == "time" || of.Name == "context") {
					seen(name, true, n.Pos())
				}
			default:
			}
			return true
		})
	}
}

// TestStarts is that starts finds every way.
func TestStarts(t *testing.T) {
	const source = `package p
func a() { go b() }
func b() { var wg sync.WaitGroup; wg.Go(func() {}) }
func c(w *worker) { w.all.Go(w.run) }
func d() { time.AfterFunc(1, e); x.Go = y.Go; z.Go() }
func e() { defer context.AfterFunc(ctx, e)() }
func f() { later := time.AfterFunc; later(1, e) }
func g() { clock.AfterFunc(1, e); time.NewTimer(1) }
var h = func() { go b() }
`
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	starts(file, func(name string, timed bool, _ token.Pos) { got = append(got, name+" "+strconv.FormatBool(timed)) })
	want := []string{"a false", "b false", "c false", "d true", "e true", "f true", "var false"}
	if !slices.Equal(got, want) {
		t.Fatalf("found %q; want %q", got, want)
	}
}

func TestShape(t *testing.T) {
	fset, used := token.NewFileSet(), map[bool]map[string]bool{false: {}, true: {}}
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && (d.Name() == "tools" || d.Name() == "peers") {
			return filepath.SkipDir // modules of their own
		}
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		rel, _ := filepath.Rel("../..", path)
		pkg := filepath.ToSlash(filepath.Dir(rel))
		f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		allowed, known := mayImport[pkg]
		if !known {
			t.Errorf("%s: package %s is not in mayImport", rel, pkg)
		}
		for _, spec := range f.Imports {
			p, _ := strconv.Unquote(spec.Path.Value)
			if ours, ok := strings.CutPrefix(p, module); ok && !slices.Contains(allowed, ours) {
				t.Errorf("%s: %s may not import %s", rel, pkg, ours)
			}
		}
		starts(f, func(name string, timed bool, at token.Pos) {
			name = pkg + "." + name
			used[timed][name] = true
			switch {
			case !timed && !slices.Contains(mayStart, name):
				t.Errorf("%s: a goroutine starts in %s", fset.Position(at), name)
			case timed && !slices.Contains(mayTime, name):
				t.Errorf("%s: a timer is given a function in %s", fset.Position(at), name)
			default:
			}
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for timed, list := range map[bool][]string{false: mayStart, true: mayTime} {
		for _, name := range list {
			if !used[timed][name] {
				t.Errorf("%s is listed, and starts nothing", name)
			}
		}
	}
}
