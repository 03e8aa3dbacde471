package session

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// [SW-4.9] Each type of event has one visibility, and the schema lists it: all that this package writes, and no other.
func TestEventsAreListed(t *testing.T) {
	schema, err := os.ReadFile("../wire/switchboard.proto")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^//\t([a-z_]+\.[a-z_]+) +(public|staff)$`).FindAllStringSubmatch(string(schema), -1) {
		listed[m[1]] = m[2]
	}
	written := map[string]string{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			v, ok := n.(*ast.ValueSpec)
			if !ok || len(v.Values) != 1 || !strings.HasPrefix(v.Names[0].Name, "Event") {
				return true
			}
			if lit, ok := v.Values[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
				typ, _ := strconv.Unquote(lit.Value)
				written[typ] = EventVisibility(typ)
			}
			return true
		})
	}
	if len(written) < 10 || !maps.Equal(listed, written) {
		t.Fatalf("the schema lists\n%v\nand written are\n%v", listed, written)
	}
}
