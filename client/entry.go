package client

import (
	"encoding/json"
	"fmt"
	"time"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// Entry is one record of a session's log, as this client sees it. Its Body is not to be changed.
type Entry struct {
	wire.Entry
	// Own is set on entries that this client wrote over its current connection: they were put in their place by the
	// server's answer, not pushed [SW-4.4]. From.Name and what the server adds beside seq, epoch and ts are empty.
	Own bool
	// AE is the assignment under which a worker received the entry, 0 otherwise.
	AE uint64
	// Attempt counts how often a worker was handed the entry, from 1; 0 for entries that need no answer [SW-5.4].
	Attempt uint32
}

// Text returns the "text" of the body, or "" when there is none.
func (e *Entry) Text() string {
	var b struct {
		Text string `json:"text"`
	}
	if json.Unmarshal(e.Body, &b) != nil {
		return ""
	}
	return b.Text
}

// Reset tells of a break in a session's log [SW-3.2].
type Reset struct {
	// How is "truncated": the log ends at At, and what the application has after it was lost; or "reset": the position
	// is below retention or unknown, and the latest entries follow.
	How string
	At  uint64
}

// State is where a session stands.
type State struct {
	State    string // new, queued, assigned, closed
	Queue    string
	Position uint32 // in the queue, from 1; 0 when unknown
	ETA      [2]time.Duration
	// OpensAt is when its queue or shop opens again, while it waits outside of hours; else the zero Time.
	OpensAt time.Time
}

// Draft is a message that is being written [SW-4.8].
type Draft struct {
	Stream string
	Text   string // all so far
	// Ended says that no more will come: the durable entry follows or has come, or the stream is gone without one.
	Ended bool
}

// Sent is the server's answer to a word of ours. The entry is durable.
type Sent struct {
	Seq, Epoch uint64
	TS         int64 // Unix ms
	Duplicate  bool  // the same key had been used before; this is the first result
}

// textBody returns the usual body of a message of type "text".
func textBody(s string) []byte {
	return append(wire.AppendString([]byte(`{"text":`), s), '}')
}

// bodyOf returns v as one JSON value: a string becomes {"text":v}, bytes are taken as JSON, the rest is marshalled.
func bodyOf(v any) ([]byte, error) {
	var b []byte
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		return textBody(v), nil
	case []byte:
		b = v
	case json.RawMessage:
		b = v
	default:
		var err error
		if b, err = json.Marshal(v); err != nil {
			return nil, fmt.Errorf("marshalling the body: %w", err)
		}
	}
	// Checked here, because a JSON frame around a broken body cannot be followed and would end the connection [SW-2.2].
	if err := wire.ValidJSON(b); err != nil {
		return nil, &wire.Error{Slug: wire.InvalidBody, Message: err.Error()}
	}
	return wire.AppendBody(nil, b), nil
}

// errorOf returns a refusal as a value.
func errorOf(m *wirepb.Error) *wire.Error {
	return &wire.Error{Slug: wire.Slug(m.Slug), Message: m.Message, RetryAfter: time.Duration(m.RetryAfterMs) * time.Millisecond, Detail: m.Detail}
}

// again tells whether a request that ended with m may be sent again by itself. Conflicts of content are the caller's
// to solve, a used-up quota does not come back soon.
func again(m *wirepb.Error) bool {
	retry := wire.Retry(m.Retry)
	if retry == "" {
		retry = wire.FaultOf(wire.Slug(m.Slug)).Retry
	}
	switch retry {
	case wire.RetryAfter, wire.RetryBackoff:
		return wire.Slug(m.Slug) != wire.QuotaExceeded
	case wire.RetryNow:
		return wire.Slug(m.Slug) == wire.TooManyInflight
	case wire.RetryToken:
		return true
	case wire.RetryNever:
	}
	return false
}

func entryOf(m *wirepb.Entry) Entry { return Entry{Entry: wire.EntryOf(m)} }

func deliveryOf(m *wirepb.Delivery) Entry {
	return Entry{AE: m.Ae, Attempt: m.Attempt, Entry: wire.Entry{
		Session: wire.SessionID(m.Session), Seq: m.Seq, Epoch: m.Epoch, TS: m.Ts, From: wire.AuthorOf(m.From), Origin: wire.Origin(m.Origin),
		Kind: m.Kind, Type: m.Type, Body: m.Body, Visibility: m.Visibility, Channel: m.Channel, ReplyTo: m.ReplyTo, Stream: m.Stream,
	}}
}
