package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/valyala/fasthttp"

	"switchboard/client"
	"switchboard/console"
	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/wire"
)

// Where a demo keeps what is said when nobody names a directory: of one node, and of several.
const demoData, crewData = "demo-data", "cluster-data"

func newDemo() *cobra.Command {
	var f nodeFlags
	var nodes int
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a node with a FAQ bot and a web page to try it",
		Long: `Run a node with a FAQ bot inside and a web page: a customer on the left, an agent beside him, the session's log
on the right. Ask the bot something, say "human", accept in the agent's pane. Then pull the plug (Ctrl-C, or kill -9),
start it again, and find every word.

With --nodes 3 it is a cluster of three processes, each with its page. Kill any of them: the others go on at once, and after
some seconds it is started again and catches up.`,
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if nodes < 1 {
				return usageError{fmt.Errorf("--nodes is %d: it must be 1 or more", nodes)}
			}
			f.cfg.Dev = true
			if nodes > 1 && f.cfg.Data == "" {
				f.cfg.Data = crewData
			}
			if f.cfg.Data == "" && f.file == "" {
				f.cfg.Data = demoData
			}
			if nodes > 1 {
				c, err := newCrew(cmd, &f, nodes)
				if err != nil {
					return err
				}
				return c.run(cmd)
			}
			if err := f.load(cmd); err != nil {
				return err
			}
			f.cfg.Dev = true
			return demo(cmd, f.cfg)
		},
	}
	f.add(cmd)
	cmd.Flags().Lookup("data").Usage = "directory of everything durable; created when missing (default " + demoData + ", with --nodes " + crewData + ")"
	cmd.Flags().IntVar(&nodes, "nodes", 1, "processes of a cluster on this machine")
	return cmd
}

// demo runs the node, the bot and the page until it is asked to stop.
func demo(cmd *cobra.Command, cfg node.Config) error {
	page := &demoPage{}
	cfg.Static = page.serve
	asked := untilSignal()
	n, err := start(asked, cfg)
	if err != nil {
		return unlessAsked(asked, cfg.Log, err)
	}
	page.node.Store(n)
	bot, err := n.Mint(token.Claims{Tenant: "demo", Sub: "faq", Role: wire.RoleWorker, Name: "FAQ bot", Kind: wire.OriginBot, Queues: []string{"*"}}, demoTTL)
	if err != nil {
		return errors.Join(err, n.Close(cmd.Context()))
	}
	socket := "ws://"
	var itself *tls.Config
	if n.Secure() {
		socket = "wss://"
		itself = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // it is this process, on loopback; its certificate is of whatever name
	}
	ctx, cancel := context.WithCancel(asked)
	defer cancel()
	stopped := make(chan error, 1)
	go func() {
		stopped <- client.Work(ctx, client.WorkerConfig{
			Config: client.Config{URL: socket + n.Addr() + connectPath, Token: client.StaticToken(bot), Client: "faq-bot/" + version, TLS: itself},
			Queues: []string{"default"}, Slots: 100, Instance: cfg.Name, // every node of a cluster has one
		}, faq)
	}()
	if _, err := fmt.Fprintf(cmd.OutOrStdout(), "\n  Open  %s://%s/\n\n  Data is in %s. Ctrl-C stops; start again and every word is there.\n\n", scheme(n), n.Addr(), cfg.Data); err != nil {
		cancel()
	}
	<-ctx.Done()
	err = <-stopped
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, n.Close(context.Background()))
}

const demoTTL = 24 * time.Hour

// demoPage serves the page and its tokens.
type demoPage struct{ node atomic.Pointer[node.Node] } // nil until the node has started

func (p *demoPage) serve(ctx *fasthttp.RequestCtx) bool {
	path := string(ctx.Path())
	if n := p.node.Load(); n != nil && path == "/demo/tokens.json" && namesUs(string(ctx.Host())) {
		tokens(ctx, n)
		return true
	}
	body, contentType, ok := console.Serve(path)
	if !ok {
		return false
	}
	ctx.SetContentType(contentType)
	ctx.Response.Header.Set("Content-Security-Policy", console.Policy)
	ctx.Response.Header.Set("Cache-Control", "no-cache")
	ctx.SetBody(body)
	return true
}

