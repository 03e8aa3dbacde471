// Package examples holds the shipped routing documents, and the days of plan/ for `switchboard plan`.
package examples

import (
	"embed"
	"io/fs"
	"path"
	"slices"
	"strings"
)

//go:embed *.yaml plan/*.yaml
var files embed.FS

// Days returns the names of the shipped days.
func Days() (names []string) {
	list, _ := fs.Glob(files, "plan/*.yaml") // the pattern is right
	for _, f := range list {
		if name := strings.TrimSuffix(path.Base(f), ".yaml"); !strings.HasSuffix(name, "-routes") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Day returns a shipped day by its name.
func Day(name string) ([]byte, bool) {
	if !slices.Contains(Days(), name) {
		return nil, false
	}
	b, err := files.ReadFile("plan/" + name + ".yaml")
	return b, err == nil
}

// Routes returns the routing document that a shipped day names, relative to the day.
func Routes(name string) ([]byte, error) { return files.ReadFile(path.Join("plan", name)) }
