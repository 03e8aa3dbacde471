package edge

import (
	"net"
	"testing"
)

// Who has an address of IPv6 has all of its /64, and is counted as one; IPv4 is counted by the address, however it is written.
func TestCountedBy(t *testing.T) {
	f := func(ip, want string) {
		t.Helper()
		if got := countedBy(net.ParseIP(ip)); got != want {
			t.Errorf("%s is counted by %s; want %s", ip, got, want)
		}
	}
	f("192.0.2.7", "192.0.2.7")
	f("::ffff:192.0.2.7", "192.0.2.7")
	f("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::")
	f("2001:db8:1:2:ffff::", "2001:db8:1:2::")
	f("2001:db8:1:3::1", "2001:db8:1:3::")
	f("::1", "::")
}
