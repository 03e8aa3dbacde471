//go:build race

package edge

import "bytes"

var garbage = bytes.Repeat([]byte{0xdb}, 4<<10)

// mangle overwrites a buffer that is given back, as far as its capacity goes, so that whoever has kept a piece of it reads what is no
// frame, no JSON and no UTF-8. Tests under the race detector see by it what the detector cannot: that one goroutine uses
// again what it has itself given away.
func mangle(b []byte) {
	for b = b[:cap(b)]; len(b) > 0; {
		b = b[copy(b, garbage):]
	}
}
