package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"switchboard/client"
	"switchboard/wire"
)

// What somebody else has said is one line of a terminal, and gives it no orders.
func TestWordsGiveTheTerminalNoOrders(t *testing.T) {
	f := func(said, want string) {
		t.Helper()
		body, err := json.Marshal(map[string]string{"text": said})
		if err != nil {
			t.Fatal(err)
		}
		e := client.Entry{Entry: wire.Entry{Kind: wire.KindMessage, Origin: wire.OriginCustomer, Body: body}}
		e.From.ID = "alice"
		if got := describe(&e); got != "alice (customer): "+want {
			t.Errorf("%q is shown as %q", said, got)
		}
	}
	f("hello, 你好 👩‍💻 \"a\" 'b' \\n", "hello, 你好 👩‍💻 \"a\" 'b' \\n")
	f("\x1b]52;c;ZXZpbA==\a\x1b[2J", `\x1b]52;c;ZXZpbA==\a\x1b[2J`)
	f("hi\n· s_1 is yours (offer, from bob)\r\tx", `hi\n· s_1 is yours (offer, from bob)\r\tx`)
	f("\u009b2J \u202etxt.exe \x7f", `\u009b2J \u202etxt.exe \x7f`)

	e := client.Entry{Entry: wire.Entry{Kind: wire.KindMessage, Origin: wire.OriginHuman, Body: []byte(`{"text":"hi"}`)}}
	e.From.Name = "Bo\u202eb"
	if got := describe(&e); got != `Bo\u202eb (human): hi` {
		t.Errorf("a name is shown as %q", got)
	}
	e.From.Name = "Bo\x9b2Jb"
	if got := describe(&e); got != "Bo\ufffd2Jb (human): hi" {
		t.Errorf("a byte that is no text is shown as %q", got)
	}
	e.Kind, e.Type, e.Body = wire.KindEvent, "session.rated", []byte("{\"comment\":\"\u009bA\"}")
	if got := describe(&e); got != `· session.rated {"comment":"\u009bA"}` {
		t.Errorf("an event is shown as %q", got)
	}
	var out bytes.Buffer
	if err := printEntry(&out, []byte("{\"seq\":1,\"body\":{\"text\":\"\u009b2J\u202e\x7f\"}}"), false); err != nil || !strings.HasSuffix(out.String(), `{"text":"\u009b2J\u202e\x7f"}`+"\n") {
		t.Errorf("the log is %q, %v", out.String(), err)
	}
}

// Scripts read by --json what was said; a terminal that shows it is given no orders by it.
func TestJSONGivesTheTerminalNoOrders(t *testing.T) {
	const said = "hello, 你好 👩‍💻 \n\x1b \u009b2J \u202etxt.exe\u2066 \x7f \U000e0041 \u2028"
	const safe = `"hello, 你好 👩‍💻 \n\u001b \u009b2J \u202etxt.exe\u2066 \u007f \udb40\udc41 \u2028"`
	body, err := json.Marshal(map[string]string{"text": said})
	if err != nil {
		t.Fatal(err)
	}
	f := func(what string, out []byte) {
		t.Helper()
		var got struct{ Body struct{ Text string } }
		if err := json.Unmarshal(out, &got); err != nil || got.Body.Text != said {
			t.Errorf("%s says %q, %v", what, got.Body.Text, err)
		}
		if !bytes.Contains(out, []byte(safe)) || !bytes.HasSuffix(out, []byte("}\n")) {
			t.Errorf("%s prints %q", what, out)
		}
	}
	var out bytes.Buffer
	if err := printEntry(&out, fmt.Appendf(nil, `{"seq":1,"body":%s}`, body), true); err != nil {
		t.Fatal(err)
	}
	f("log", out.Bytes())
	out.Reset()
	e := client.Entry{Entry: wire.Entry{Kind: wire.KindMessage, Origin: wire.OriginBot, Body: body}}
	if err := (&talk{asJSON: true}).teller("s_1", "alice", &out)(&e); err != nil {
		t.Fatal(err)
	}
	f("chat", out.Bytes())
	if got := shownJSON([]byte("{\"a\":\"\x9b\"}\n")); string(got) != "{\"a\":\"\ufffd\"}\n" {
		t.Errorf("a byte that is no text is %q", got)
	}
}

// A page of somebody else's, whose name leads to this machine by the time that it asks, gets no tokens: it comes under its own name.
func TestDemoTokensStayHere(t *testing.T) {
	f := func(host string, want bool) {
		t.Helper()
		if got := namesUs(host); got != want {
			t.Errorf("Host %q is this machine: %v", host, got)
		}
	}
	for _, host := range []string{"127.0.0.1:7470", "localhost:7470", "LocalHost", "[::1]:7470", "[::1]", "127.0.0.1", "127.3.2.1:80"} {
		f(host, true)
	}
	for _, host := range []string{"evil.example:7470", "evil.example", "127.0.0.1.evil.example:7470", "localhost.evil.example", "10.0.0.1:7470", "", ":7470", "0.0.0.0:7470"} {
		f(host, false)
	}
}
