package swarm

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"time"
)

// Trust says that the node speaks TLS, and which certificates are believed.
type Trust struct {
	// CA is PEM of those who may vouch for the node; empty is what the system believes.
	CA string `json:"ca,omitempty"`
	// Insecure believes everybody.
	Insecure bool `json:"insecure,omitempty"`
}

// config returns what a client of the node speaks; nil, of no Trust, is in the clear.
func (t *Trust) config() (*tls.Config, error) {
	if t == nil {
		return nil, nil //nolint:nilnil // it is said above
	}
	cfg := &tls.Config{InsecureSkipVerify: t.Insecure, MinVersion: tls.VersionTLS12} //nolint:gosec // when it is asked for
	if t.CA != "" {
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM([]byte(t.CA)) {
			return nil, errors.New("there is no certificate in what is to be trusted")
		}
	}
	return cfg, nil
}

// web returns a client for the node's own pages, and the beginning of their URLs.
func (t *Trust) web(addr string, timeout time.Duration) (client http.Client, base string, err error) {
	cfg, err := t.config()
	if err != nil {
		return client, "", err
	}
	client = http.Client{Timeout: timeout}
	if cfg == nil {
		return client, "http://" + addr, nil
	}
	client.Transport = &http.Transport{TLSClientConfig: cfg}
	return client, "https://" + addr, nil
}
