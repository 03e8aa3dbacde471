//go:build race && unix

package edge

import (
	"bytes"
	"testing"
)

// TestBuffersAreMangled keeps pieces of buffers that were given back: they are garbage, to the end of what was ever in them.
func TestBuffersAreMangled(t *testing.T) {
	f := func(name string, kept []byte) {
		t.Helper()
		if len(kept) == 0 || len(bytes.Trim(kept, "\xdb")) != 0 {
			t.Errorf("%s holds %q after it was given back", name, kept)
		}
	}
	b := &buffers{out: []byte("what is written"), payload: []byte("frames")}
	out, payload := b.out, b.payload
	b.empty() // has left
	b.giveBack()
	f("out", out)
	f("payload", payload)
	s := source{buf: new([chunk]byte)}
	kept := s.buf[:]
	copy(kept, "what was read")
	s.done()
	f("a chunk", kept)
}
