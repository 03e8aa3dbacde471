package broker

import (
	"testing"
	"unsafe"
)

// What a session's beginning and end touch lies together: a worker's footings in one piece, two of them in less than two lines of memory, and what
// they change of a block in its first two.
func TestWhatATaskTouchesLiesTogether(t *testing.T) {
	if n := unsafe.Sizeof(footing{}); n > 48 {
		t.Errorf("a footing has %d bytes; want at most 48", n)
	}
	var b block
	if n := unsafe.Offsetof(b.few) + unsafe.Sizeof(b.few); n > 128 {
		t.Errorf("the bands of a block end at %d; want at most 128", n)
	}
	n := (&blocks{}).take(true)
	n.mark(byBand, len(n.few)-1, 0)
	if &n.cols[byBand][0] != &n.few[0] {
		t.Error("few bands are elsewhere")
	}
	n.mark(byBand, len(n.few), 1)
	if got := n.cols[byBand][len(n.few)-1 : len(n.few)+1]; got[0] != 1 || got[1] != 2 {
		t.Errorf("the bands are %b when they are more", got)
	}
}
