package session

import (
	"strings"
	"testing"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// Fingerprints and hashes of payloads stand in logs: however they are computed, they stay what they are.
func TestHashesStay(t *testing.T) {
	f := func(what string, got, want uint64) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %#x; want %#x", what, got, want)
		}
	}
	f("fingerprint", Fingerprint("alice", "k-1"), 0x18a2a55aa629dc44)
	f("fingerprint of nothing", Fingerprint("", ""), 0xe934a84adb052768)
	f("fingerprint of a long key", Fingerprint("alice", strings.Repeat("k", 300)), 0x98a1c4184b3b574e)

	c := wire.Command{Verb: wire.VerbSend, Type: "text", Body: []byte(`{"text":"hi"}`)}
	f("send", payloadHash(&c), 0x287deb350b3b40fb)
	c.Body = []byte(`"` + strings.Repeat("hi ", 5000) + `"`)
	f("a long send", payloadHash(&c), 0x3929b489e9559b71)
	c.Reason = strings.Repeat("because ", 200)
	f("with a long reason", payloadHash(&c), 0xf048101ac241c79b)
	c = wire.Command{
		Verb: wire.VerbReply, Type: "text", Body: []byte(`1`), Visibility: wire.Staff, Stream: "s", Reason: "r", ReplyTo: 7, Seq: 1 << 40, DelayMS: -1,
		Ack: wire.Some(3), Upto: wire.Some(1 << 63),
	}
	f("a reply with everything", payloadHash(&c), 0x7a7d71628662fa7d)
	c = wire.Command{Verb: wire.VerbTransfer, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Transfer{Transfer: &wirepb.Transfer{
		To: &wirepb.Target{Queue: "default", Kind: "human"}, Note: "n", Context: []byte(`{}`),
	}}}}
	f("a transfer", payloadHash(&c), 0x7a031096e4e82ec5)
}
