package broker

import (
	"testing"
	"unsafe"
)

// What a decision looks at of a plan is six lines of memory, and of a worker three: with thousands of plans each more is felt.
func TestDecisionLiesTogether(t *testing.T) {
	var p plan
	var cl class
	if end := unsafe.Offsetof(p.own) + unsafe.Offsetof(cl.free) + unsafe.Offsetof(cl.free.rest); end > 6*64 {
		t.Errorf("the first places of a plan's first class end at %d", end)
	}
	if size := unsafe.Sizeof(worker{}); size > 3*64 {
		t.Errorf("a worker's near part has %d bytes", size)
	}
}
