package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"switchboard/client"
	"switchboard/wire"
)

// What a terminal may ask of a node.
const (
	tailMost   = 1_000_000
	slotsMost  = 10_000 // sessions that the connection of a worker follows
	windowMost = 256    // of more a node makes as many
)

// dialFlags are the flags of whoever connects to a node.
type dialFlags struct {
	addr, token string
	protobuf    bool
}

func (f *dialFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.addr, "addr", "127.0.0.1:7470", "host:port of the node, or its URL")
	fs.StringVar(&f.token, "token", "", "token; switchboard token makes one")
	fs.BoolVar(&f.protobuf, "protobuf", false, "speak Protobuf instead of JSON")
}

func (f *dialFlags) config() (client.Config, error) {
	if f.token == "" {
		return client.Config{}, usageError{fmt.Errorf("no token: set --token (make one with `switchboard token`)")}
	}
	url, err := socketURL(f.addr)
	if err != nil {
		return client.Config{}, err
	}
	away := false // hooks are called one after the other
	return client.Config{
		URL: url, Token: client.StaticToken(strings.TrimSpace(f.token)), Protobuf: f.protobuf, Client: "switchboard/" + version,
		On: client.Hooks{
			Connected: func(h client.Hello) {
				if away {
					fmt.Fprintf(os.Stderr, "connected again, to %s\n", h.Node)
				}
				away = false
			},
			Disconnected: func(err error, wait time.Duration) {
				if wait >= 0 {
					away = true
					fmt.Fprintf(os.Stderr, "not connected (%v); trying again in %v\n", err, wait.Round(10*time.Millisecond))
				}
			},
		},
	}, nil
}

// between is a usageError unless v is least to most. Flags have an int of their own: on the wire it has 32 bits.
func between(flag string, v, least, most int) error {
	if v < least || v > most {
		return usageError{fmt.Errorf("--%s is %d: it must be %d to %d", flag, v, least, most)}
	}
	return nil
}

