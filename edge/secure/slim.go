package secure

import (
	"bytes"
	"crypto/tls"
	"reflect"
	"unsafe"
)

// The two buffers of a tls.Conn that the peer's hello makes grow, to 3.5 KB together, and that crypto/tls keeps for the
// connection's life. Once the handshake is over both are empty, and small ones serve as well.
var (
	handField = bufferField("hand")
	rawField  = bufferField("rawInput")
)

// noField says that this version of crypto/tls has no such buffer: then it is left alone, and costs what it costs.
const noField = ^uintptr(0)

func bufferField(name string) uintptr {
	f, ok := reflect.TypeFor[tls.Conn]().FieldByName(name)
	if !ok || f.Type != reflect.TypeFor[bytes.Buffer]() {
		return noField
	}
	return f.Offset
}

// slim lets go of the memory of buffers that are empty. Nobody else may use c meanwhile. An empty bytes.Buffer is worth as much as a
// new one, so nothing is promised here that could break: what is not as it was is not touched.
func slim(c *tls.Conn) {
	for _, at := range []uintptr{handField, rawField} {
		if at == noField {
			continue
		}
		if b := (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(c), at)); b.Len() == 0 { //nolint:gosec // type and place were looked up
			*b = bytes.Buffer{}
		}
	}
}
