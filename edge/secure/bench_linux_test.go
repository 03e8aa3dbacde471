package secure

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// threadCPU is the processor time of this thread.
func threadCPU(b *testing.B) time.Duration {
	const thread = 1 // RUSAGE_THREAD
	var u syscall.Rusage
	if err := syscall.Getrusage(thread, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkHandshake reports the server's processor time of a handshake over loopback, with a P-256 certificate and what Go's
// client asks for (X25519MLKEM768 and AES-GCM): a first one, and one that resumes.
func BenchmarkHandshake(b *testing.B) {
	p := newPair(b)
	pem, err := os.ReadFile(p.cert)
	if err != nil {
		b.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	f := func(name string, cache tls.ClientSessionCache, max uint16) {
		b.Run(name, func(b *testing.B) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			var wg sync.WaitGroup
			wg.Go(func() {
				for {
					c, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{RootCAs: roots, ClientSessionCache: cache, MaxVersion: max}) //nolint:gosec // a test's
					if err != nil {
						return
					}
					_, _ = c.Read(make([]byte, 1)) // the ticket
					_ = c.Close()
				}
			})
			cfg := Config(p.open(nil), 0)
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			var cpu time.Duration
			resumed := 0
			for range b.N {
				sock, err := ln.Accept()
				if err != nil {
					b.Fatal(err)
				}
				s := Server(sock, cfg, nil)
				from := threadCPU(b)
				if err := s.Handshake(); err != nil {
					b.Fatal(err)
				}
				cpu += threadCPU(b) - from
				if s.ConnectionState().DidResume {
					resumed++
				}
				_ = s.Close()
			}
			_ = ln.Close()
			wg.Wait()
			b.ReportMetric(float64(cpu.Microseconds())/float64(b.N), "server-cpu-µs/op")
			b.ReportMetric(float64(resumed)/float64(b.N), "resumed/op")
		})
	}
	f("full", nil, 0)
	f("resumed", tls.NewLRUClientSessionCache(1), 0)
	f("full-1.2", nil, tls.VersionTLS12)
}