// namesUs tells whether a request's Host names this machine. A page of somewhere else, whose name its owner lets lead to 127.0.0.1 once it is loaded, is of this origin
// to a browser; only its name betrays it.
func namesUs(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.Trim(host, "[]")
	}
	ip, err := netip.ParseAddr(name)
	return err == nil && ip.Unmap().IsLoopback() || strings.EqualFold(name, "localhost")
}

// tokens hands out tokens to whoever can reach loopback: that is what a demo is.
func tokens(ctx *fasthttp.RequestCtx, n *node.Node) {
	mint := func(c token.Claims) string {
		t, err := n.Mint(c, demoTTL)
		if err != nil {
			fmt.Fprintln(os.Stderr, "minting a demo token:", err)
		}
		return t
	}
	doc, _ := json.Marshal(map[string]string{ // of strings, it cannot fail
		"customer": mint(token.Claims{Tenant: "demo", Sub: "alice", Role: wire.RoleCustomer, Name: "Alice"}),
		"agent":    mint(token.Claims{Tenant: "demo", Sub: "bob", Role: wire.RoleWorker, Name: "Bob", Kind: wire.OriginHuman, Queues: []string{"*"}}),
		"observer": mint(token.Claims{Tenant: "demo", Sub: "sue", Role: wire.RoleSupervisor, Name: "Sue"}),
	})
	ctx.SetContentType("application/json")
	ctx.Response.Header.Set("Cache-Control", "no-store")
	ctx.SetBody(doc)
}

// questions are what the FAQ bot knows: words, one of which must occur, and the answer.
var questions = []struct {
	words  []string
	answer string
}{
	{[]string{"hello", "hi", "hey", "good morning", "hallo", "你好"}, "Hello! Ask me about orders, shipping, returns or coupons, or say “human”."},
	{[]string{"order", "package", "parcel", "where is"}, "Your order 1042 left our warehouse this morning and should arrive tomorrow before noon."},
	{[]string{"ship", "deliver", "arrive"}, "Standard shipping takes two to three days; express arrives the next day."},
	{[]string{"return", "refund", "money back"}, "You can return anything within 30 days. I can send you a label, or say “human” for special cases."},
	{[]string{"coupon", "discount", "promo"}, "WELCOME10 takes ten percent off your first order."},
	{[]string{"thank", "bye"}, "You are welcome. Have a good day!"},
}

// faq answers what it knows, a word at a time, and hands over what it does not.
func faq(ctx context.Context, s *client.Session, e client.Entry) error {
	text := strings.ToLower(e.Text())
	if strings.Contains(text, "human") || strings.Contains(text, "agent") {
		if _, err := s.Reply(ctx, "text", "One moment, I am getting a colleague.", client.WithAck(e.Seq)); err != nil {
			return err
		}
		return s.Transfer(ctx, client.TransferTo{Queue: "default", Note: "the customer asked for a human", Context: map[string]any{"last_question": e.Text()}})
	}
	answer := "I do not know that one. Ask about orders, shipping, returns or coupons, or say “human”."
	for _, q := range questions {
		if matches(text, q.words) {
			answer = q.answer
			break
		}
	}
	return stream(ctx, s, e.Seq, answer)
}

func matches(text string, words []string) bool {
	for _, w := range words {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}

// stream says answer word by word, as a language model would, and ends it with the durable entry.
func stream(ctx context.Context, s *client.Session, ack uint64, answer string) error {
	w := s.Stream(fmt.Sprintf("a%d", ack))
	words := strings.SplitAfter(answer, " ")
	for _, word := range words {
		if _, err := w.WriteString(word); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(30 * time.Millisecond):
		}
	}
	_, err := w.End(ctx, "text", answer, client.WithAck(ack))
	return err
}
