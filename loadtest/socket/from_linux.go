package socket

import "syscall"

const bindAddressNoPort = 24 // IP_BIND_ADDRESS_NO_PORT of linux/in.h, which package syscall has no name for

// fromAddress lets the system choose the port of a socket that comes from a given address when it connects, among those
// that are free towards that server. Without it the port is chosen when the address is, among those that nobody has
// towards anyone: with tens of thousands of sockets, or others that ended less than a minute ago, each search looks at
// most of them (ip(7), IP_BIND_ADDRESS_NO_PORT).
func fromAddress(_, _ string, raw syscall.RawConn) error {
	var err error
	if e := raw.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, bindAddressNoPort, 1) //nolint:gosec // a descriptor
	}); e != nil {
		return e
	}
	return err
}
