package member

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"switchboard/wire"
)

// Names of files in a directory of certificates.
const (
	caCert = "ca.crt"
	caKey  = "ca.key"
)

// caYears and nodeYears are how long certificates are good: nobody is reminded, so it is long, and [Expiry] tells.
const (
	caYears   = 20
	nodeYears = 5
)

// MakeCerts makes, in dir, certificates for nodes of these names: NAME.crt and NAME.key for each, signed by the authority in
// ca.crt and ca.key, which is made when it is not there. What is there is never overwritten; nothing is written
// when anything would be. It returns the files that it made. Keys are ECDSA on P-256; only the owner may read the files.
func MakeCerts(dir string, nodes []string, now time.Time) (made []string, err error) {
	seen := map[string]bool{}
	for _, n := range nodes {
		if !wire.ValidID(n) || n == "ca" || seen[n] {
			return nil, fmt.Errorf("%q cannot be a node's certificate: a name is 1 to 64 of [A-Za-z0-9_.:-], not ca, and not given twice", n)
		}
		seen[n] = true
		for _, f := range []string{n + ".crt", n + ".key"} {
			if _, err := os.Lstat(filepath.Join(dir, f)); !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("%s is there already: nothing is overwritten; remove it, or choose another directory", filepath.Join(dir, f))
			}
		}
	}
	if len(nodes) == 0 {
		return nil, errors.New("no nodes are named")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	write := func(name, kind string, der []byte) error {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		err = pem.Encode(f, &pem.Block{Type: kind, Bytes: der})
		if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
			made = append(made, filepath.Join(dir, name))
		}
		return err
	}
	ca, key, err := authority(dir, now, write)
	if err != nil {
		return made, err
	}
	for _, n := range nodes {
		own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return made, err
		}
		tmpl := &x509.Certificate{
			SerialNumber: serial(), Subject: pkix.Name{CommonName: n}, DNSNames: []string{n},
			NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(nodeYears, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		}
		if err := sign(tmpl, ca, own, key, n, write); err != nil {
			return made, err
		}
	}
	return made, nil
}

// authority reads the authority of a directory, or makes it.
func authority(dir string, now time.Time, write func(name, kind string, der []byte) error) (*x509.Certificate, crypto.Signer, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, caCert), filepath.Join(dir, caKey))
	if err == nil {
		key, ok := pair.PrivateKey.(crypto.Signer)
		if !ok || !pair.Leaf.IsCA {
			return nil, nil, fmt.Errorf("%s is no authority", filepath.Join(dir, caCert))
		}
		return pair.Leaf, key, nil
	}
	_, errCert := os.Lstat(filepath.Join(dir, caCert))
	_, errKey := os.Lstat(filepath.Join(dir, caKey))
	if !errors.Is(errCert, fs.ErrNotExist) || !errors.Is(errKey, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("reading the authority, ca.crt and ca.key, in %s: %w", dir, err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "switchboard cluster"}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(caYears, 0, 0),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if err := sign(tmpl, tmpl, key, key, "ca", write); err != nil {
		return nil, nil, err
	}
	pair, err = tls.LoadX509KeyPair(filepath.Join(dir, caCert), filepath.Join(dir, caKey))
	return pair.Leaf, key, err
}

// sign writes the key and the certificate of name: the key first, so that no certificate is without one.
func sign(tmpl, parent *x509.Certificate, own *ecdsa.PrivateKey, by crypto.Signer, name string, write func(name, kind string, der []byte) error) error {
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, own.Public(), by)
	if err != nil {
		return fmt.Errorf("signing the certificate of %s: %w", name, err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		return err
	}
	if err := write(name+".key", "PRIVATE KEY", secret); err != nil {
		return err
	}
	return write(name+".crt", "CERTIFICATE", der)
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return n.Add(n, big.NewInt(1))
}

// LoadTLS reads what the node of this name needs from dir: ca.crt, NAME.crt and NAME.key. The authority's key is not needed on a
// node, and better kept elsewhere.
func LoadTLS(dir, node string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, node+".crt"), filepath.Join(dir, node+".key"))
	if err != nil {
		return nil, fmt.Errorf("reading the certificate of node %s: %w; switchboard cluster certs makes one", node, err)
	}
	if err := pair.Leaf.VerifyHostname(node); err != nil {
		return nil, fmt.Errorf("%s is another node's certificate: %w", filepath.Join(dir, node+".crt"), err)
	}
	b, err := os.ReadFile(filepath.Join(dir, caCert))
	if err != nil {
		return nil, fmt.Errorf("reading the cluster's authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s has no certificate", filepath.Join(dir, caCert))
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, ClientCAs: pool, MinVersion: tls.VersionTLS13}, nil
}

// Expiry returns when the certificate of a configuration made by [LoadTLS] ends.
func Expiry(cfg *tls.Config) time.Time { return cfg.Certificates[0].Leaf.NotAfter }
