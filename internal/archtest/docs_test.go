package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the module's folder.
const root = "../.."

// skipDirs are folders that hold nothing of ours, or a module of their own.
var skipDirs = []string{".git", "bin", "node_modules", "testdata", "tools"}

// files returns the paths below root that end in suffix, with slashes.
func files(t *testing.T, suffix string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && p != root && (slices.Contains(skipDirs, d.Name()) || strings.HasSuffix(d.Name(), "-data")) {
			return filepath.SkipDir
		}
		if !d.IsDir() && strings.HasSuffix(p, suffix) {
			rel, _ := filepath.Rel(root, p)
			list = append(list, filepath.ToSlash(rel))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// promised are the documents that name tests as proofs, by their whole path: `package.TestName`. Others may leave out what their reader knows.
var promised = []string{"docs/guarantees.md", "docs/routing-proof.md"}

// TestDocumentedTestsExist holds the documents to tests and benchmarks that are there.
func TestDocumentedTestsExist(t *testing.T) {
	have := map[string]bool{} // by whole path, by the package's last name, and alone
	fset := token.NewFileSet()
	for _, name := range files(t, "_test.go") {
		f, err := parser.ParseFile(fset, filepath.Join(root, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil {
				dir := path.Dir(name)
				have[dir+"."+fn.Name.Name], have[path.Base(dir)+"."+fn.Name.Name], have[fn.Name.Name] = true, true, true
			}
		}
	}
	named := regexp.MustCompile("`((?:[a-z][a-z0-9/]*\\.)?(?:Test|Fuzz|Benchmark)[A-Z][A-Za-z0-9_]*)`")
	whole := regexp.MustCompile("`([a-z][a-z0-9/]*\\.(?:Test|Fuzz)[A-Za-z0-9_]+)`")
	for _, doc := range files(t, ".md") {
		text := read(t, doc)
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			if !have[m[1]] {
				t.Errorf("%s names %s, and there is no such test", doc, m[1])
			}
		}
		if !slices.Contains(promised, doc) {
			continue
		}
		found := whole.FindAllStringSubmatch(text, -1)
		if len(found) == 0 {
			t.Errorf("%s names no test", doc)
		}
		for _, m := range found {
			if pkg, _, _ := strings.Cut(m[1], "."); !isDir(pkg) {
				t.Errorf("%s names %s, and %s is no package's whole path", doc, m[1], pkg)
			}
		}
	}
}

func isDir(name string) bool {
	at, err := os.Stat(filepath.Join(root, name))
	return err == nil && at.IsDir()
}

// TestDecisionsAreListed holds the list of decisions to the pages that there are, and whatever names one, in a document or a comment, to a page.
func TestDecisionsAreListed(t *testing.T) {
	index := read(t, "docs/adr/README.md")
	numbers := map[string]bool{}
	page := regexp.MustCompile(`^docs/adr/(\d{4})-[a-z0-9-]+\.md$`)
	for _, doc := range files(t, ".md") {
		if m := page.FindStringSubmatch(doc); m != nil {
			numbers[m[1]] = true
			title, _, _ := strings.Cut(strings.TrimPrefix(read(t, doc), "# "), "\n")
			if number, words, _ := strings.Cut(title, " "); number != m[1] || !strings.Contains(index, "- ["+number+"]("+path.Base(doc)+") "+words) {
				t.Errorf("%s is %q, and docs/adr/README.md does not list it so", doc, title)
			}
		}
	}
	if len(numbers) == 0 {
		t.Fatal("no decisions are found")
	}
	cited := regexp.MustCompile(`\b(?:ADR |docs/adr/)(\d{4})`)
	for _, name := range append(files(t, ".md"), files(t, ".go")...) {
		for _, m := range cited.FindAllStringSubmatch(read(t, name), -1) {
			if !numbers[m[1]] {
				t.Errorf("%s names decision %s, and there is no such page", name, m[1])
			}
		}
	}
}

// TestTargetsExist looks up every `make TARGET` of every document.
func TestTargetsExist(t *testing.T) {
	makefile := read(t, "Makefile")
	target := regexp.MustCompile("(?m)`make ([a-z][a-z-]*)|^make ([a-z][a-z-]*)(?: +#| +[A-Z]+=|$)")
	n := 0
	for _, doc := range files(t, ".md") {
		for _, m := range target.FindAllStringSubmatch(read(t, doc), -1) {
			n++
			if name := m[1] + m[2]; !strings.Contains(makefile, "\n"+name+":") {
				t.Errorf("%s says make %s, and the Makefile has no such target", doc, name)
			}
		}
	}
	if n == 0 {
		t.Fatal("no document says make: has their form changed?")
	}
}

// TestLinksResolve looks up every relative link of every document, with its anchor when it has one.
func TestLinksResolve(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, doc := range files(t, ".md") {
		for _, m := range link.FindAllStringSubmatch(read(t, doc), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			to := doc
			if target != "" {
				to = path.Join(path.Dir(doc), target)
			}
			if _, err := os.Stat(filepath.Join(root, to)); err != nil {
				t.Errorf("%s links to %s, which is not there", doc, m[1])
				continue
			}
			if anchor != "" && !slices.Contains(anchors(read(t, to)), anchor) {
				t.Errorf("%s links to %s, and %s has no such heading", doc, m[1], to)
			}
		}
	}
}

// anchors returns the anchors of a document's headings, as forges make them.
func anchors(doc string) (list []string) {
	drop := regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	for line := range strings.SplitSeq(doc, "\n") {
		if title := strings.TrimLeft(line, "#"); len(title) < len(line) && strings.HasPrefix(title, " ") {
			name := drop.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), "")
			list = append(list, strings.ReplaceAll(name, " ", "-"))
		}
	}
	return list
}

