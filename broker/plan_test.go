package broker

import (
	"testing"
	"unsafe"
)

// What a decision looks at of a plan is five lines of memory, of a worker four, and its end of the task three: with thousands of plans each more is felt.
func TestDecisionLiesTogether(t *testing.T) {
	var p plan
	var cl class
	if end := unsafe.Offsetof(p.own) + unsafe.Offsetof(cl.cost) + unsafe.Sizeof(cl.cost); end > 5*64 {
		t.Errorf("what is asked of a plan's first class ends at %d", end)
	}
	var x task
	if end := unsafe.Offsetof(x.timer) + unsafe.Sizeof(x.timer); end > 3*64 {
		t.Errorf("what the end of a task looks at ends at %d", end)
	}
	if size := unsafe.Sizeof(worker{}); size > 4*64 {
		t.Errorf("a worker's near part has %d bytes", size)
	}
}
