package node

import (
	"fmt"
	"slices"

	"switchboard/broker/level"
	"switchboard/broker/routes"
	"switchboard/shard"
	"switchboard/shard/journal"
)

// DocumentLevels returns the service levels of the documents that a stopped node was told, latest versions, by tenant: they are what
// it counted by, beside those of its configuration. A tenant that was never told a document is not there.
func DocumentLevels(data string) (map[string][]level.Definition, error) {
	all := map[string][]level.Definition{}
	latest := map[string]uint64{} // shards of a member may be copies of different ages
	err := WithStopped(data, func(j *journal.Journal, shards []int) error {
		for _, i := range shards {
			if err := shard.ReadDocuments(j.Group(i), func(tenant string, d shard.Document) error {
				r, err := routes.Parse(d.Text)
				if err != nil {
					return fmt.Errorf("version %d of the routes of tenant %s is not understood by this version of the program: %w", d.Version, tenant, err)
				}
				if at, ok := latest[tenant]; !ok || d.Version > at {
					all[tenant], latest[tenant] = r.Document.Definitions(), d.Version
				}
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	})
	return all, err
}

// ServiceLevels returns what t's sessions are counted by where the tenant begins: its own levels, then those of the document that its
// configuration names.
func (t *Tenant) ServiceLevels() ([]level.Definition, error) {
	text, from, err := t.document()
	if err != nil {
		return nil, err
	}
	r, err := routes.Parse(text)
	if err != nil {
		return nil, t.mistakes(from, err)
	}
	return slices.Concat(t.Levels, r.Document.Definitions()), nil
}
