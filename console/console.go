package console

import (
	"embed"
	"path"
	"strings"

	"switchboard/client/js"
)

//go:embed page
var page embed.FS

// Policy is the Content-Security-Policy to send with every file. It allows the page's own files and connections to
// its own origin, and nothing else.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// clientFiles are the modules of client/js, which the page imports from beside itself.
var clientFiles = map[string]string{"switchboard.js": js.Source, "worker.js": js.Worker}

var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// Serve returns the file that stands under urlPath, a path like "/app.js" below the page's place, and its media type;
// "/" and "" are the page itself. ok is false when there is none.
func Serve(urlPath string) (body []byte, contentType string, ok bool) {
	name := strings.TrimPrefix(urlPath, "/")
	if name == "" {
		name = "index.html"
	}
	contentType, ok = types[path.Ext(name)]
	if !ok {
		return nil, "", false
	}
	if src, found := clientFiles[name]; found {
		return []byte(src), contentType, true
	}
	body, err := page.ReadFile("page/" + name)
	return body, contentType, err == nil
}
