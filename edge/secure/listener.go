package secure

import (
	"crypto/tls"
	"net"
)

// listener makes accepted sockets TLS connections, whose handshakes are left to whoever serves them.
type listener struct {
	net.Listener
	cfg *tls.Config
	met func(tls.ConnectionState, error)
}

// Listen returns a listener whose Accept returns a *Conn over each socket of ln. met is told how each handshake went, from
// the goroutine that serves the connection; it may be nil.
func Listen(ln net.Listener, cfg *tls.Config, met func(tls.ConnectionState, error)) net.Listener {
	return &listener{ln, cfg, met}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	sock, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return Server(sock, l.cfg, l.met), nil
}

// Config returns what a server of WebSockets speaks: TLS of at least version min, 0 for 1.2, and HTTP/1.1 alone. Which ciphers
// is Go's choice.
func Config(files *Files, min uint16) *tls.Config {
	if min == 0 {
		min = tls.VersionTLS12
	}
	return &tls.Config{MinVersion: min, NextProtos: []string{"http/1.1"}, GetCertificate: files.Get} //nolint:gosec // 1.2 at least
}
