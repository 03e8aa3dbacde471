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
	row("broker", "wire", "broker/selector"),
	row("exchange", "wire"),
	row("exchange/link", "wire", "exchange"),
	row("shard/journal", "shard/journal/replica", "shard/journal/seglog"),
	row("shard/journal/replica"),
	row("shard", "wire", "wire/wirepb", "session", "broker", "broker/level", "broker/routes", "broker/selector", "broker/why", "exchange", "shard/journal", "internal/mailbox"),
	row("edge", "wire", "wire/wirepb", "exchange", "edge/ws", "edge/token", "edge/secure", "internal/mailbox"),
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
	row("cmd/switchboard", "backup", "wire", "cluster", "cluster/member", "broker/level", "broker/routes", "node", "bench", "loadtest", "loadtest/scenario", "loadtest/report", "loadtest/swarm", "examples/loadtest", "client", "console", "edge", "edge/token", "shard/journal", "loadtest/capacity", "broker/whatif", "broker/whatif/page", "examples"),
	row("internal/mailbox"),
	row("internal/sealed"),
	row("internal/script"),
	row("internal/archtest"),
	row("internal/memnet"),
	row("internal/sim", "internal/memnet"),
	row("internal/sim/history"),
	row("internal/sim/mutants"),
	row("cluster", "shard/journal/replica"),
	row("loadtest/socket", "edge/ws", "edge/secure"),
	row("loadtest/ledger"),
	row("loadtest/scenario"),
	row("loadtest/report", "loadtest/ledger", "loadtest/scenario"),
	row("loadtest/swarm", "loadtest/ledger", "loadtest/scenario", "loadtest/report", "loadtest/socket", "edge/secure"),
	row("examples/loadtest"),
	row("broker/selector"),
	row("broker/level", "wire"),
	row("broker/why", "wire", "broker"),
	row("broker/whatif", "wire", "broker", "broker/level", "broker/routes", "broker/selector", "broker/whatif/erlang", "loadtest/scenario"),
	row("broker/whatif/erlang"),
	row("broker/routes", "broker", "broker/level", "broker/selector"),
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

// mayStart lists the functions that may hold a go statement.
var mayStart = []string{
	"cluster/member.Open", "cluster/member.Push",
	"shard.Open", "shard/journal.Open",
	"exchange/link.Open", "exchange/link.Add", "exchange/link.accept", "exchange/link.connect",
	"edge.Open", "edge.accept", "edge.stream", "edge.start", "edge.openLoops",
	"client.dial", "client.connect",
	"node.Start", "node.start",
	"hook.Send",
	"cmd/switchboard.chat", "cmd/switchboard.desk", "cmd/switchboard.serveProfiles", "cmd/switchboard.demo",
}

func TestShape(t *testing.T) {
	fset := token.NewFileSet()
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
		for _, decl := range f.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(fn, func(n ast.Node) bool {
				if g, ok := n.(*ast.GoStmt); ok && !slices.Contains(mayStart, pkg+"."+fn.Name.Name) {
					t.Errorf("%s: a goroutine starts in %s", fset.Position(g.Pos()), fn.Name.Name)
				}
				return true
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
