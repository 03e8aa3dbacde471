package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"switchboard/exchange"
)

// answering opens a node over loopback that answers questions.
func answering(t *testing.T, cfg Config) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Cluster, cfg.Node, cfg.Log, cfg.Silence = "test", "b", slog.New(slog.DiscardHandler), 20*time.Second
	l, err := Open(exchange.New(1), ln, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return ln.Addr().String()
}

func TestAsk(t *testing.T) {
	addr := answering(t, Config{Answer: func(node string, question []byte) ([]byte, error) {
		if string(question) == "no" {
			return nil, errors.New("you know why")
		}
		return fmt.Appendf(nil, "%s asks %s, %s", node, question, strings.Repeat("x", 100_000)), nil
	}})
	who, answer, err := Ask(t.Context(), addr, Config{Node: "stranger"}, []byte("what"))
	if err != nil || who != "b" || !strings.HasPrefix(string(answer), "stranger asks what, xxx") || len(answer) < 100_000 {
		t.Fatalf("%s, %d bytes, %v", who, len(answer), err)
	}
	var refused Refused
	if _, _, err = Ask(t.Context(), addr, Config{Node: "b"}, []byte("no")); !errors.As(err, &refused) || refused.Error() != "you know why" {
		t.Fatal(err)
	}
	if _, _, err = Ask(t.Context(), addr, Config{Node: "b"}, make([]byte, headerMax+1)); !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
	if _, _, err = Ask(t.Context(), answering(t, Config{}), Config{Node: "a"}, nil); !errors.As(err, &refused) {
		t.Fatalf("who answers nothing says %v", err)
	}
}

func TestAskEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	asked, over := make(chan struct{}), make(chan struct{})
	addr := answering(t, Config{Answer: func(string, []byte) ([]byte, error) {
		close(asked)
		<-over
		return nil, nil
	}})
	defer close(over)
	go func() {
		<-asked
		cancel()
	}()
	if _, _, err := Ask(ctx, addr, Config{Node: "a"}, nil); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

// With TLS both sides know with whom they speak.
func TestAskOverTLS(t *testing.T) {
	ca, foreign, hour := newAuthority(t), newAuthority(t), time.Now().Add(time.Hour)
	yes := func(string, []byte) ([]byte, error) { return []byte("yes"), nil }
	addr := answering(t, Config{TLS: ca.config(t, ca, "b", hour), Answer: yes})
	impostor := answering(t, Config{TLS: ca.config(t, ca, "c", hour), Answer: yes})
	f := func(addr string, cfg Config, want string) {
		t.Helper()
		_, answer, err := Ask(t.Context(), addr, cfg, nil)
		if want == "" && (err != nil || string(answer) != "yes") || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s, %v; want %q", answer, err, want)
		}
	}
	f(addr, Config{Node: "a", TLS: ca.config(t, ca, "a", hour)}, "")
	f(addr, Config{Node: "a", TLS: ca.config(t, ca, "x", hour)}, "node a shows another's certificate")
	f(addr, Config{Node: "a", TLS: ca.config(t, foreign, "a", hour)}, "unknown certificate authority")
	f(addr, Config{Node: "a", TLS: foreign.config(t, ca, "a", hour)}, "unknown authority")
	f(impostor, Config{Node: "a", TLS: ca.config(t, ca, "a", hour)}, "node b shows another's certificate")
}
