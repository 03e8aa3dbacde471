package journal_test

import (
	"os"
	"path/filepath"
	"testing"

	"switchboard/shard/journal"
)

// What people have said is in the journal in the clear: nobody but its owner gets into its folder, whoever may read the folder that it is in.
func TestJournalIsItsOwners(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "journal")
	j, err := journal.Open(journal.Config{Dir: dir, Groups: 1, FreeMin: -1})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "log")} {
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has the mode %v", path, st.Mode())
		}
	}
}
