package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"switchboard/client"
	"switchboard/wire"
)

// tokens is where a client has its token from.
type tokens = func(context.Context) (string, error)

// broker starts a server for the examples; a real one is `switchboard serve --dev`, and where SWITCHBOARD_EXAMPLES says where one is and which tokens
// are good for it ({"url","tokens":{"alice":…}}) the examples talk to that.
func broker() (url string, token func(sub string) tokens, stop func()) {
	if v := os.Getenv("SWITCHBOARD_EXAMPLES"); v != "" {
		var node struct {
			URL    string
			Tokens map[string]string
		}
		if err := json.Unmarshal([]byte(v), &node); err != nil {
			panic(err)
		}
		return node.URL, func(sub string) tokens { return client.StaticToken(node.Tokens[sub]) }, func() {}
	}
	m := newModel(1)
	if err := m.listen(); err != nil {
		panic(err)
	}
	return m.url, client.StaticToken, m.close // to the model a name is a token
}

// A frontend and a bot, each in a few lines.
func Example() {
	url, token, stop := broker()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	// The bot.
	working, retire := context.WithCancel(ctx)
	defer retire()
	subscribed, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- client.Work(working, client.WorkerConfig{
			Config: client.Config{URL: url, Token: token("faq")},
			Queues: []string{"default"},
			Ready:  func(*client.Client) { close(subscribed) },
		}, client.Echo("you said: "))
	}()
	<-subscribed

	// The customer.
	c, err := client.Dial(ctx, client.Config{URL: url, Token: token("alice"), Protobuf: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	s, err := c.Open(ctx, client.OpenOptions{Queue: "default"})
	if err != nil {
		fmt.Println(err)
		return
	}
	answer, err := s.Ask(ctx, "text", "where is my order?")
	fmt.Println(answer.Text(), err)

	retire()
	fmt.Println(<-ended, c.Close())
	// Output:
	// you said: where is my order? <nil>
	// <nil> <nil>
}

// Entries are read like this. A program that keeps the position continues behind it after a restart.
func ExampleSession_Entries() {
	url, token, stop := broker()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := client.Dial(ctx, client.Config{URL: url, Token: token("ben")})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close() //nolint:errcheck // it cannot fail
	s, err := c.Open(ctx, client.OpenOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, text := range []string{"one", "two"} {
		if _, err := s.Send(ctx, "text", text); err != nil {
			fmt.Println(err)
		}
	}
	for e, err := range s.Entries(ctx) {
		if err != nil {
			fmt.Println(err)
			break
		}
		if e.Kind == wire.KindEvent {
			continue // the session was opened, queued, …
		}
		fmt.Println(e.Own, e.Text(), s.Position() == e.At())
		if e.Text() == "two" {
			break
		}
	}
	// Output:
	// true one true
	// true two true
}

// A bot that writes while it thinks: everybody sees the text grow, and the final message is durable. When the model
// fails the entry is given back, and comes again after ten seconds.
func ExampleSession_Stream() {
	think := func(ctx context.Context, question string, say func(string) error) error {
		return errors.Join(say("Let me "), say("see: "), say(question), ctx.Err())
	}
	answer := func(ctx context.Context, s *client.Session, e client.Entry) error {
		w := s.Stream("")
		err := think(ctx, e.Text(), func(piece string) error { _, err := w.WriteString(piece); return err })
		if err != nil {
			return client.Later(10*time.Second, err)
		}
		_, err = w.End(ctx, "text", nil, client.WithAck(e.Seq))
		return err
	}

	url, token, stop := broker()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	working, retire := context.WithCancel(ctx)
	defer retire()
	subscribed, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- client.Work(working, client.WorkerConfig{
			Config: client.Config{URL: url, Token: token("faq")}, Queues: []string{"default"},
			Ready: func(*client.Client) { close(subscribed) },
		}, answer)
	}()
	<-subscribed
	c, err := client.Dial(ctx, client.Config{URL: url, Token: token("carol")})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close() //nolint:errcheck // it cannot fail
	s, err := c.Open(ctx, client.OpenOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	got, err := s.Ask(ctx, "text", "my order")
	fmt.Println(got.Text(), err)
	retire()
	fmt.Println(<-ended)
	// Output:
	// Let me see: my order <nil>
	// <nil>
}

// A worker that hands over to people when it does not know, unless the customer has said more meanwhile.
func ExampleSession_Transfer() {
	_ = func(ctx context.Context, s *client.Session, e client.Entry) error {
		if e.Text() != "human" {
			_, err := s.Reply(ctx, "text", "say human to talk to one", client.WithAck(e.Seq))
			return err
		}
		if _, err := s.SetContext(ctx, map[string]any{"intent": "refund"}); err != nil {
			return err
		}
		return s.Transfer(ctx, client.TransferTo{Queue: "refunds", Note: "wants his money back"}, client.UpTo(e.Seq))
	}
}
