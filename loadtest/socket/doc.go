// Package socket is a WebSocket client for load tests: as cheap as it can be, and nothing else. It speaks the JSON
// subprotocol, answers pings, and knows of frames only where they end.
//
// Thousands of them live in one process, so an idle one holds no buffer: it waits in the poller, and takes one when there is
// something to read. Writes never wait: what the system does not take at once a goroutine writes, so that one server that
// does not read stops nobody who has others to serve. Full (4 MiB of one socket) is an error.
package socket
