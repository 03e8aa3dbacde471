package hook

import (
	"net/netip"
	"slices"
)

// special are addresses that lead to no receiver of the public network, besides those that package netip knows: loopback, private,
// link-local, multicast, unspecified.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),     // this network
	netip.MustParsePrefix("100.64.0.0/10"), // carriers' own
	netip.MustParsePrefix("192.0.0.0/24"),  // protocols
	netip.MustParsePrefix("192.0.2.0/24"),  // examples
	netip.MustParsePrefix("198.18.0.0/15"), // benchmarks
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"), // reserved, and broadcast
	netip.MustParsePrefix("2001::/23"),   // protocols, Teredo among them
	netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("2002::/16"), // IPv4 within IPv6
	netip.MustParsePrefix("3fff::/20"), // examples
}

// public6 is what of IPv6 leads to the public network at all. The rest is special, or not given out: among it IPv4 addresses within others that some
// networks translate, ::127.0.0.1 and 64:ff9b::7f00:1.
var public6 = netip.MustParsePrefix("2000::/3")

// allows tells whether ip may be called. What Allow has counts also for an IPv4 address that is written as IPv6.
func (c *Config) allows(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	in := func(p netip.Prefix) bool { return p.Contains(ip) }
	if slices.ContainsFunc(c.Allow, in) {
		return true
	}
	return ip.IsGlobalUnicast() && !ip.IsPrivate() && (ip.Is4() || public6.Contains(ip)) && !slices.ContainsFunc(special, in)
}
