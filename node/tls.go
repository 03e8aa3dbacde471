package node

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"

	"switchboard/edge/secure"
)

// TLS is what the node shows to those who connect. Without files it speaks in the clear.
type TLS struct {
	// Cert and Key are PEM files: the certificate with those that vouch for it, and its key. They are read again when they
	// change, and at Reload; connections that are open keep what they have.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// Min is the lowest version that is spoken, "1.2" (default) or "1.3".
	Min string `yaml:"min"`
}

func (t *TLS) validate() error {
	switch {
	case (t.Cert == "") != (t.Key == ""):
		return errors.New("TLS takes two files: set both --tls-cert and --tls-key")
	case t.Cert == "" && t.Min != "":
		return errors.New("tls.min is set, and there is no certificate: set tls.cert and tls.key")
	}
	switch t.Min {
	case "", "1.2", "1.3":
		return nil
	}
	return fmt.Errorf("tls.min is %q: it must be 1.2 or 1.3", t.Min)
}

// open reads the files. Both results are nil when there are none.
func (t *TLS) open(log *slog.Logger) (*secure.Files, *tls.Config, error) {
	if t.Cert == "" {
		return nil, nil, nil
	}
	files, err := secure.OpenFiles(t.Cert, t.Key, log)
	if err != nil {
		return nil, nil, err
	}
	least := uint16(tls.VersionTLS12)
	if t.Min == "1.3" {
		least = tls.VersionTLS13
	}
	return files, secure.Config(files, least), nil
}

// Reload reads the certificate and its key again. When they cannot be used, those before stay. Without TLS it does nothing.
func (n *Node) Reload() error {
	if n.cert == nil {
		return nil
	}
	return n.cert.Reload()
}

// Secure tells whether the node speaks TLS.
func (n *Node) Secure() bool { return n.cert != nil }
