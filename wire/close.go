package wire

import "slices"

// CloseCode is a WebSocket close code of ours [SW-6.2]. 3000–3499: reconnect; 3500–3999: do not.
type CloseCode uint16

// The close codes of [SW-6.2].
const (
	CloseDrain           CloseCode = 3001
	CloseInternal        CloseCode = 3004
	CloseTokenExpired    CloseCode = 3005
	CloseSlow            CloseCode = 3008
	CloseReconnect       CloseCode = 3011
	CloseNoPong          CloseCode = 3012
	CloseRate            CloseCode = 3013
	CloseRebalance       CloseCode = 3014
	CloseBadToken        CloseCode = 3500
	CloseBadFrame        CloseCode = 3501
	CloseNoHello         CloseCode = 3502
	CloseKicked          CloseCode = 3503
	CloseConnectionLimit CloseCode = 3504
	CloseForbidden       CloseCode = 3507
	CloseTenantSuspended CloseCode = 3510
)

// Closing is one row of the close-code table.
type Closing struct {
	Code   CloseCode
	Reason string // as in bye and in the close frame
}

var closings = [...]Closing{
	{CloseDrain, "drain"},
	{CloseInternal, "internal"},
	{CloseTokenExpired, "token_expired"},
	{CloseSlow, "slow"},
	{CloseReconnect, "reconnect"},
	{CloseNoPong, "no_pong"},
	{CloseRate, "rate"},
	{CloseRebalance, "rebalance"},
	{CloseBadToken, "bad_token"},
	{CloseBadFrame, "bad_frame"},
	{CloseNoHello, "no_hello"},
	{CloseKicked, "kicked"},
	{CloseConnectionLimit, "connection_limit"},
	{CloseForbidden, "forbidden"},
	{CloseTenantSuspended, "tenant_suspended"},
}

// Closings returns the close-code table in the order of [SW-6.2]. The slice is the caller's.
func Closings() []Closing { return slices.Clone(closings[:]) }

// Reconnect tells whether a client should connect again after c. Codes of RFC 6455 §7.4.1 below 3000 say yes:
// they come from proxies and lost networks.
func (c CloseCode) Reconnect() bool { return c < 3500 }

// String returns the reason, or "unknown" for a code that is not in the table.
func (c CloseCode) String() string {
	for i := range closings {
		if closings[i].Code == c {
			return closings[i].Reason
		}
	}
	return "unknown"
}
