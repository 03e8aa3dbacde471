package socket

import (
	"syscall"
	"testing"
)

// A port that a connection to one server has is free towards another: the address alone does not take it.
func TestPortsAreChosenLate(t *testing.T) {
	s, _ := pair(t, nil)
	raw, err := s.Conn.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var late int
	if e := raw.Control(func(fd uintptr) {
		late, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_IP, bindAddressNoPort)
	}); e != nil || err != nil {
		t.Fatal(e, err)
	}
	if late != 1 {
		t.Fatal("the port was chosen with the address")
	}
}
