package console_test

import (
	"bytes"
	"compress/gzip"
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"switchboard/console"
)

func TestServe(t *testing.T) {
	f := func(path, contentType, contains string) {
		t.Helper()
		body, typ, ok := console.Serve(path)
		if !ok || typ != contentType || !strings.Contains(string(body), contains) {
			t.Errorf("Serve(%q) = %d bytes, %q, %v; want %q with %q", path, len(body), typ, ok, contentType, contains)
		}
	}
	f("/", "text/html; charset=utf-8", "<title>Switchboard demo</title>")
	f("", "text/html; charset=utf-8", "<title>Switchboard demo</title>")
	f("/index.html", "text/html; charset=utf-8", `src="app.js"`)
	f("/style.css", "text/css; charset=utf-8", "prefers-color-scheme: dark")
	f("/app.js", "text/javascript; charset=utf-8", "demo/tokens.json")
	f("/switchboard.js", "text/javascript; charset=utf-8", "export const connect")
	f("/worker.js", "text/javascript; charset=utf-8", "export function work")
	f("/icon.svg", "image/svg+xml", "<svg")

	for _, path := range []string{"/nothing.js", "/page/app.js", "/../console.go", "//app.js", "/app", "/console.go", "/."} {
		if _, _, ok := console.Serve(path); ok {
			t.Errorf("Serve(%q) found something", path)
		}
	}
}

// The page asks no other origin for anything, has nothing inline, and every file that one names exists.
func TestClosed(t *testing.T) {
	outside := regexp.MustCompile(`(?i)(https?|wss?):?//[^\s'"]+|(src|href)="//`)
	inline := regexp.MustCompile(`(?i)<style|\sstyle=|\son[a-z]+=|<script(?:[^>]*)>\s*[^<\s]|javascript:|innerHTML|insertAdjacentHTML|\beval\(`)
	names := regexp.MustCompile(`(?:from '\./|(?:src|href)=")([^'"]+)['"]`)
	total := 0
	files, err := console.Files()
	if err != nil {
		t.Fatal(err)
	}
	err = fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, _, ok := console.Serve("/" + name)
		if !ok {
			t.Errorf("%s is not served", name)
		}
		for _, m := range outside.FindAll(body, -1) {
			if string(m) != "http://www.w3.org/2000/svg" { // a namespace, not an address
				t.Errorf("%s names %s", name, m)
			}
		}
		if m := inline.Find(body); m != nil {
			t.Errorf("%s has %q, which the policy forbids or which makes markup of words", name, m)
		}
		for _, m := range names.FindAllSubmatch(body, -1) {
			if _, _, ok := console.Serve("/" + string(m[1])); !ok {
				t.Errorf("%s needs %s, which is not served", name, m[1])
			}
		}
		total += len(body)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if total == 0 || total > 64<<10 {
		t.Errorf("the page has %d bytes; want 1 to 64 KiB", total)
	}
}

// What a customer's page loads stays within its budget also through this package.
func TestClientSize(t *testing.T) {
	for _, name := range []string{"/switchboard.js", "/worker.js"} {
		body, _, _ := console.Serve(name)
		var b bytes.Buffer
		w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(body); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if b.Len() == 0 || b.Len() > 6<<10 {
			t.Errorf("%s is %d bytes gzipped; want at most 6 KiB", name, b.Len())
		}
	}
}

// Every control can be found by those who do not see it.
func TestLabels(t *testing.T) {
	body, _, _ := console.Serve("/")
	html := string(body)
	for _, m := range regexp.MustCompile(`<input id="([^"]+)"`).FindAllStringSubmatch(html, -1) {
		if !strings.Contains(html, `for="`+m[1]+`"`) {
			t.Errorf("the input %s has no label", m[1])
		}
	}
	for _, m := range regexp.MustCompile(`aria-labelledby="([^"]+)"`).FindAllStringSubmatch(html, -1) {
		if !strings.Contains(html, `id="`+m[1]+`"`) {
			t.Errorf("nothing has the id %s that names a region", m[1])
		}
	}
}
