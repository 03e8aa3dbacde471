package node_test

import (
	"strings"
	"testing"
	"time"

	"switchboard/cluster/member"
	"switchboard/node"
)

// A node tells until when the certificate is good that it shows other nodes: nobody else reminds of it.
func TestClusterCertificateEnds(t *testing.T) {
	certs := t.TempDir()
	if _, err := member.MakeCerts(certs, []string{"n1"}, time.Unix(1_700_000_000, 0)); err != nil {
		t.Fatal(err)
	}
	n, err := node.Start(node.Config{
		Data: t.TempDir(), Name: "n1", Listen: "127.0.0.1:0", Dev: true, Cluster: node.Cluster{Listen: "127.0.0.1:0", TLS: certs},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	const want = "switchboard_cluster_certificate_expires_seconds 1.857"
	if m := metrics(t, n); !strings.Contains(m, want) {
		t.Errorf("no %s in\n%s", want, m)
	}
}