func newChat() *cobra.Command {
	var f dialFlags
	var t talk
	cmd := &cobra.Command{
		Use:   "chat --token T",
		Short: "Talk as a customer, in the terminal or in a script",
		Long: `Talk as a customer: each line you type is sent, what is answered is printed. Once there was a connection it comes back by itself.
It ends with the end of input, or with /close, which closes the session.

With --json each line that is printed is an object, for scripts. The first is {"event":"session","session","customer"}; the others are the
entries of the session in their order: {"event":"said"} what was typed, once it is acknowledged, and {"event":"came"} what others said and
what happened, both with "session", "seq", "epoch", "ts" (Unix ms), "kind" (message or event), "type", "origin", "from", "name" and "body".
What else there is to say, as the place in line, is on standard error. --wait gives answers time after the end of input.`,
		Example: `  switchboard chat --token "$(switchboard token --data ./data --tenant demo --role customer --sub alice)"
  echo "where is my parcel?" | switchboard chat --token "$TOKEN" --tail 0 --json --wait 5s | jq -r 'select(.origin == "bot").body.text'`,
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := f.config()
			if err == nil {
				err = between("tail", t.open.Tail, 0, tailMost)
			}
			if err != nil {
				return err
			}
			cfg.On.State = places(cmd.ErrOrStderr())
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return t.chat(ctx, f.addr, cfg, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	f.add(cmd)
	fs := cmd.Flags()
	fs.StringVar(&t.open.Queue, "queue", "", "queue of a new session")
	fs.StringVar(&t.open.Shop, "shop", "", "shop of the session")
	fs.IntVar(&t.open.Tail, "tail", 20, "show so many of the latest entries first")
	fs.BoolVar(&t.asJSON, "json", false, "print one JSON object a line, also of what was said here")
	fs.DurationVar(&t.wait, "wait", 500*time.Millisecond, "how long to listen after the end of input, or after /close")
	return cmd
}

// talk is how a customer talks in the terminal.
type talk struct {
	open   client.OpenOptions
	asJSON bool
	wait   time.Duration // after the last line
}

// places returns what tells who waits where he stands in line, or when it opens: what is news to him.
func places(out io.Writer) func(*client.Session, client.State) {
	var last client.State // hooks are called one after the other
	return func(_ *client.Session, st client.State) {
		if st == last {
			return
		}
		last = st
		switch {
		case st.State != "queued":
		case !st.OpensAt.IsZero():
			_, _ = fmt.Fprintf(out, "nobody is there now; it opens at %s\n", st.OpensAt.Local().Format("Mon 2006-01-02 15:04 MST"))
		case st.Position > 0 && st.ETA[1] > 0:
			_, _ = fmt.Fprintf(out, "number %d in line; it will probably take %v to %v\n", st.Position, st.ETA[0].Round(time.Second), st.ETA[1].Round(time.Second))
		case st.Position > 0:
			_, _ = fmt.Fprintf(out, "number %d in line\n", st.Position)
		}
	}
}

// chat sends the lines of in, and prints what others say, as JSON also what it said itself.
func (t *talk) chat(ctx context.Context, addr string, cfg client.Config, in io.Reader, out io.Writer) error {
	c, err := dialFirst(ctx, addr, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	h := c.Hello()
	if h.Role != string(wire.RoleCustomer) {
		return usageError{fmt.Errorf("a customer talks here, and this is the token of %s, a %s: make one with --role customer", h.Sub, h.Role)}
	}
	s, err := c.Open(ctx, t.open)
	if err != nil {
		return err
	}
	tell := t.teller(s.ID(), h.Sub, out)
	if t.asJSON {
		err = json.NewEncoder(jsonShown{out}).Encode(map[string]string{"event": "session", "session": s.ID(), "customer": h.Sub})
	} else {
		_, err = fmt.Fprintf(out, "session %s; type a line, /close to end\n", s.ID())
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	shown := make(chan error, 1)
	go func() { shown <- show(ctx, s, tell) }()
	spoken := make(chan error, 1)
	go func() { spoken <- speak(ctx, s, in) }() // it may wait for a line for ever
	select {
	case err = <-spoken:
		select {
		case <-time.After(t.wait): // what is on its way gets a moment
		case <-ctx.Done():
		}
	case <-ctx.Done():
	}
	cancel()
	return errors.Join(err, <-shown)
}

// sendLate is when who typed a line is told that nobody has acknowledged it: the disk may be full, or the node away.
const sendLate = 3 * time.Second

func speak(ctx context.Context, s *client.Session, in io.Reader) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		text := strings.TrimSpace(lines.Text())
		switch text {
		case "":
			continue
		case "/close":
			return s.Close(ctx, "")
		}
		late := time.AfterFunc(sendLate, func() {
			fmt.Fprintln(os.Stderr, "not acknowledged yet: it is repeated until it is")
		})
		_, err := s.Send(ctx, "text", text)
		late.Stop()
		if err != nil {
			return err
		}
	}
	return lines.Err()
}

// teller returns what prints an entry of a session, as customer sees it.
func (t *talk) teller(session, customer string, out io.Writer) func(*client.Entry) error {
	if !t.asJSON {
		return func(e *client.Entry) error {
			if e.Own {
				return nil // he has typed it
			}
			_, err := fmt.Fprintln(out, describe(e))
			return err
		}
	}
	enc := json.NewEncoder(jsonShown{out})
	enc.SetEscapeHTML(false)
	return func(e *client.Entry) error {
		event := "came"
		if e.Own || e.Kind == wire.KindMessage && e.Origin == wire.OriginCustomer && e.From.ID == customer {
			event = "said"
		}
		return enc.Encode(chatLine{event, session, e.Seq, e.Epoch, e.TS, e.Kind, e.Type, string(e.Origin), e.From.ID, e.From.Name, e.Body})
	}
}

// chatLine is an entry as chat --json prints it.
type chatLine struct {
	Event   string          `json:"event"` // said or came
	Session string          `json:"session"`
	Seq     uint64          `json:"seq"`
	Epoch   uint64          `json:"epoch"`
	TS      int64           `json:"ts"` // Unix ms
	Kind    string          `json:"kind"`
	Type    string          `json:"type"`
	Origin  string          `json:"origin"`
	From    string          `json:"from,omitempty"`
	Name    string          `json:"name,omitempty"`
	Body    json.RawMessage `json:"body,omitempty"`
}

func show(ctx context.Context, s *client.Session, tell func(*client.Entry) error) error {
	for e, err := range s.Entries(ctx) {
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if err := tell(&e); err != nil {
			return err
		}
	}
	return nil
}

// describe is one entry as one line for people, whatever it holds.
func describe(e *client.Entry) string {
	if e.Kind == wire.KindEvent {
		return shown(fmt.Sprintf("· %s %s", e.Type, trim(e.Body)))
	}
	who := e.From.Name
	if who == "" {
		who = e.From.ID
	}
	text := e.Text()
	if text == "" {
		text = string(e.Body)
	}
	return shown(fmt.Sprintf("%s (%s): %s", who, e.Origin, text))
}

func trim(body []byte) string {
	if string(body) == "{}" || string(body) == "null" {
		return ""
	}
	return string(body)
}

func newWork() *cobra.Command {
	var f dialFlags
	cfg := client.WorkerConfig{}
	var queues string
	var echo, asJSON bool
	cmd := &cobra.Command{
		Use:   "work --token T",
		Short: "Answer as a worker: in the terminal, or with --echo as a bot",
		Long: `Answer as a worker. In the terminal, offers are accepted and each line you type answers the session that spoke
last; /close closes it, /release gives it back, /queue NAME transfers it, /note TEXT leaves a note for staff. With --echo a bot answers every message
with its own text, and hands over to a human when it reads "human".`,
		Example: `  switchboard work --echo --token "$(switchboard token --data ./data --role worker --kind bot --sub echo)"
  switchboard work --token "$(switchboard token --data ./data --role worker --kind human --sub bob)"`,
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			base, err := f.config()
			if err == nil {
				err = between("slots", cfg.Slots, 1, slotsMost)
			}
			if err == nil {
				err = between("window", cfg.Window, 1, windowMost)
			}
			if err != nil {
				return err
			}
			cfg.Config, cfg.Queues = base, strings.Split(queues, ",")
			greets(&cfg, !echo, cmd.ErrOrStderr())
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			if echo {
				err = client.Work(ctx, cfg, echoBot)
			} else {
				err = desk(ctx, cfg, cmd.InOrStdin(), cmd.OutOrStdout(), asJSON)
			}
			if ctx.Err() != nil {
				return nil
			}
			return err
		},
	}
	f.add(cmd)
	fs := cmd.Flags()
	fs.StringVar(&queues, "queues", "default", "queues to wait at, separated by commas")
	fs.IntVar(&cfg.Slots, "slots", 8, "sessions to hold at a time")
	fs.IntVar(&cfg.Window, "window", 16, "unanswered messages of each")
	fs.StringVar(&cfg.Instance, "instance", "", "tells workers of one sub apart")
	fs.BoolVar(&echo, "echo", false, "answer every message with its own text")
	fs.BoolVar(&asJSON, "json", false, "print what comes as JSON")
	return cmd
}

// greets says, once, that a worker is connected, and at which queues he waits: until a customer comes nothing else would.
func greets(cfg *client.WorkerConfig, human bool, out io.Writer) {
	next, told := cfg.On.Connected, false
	cfg.On.Connected = func(h client.Hello) {
		if !told && h.Role == string(wire.RoleWorker) {
			told = true
			_, _ = fmt.Fprintf(out, "connected to %s as %s; waiting for customers in %s\n", h.Node, h.Sub, strings.Join(cfg.Queues, ", "))
			if human {
				_, _ = fmt.Fprintln(out, "what you type answers who spoke last; /close, /release, /queue NAME, /note TEXT")
			}
		}
		next(h)
	}
}

// echoBot answers with the customer's own words.
func echoBot(ctx context.Context, s *client.Session, e client.Entry) error {
	if strings.EqualFold(strings.TrimSpace(e.Text()), "human") {
		return s.Transfer(ctx, client.TransferTo{Queue: s.Assignment().Queue, Note: "the customer asked for a human"})
	}
	_, err := s.Reply(ctx, "text", "you said: "+e.Text(), client.WithAck(e.Seq))
	return err
}

// desk is a human's place: what customers say is printed, what is typed answers whoever spoke last.
func desk(ctx context.Context, cfg client.WorkerConfig, in io.Reader, out io.Writer, asJSON bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var last current
	ready := make(chan struct{})
	cfg.Ready = func(*client.Client) { close(ready) }
	cfg.Begin = func(_ context.Context, s *client.Session) {
		last.set(s)
		a := s.Assignment()
		_, _ = fmt.Fprintf(out, "· %s is yours (%s, from %s)\n", s.ID(), a.Reason, a.Customer.ID)
		for i := range a.Tail {
			_, _ = fmt.Fprintf(out, "    %s\n", describe(&a.Tail[i]))
		}
	}
	cfg.Ended = func(s *client.Session, reason string) {
		last.drop(s)
		if reason != "" {
			reason = ": " + reason
		}
		_, _ = fmt.Fprintf(out, "· %s is not yours any more%s\n", s.ID(), reason)
	}
	typed := make(chan error, 1)
	go func() {
		err := last.listen(ctx, in)
		select { // the end of input ends the desk, but not before it is known whether the node takes its worker
		case <-ready:
		case <-ctx.Done():
		}
		typed <- err
		cancel()
	}()
	err := client.Work(ctx, cfg, func(_ context.Context, s *client.Session, e client.Entry) error {
		last.set(s)
		if asJSON {
			return json.NewEncoder(jsonShown{out}).Encode(map[string]any{"session": s.ID(), "seq": e.Seq, "from": e.From.ID, "body": json.RawMessage(e.Body)})
		}
		_, err := fmt.Fprintf(out, "[%s] %s\n", s.ID(), describe(&e))
		return err
	})
	select {
	case terr := <-typed:
		if !errors.Is(terr, context.Canceled) {
			err = errors.Join(err, terr)
		}
	default:
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
