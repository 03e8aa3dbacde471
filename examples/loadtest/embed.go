// Package loadtest carries the shipped scenarios of `switchboard loadtest run`. They are examples too: copy one, change it,
// and run the file. docs/loadtest.md explains every field.
package loadtest

import (
	"embed"
	"io/fs"
	"strings"
)

//go:embed *.yaml
var files embed.FS

// Names returns the names of the shipped scenarios, in order.
func Names() (names []string) {
	all, err := fs.Glob(files, "*.yaml")
	if err != nil {
		panic(err) // of a pattern that is fixed
	}
	for _, f := range all {
		names = append(names, strings.TrimSuffix(f, ".yaml"))
	}
	return names
}

// Read returns the document of a shipped scenario. ok is false when there is none of that name.
func Read(name string) (doc []byte, ok bool) {
	doc, err := files.ReadFile(name + ".yaml")
	return doc, err == nil
}
