package console

import "io/fs"

// Files returns the page's own files, index.html at the root. The client's modules are not among them.
func Files() (fs.FS, error) { return fs.Sub(page, "page") }
