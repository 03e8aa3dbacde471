package broker

import (
	"testing"
	"unsafe"
)

// What a session's beginning and end touch lies together: a worker's footings in one piece, two of them in a line of memory, what they change of a
// block in one line as long as the loads are few, and in one behind it when they are more.
func TestWhatATaskTouchesLiesTogether(t *testing.T) {
	const line = 64
	if n := unsafe.Sizeof(footing{}); n > line/2 {
		t.Errorf("a footing has %d bytes; want at most %d", n, line/2)
	}
	var b block
	if n := unsafe.Offsetof(b.bands) + 6*unsafe.Sizeof(b.bands[0]); n > line {
		t.Errorf("who rests and the bands of five loads end at %d of a block; want at most %d", n, line)
	}
	if n := unsafe.Offsetof(b.bands) + unsafe.Sizeof(b.bands); n > 2*line {
		t.Errorf("the first bands of a block end at %d; want at most %d", n, 2*line)
	}
	if n := unsafe.Offsetof(b.cols); n != 2*line {
		t.Errorf("what finding looks at begins at %d of a block; want %d", n, 2*line)
	}
	if n := unsafe.Offsetof(b.order); n != 3*line {
		t.Errorf("the order of a block begins at %d; want %d", n, 3*line)
	}
	var x task
	if n := unsafe.Offsetof(x.timer) + unsafe.Sizeof(x.timer); n > taskNear {
		t.Errorf("what the end of a task looks at ends at %d of it; want at most %d", n, taskNear)
	}
	var p plan
	if n := max(unsafe.Offsetof(p.queue), unsafe.Offsetof(p.lane), unsafe.Offsetof(p.tasks)) + 8; n > planUsed {
		t.Errorf("what the end of a task looks at ends at %d of its plan; want at most %d", n, planUsed)
	}
	var w worker
	if n := unsafe.Offsetof(w.conn); n > 2*line {
		t.Errorf("a worker's load, tasks and footings end at %d; want at most %d", n, 2*line)
	}
}

// A block has words for few bands in itself, and for more of them elsewhere.
func TestBandsOfABlock(t *testing.T) {
	up, n := (&blocks{}).take(false), (&blocks{}).take(true)
	n.up, n.slot = up, 5
	last := len(n.bands) - 1
	n.mark(byBand, last, 7)
	for _, x := range []struct{ from, to int }{{last, last + 1}, {last + 1, last + 90}, {last + 90, 0}} {
		n.pass(x.from, x.to, 7)
		for _, at := range []struct {
			n    *block
			slot int
		}{{n, 7}, {up, 5}} {
			if was, is := at.n.band(x.from), at.n.band(x.to); was != 0 || is != 1<<at.slot {
				t.Errorf("from %d to %d: the words are %b and %b", x.from, x.to, was, is)
			}
		}
	}
	n.mark(byBand, 0, 8)
	if n.pass(0, 1, 7); n.band(0) != 1<<8 || up.band(0) != 1<<5 || up.band(1) != 1<<5 {
		t.Errorf("one of two has passed, and the words above are %b and %b", up.band(0), up.band(1))
	}
}