func TestAnchors(t *testing.T) {
	got := anchors("# What is promised\ntext # no\n## `data_loss`, and what to do\n#no\n")
	want := []string{"what-is-promised", "data_loss-and-what-to-do"}
	if !slices.Equal(got, want) {
		t.Fatalf("anchors %q; want %q", got, want)
	}
}

// TestDocumentedMetrics holds the list of metrics in operations.md and the code to each other, both ways.
func TestDocumentedMetrics(t *testing.T) {
	row := regexp.MustCompile("(?m)^\\| `(switchboard_[a-z0-9_]+)")
	var documented []string
	for _, m := range row.FindAllStringSubmatch(read(t, "docs/operations.md"), -1) {
		documented = append(documented, m[1])
	}
	inCode := metricNames(t)
	if len(inCode) == 0 {
		t.Fatal("no metrics were found in the code: has the way of making them changed?")
	}
	for _, name := range documented {
		if !slices.Contains(inCode, name) {
			t.Errorf("docs/operations.md has %s, and the code does not", name)
		}
	}
	for _, name := range inCode {
		if !slices.Contains(documented, name) {
			t.Errorf("the code has %s, and docs/operations.md does not", name)
		}
	}
}

// metricNames returns the names of the metrics that the code makes: the first argument of the functions that node and
// edge make theirs with.
func metricNames(t *testing.T) (names []string) {
	t.Helper()
	fset := token.NewFileSet()
	for file, prefix := range map[string]string{"node/metrics.go": "switchboard_", "node/level.go": "switchboard_", "edge/metrics.go": "switchboard_edge_"} {
		f, err := parser.ParseFile(fset, filepath.Join(root, file), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) < 2 {
				return true
			}
			fn, ok := call.Fun.(*ast.Ident)
			if !ok || !slices.Contains([]string{"d", "counter", "gauge", "vec"}, fn.Name) {
				return true
			}
			if lit, ok := call.Args[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
				names = append(names, prefix+strings.Trim(lit.Value, `"`))
			}
			return true
		})
	}
	return names
}

// TestDocumentedFields wants every field of the configuration file in operations.md.
func TestDocumentedFields(t *testing.T) {
	field := regexp.MustCompile("`yaml:\"([a-z_]+)\"`")
	doc := read(t, "docs/operations.md")
	n := 0
	for _, file := range []string{"node/config.go", "edge/config.go"} {
		for _, m := range field.FindAllStringSubmatch(read(t, file), -1) {
			n++
			if !strings.Contains(doc, "| `"+m[1]+"` |") {
				t.Errorf("%s has the field %s, and docs/operations.md has no row for it", file, m[1])
			}
		}
	}
	if n == 0 {
		t.Fatal("no fields were found in the code")
	}
}

// unfit are words that no document of ours should be committed with: what is unfinished, what belongs to one machine,
// and what praises.
var unfit = regexp.MustCompile(`(?i)\b(todo|fixme|tbd|lorem ipsum|coming soon|blazing\w*|cutting-edge|world-class|seamless\w*|effortless\w*|best-in-class)\b|/(?:work|root|farm)/|\bXXX\b`)

func TestWords(t *testing.T) {
	for _, doc := range files(t, ".md") {
		for i, line := range strings.Split(read(t, doc), "\n") {
			if m := unfit.FindString(line); m != "" {
				t.Errorf("%s:%d: %q", doc, i+1, m)
			}
		}
	}
	for text, want := range map[string]bool{"a TODO here": true, "/root/x": true, "Blazingly fast": true, "a todolist": false, "roots/": false} {
		if unfit.MatchString(text) != want {
			t.Errorf("%q: unfit is %v", text, !want)
		}
	}
}

// TestReadmeTests keeps the command that CI calls in the README, and CI calling it.
func TestReadmeTests(t *testing.T) {
	const command = "make test"
	for _, name := range []string{"README.md", ".ci/run"} {
		if !regexp.MustCompile(`(?m)^` + command + `$`).MatchString(read(t, name)) {
			t.Errorf("%s does not have the line %q", name, command)
		}
	}
}
