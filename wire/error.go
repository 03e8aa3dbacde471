package wire

import (
	"slices"
	"strconv"
	"time"
)

// Retry tells a client what to do with a refused request [SW-6.1].
type Retry string

// The five answers to "shall I try again?".
const (
	RetryNever   Retry = "never"         // the same request will be refused again
	RetryNow     Retry = "now"           // at once, with the same key
	RetryAfter   Retry = "after"         // when RetryAfter has passed
	RetryBackoff Retry = "backoff"       // with growing, jittered pauses, with the same key
	RetryToken   Retry = "refresh_token" // after a refresh with a new token
)

// Slug names an error for programs. It never changes once released.
type Slug string

// The slugs of [SW-6.1], in the order of their table.
const (
	BadRequest          Slug = "bad_request"
	UnknownVerb         Slug = "unknown_verb"
	Unauthenticated     Slug = "unauthenticated"
	TokenExpired        Slug = "token_expired"
	Forbidden           Slug = "forbidden"
	NoSession           Slug = "no_session"
	NoQueue             Slug = "no_queue"
	NoWorker            Slug = "no_worker"
	StaleAssignment     Slug = "stale_assignment"
	IdempotencyConflict Slug = "idempotency_conflict"
	SessionClosed       Slug = "session_closed"
	VersionConflict     Slug = "version_conflict"
	OfferRescinded      Slug = "offer_rescinded"
	NotDelivered        Slug = "not_delivered"
	Unanswered          Slug = "unanswered"
	IdentityTaken       Slug = "identity_taken"
	OfferExpired        Slug = "offer_expired"
	PositionGone        Slug = "position_gone"
	TooLarge            Slug = "too_large"
	InvalidBody         Slug = "invalid_body"
	RateLimited         Slug = "rate_limited"
	QuotaExceeded       Slug = "quota_exceeded"
	TooManyInflight     Slug = "too_many_inflight"
	Internal            Slug = "internal"
	Overloaded          Slug = "overloaded"
	Unavailable         Slug = "unavailable"
	Draining            Slug = "draining"
	Deadline            Slug = "deadline"
)

// Fault is one row of the error table: what a slug means on every transport [SW-6.1].
type Fault struct {
	Slug    Slug
	Code    int   // the HTTP status
	Retry   Retry // what a client does unless the error says otherwise
	Unknown bool  // whether the request may have been applied all the same [SW-4.2]
	Message string
}

var faults = [...]Fault{
	{BadRequest, 400, RetryNever, false, "the request is not well formed"},
	{UnknownVerb, 400, RetryNever, false, "this server does not know the verb"},
	{Unauthenticated, 401, RetryNever, false, "no valid token was given"},
	{TokenExpired, 401, RetryToken, false, "the token has expired"},
	{Forbidden, 403, RetryNever, false, "the token does not allow this"},
	{NoSession, 404, RetryNever, false, "there is no such session for you"},
	{NoQueue, 404, RetryNever, false, "there is no such queue for you"},
	{NoWorker, 404, RetryNever, false, "there is no such worker for you"},
	{StaleAssignment, 409, RetryNever, false, "the session is no longer assigned to you under this ae"},
	{IdempotencyConflict, 409, RetryNever, false, "this key was used with another payload"},
	{SessionClosed, 409, RetryNever, false, "the session is closed"},
	{VersionConflict, 409, RetryNow, false, "the document has another version by now"},
	{OfferRescinded, 409, RetryNever, false, "the offer was taken back"},
	{NotDelivered, 409, RetryNever, false, "the acknowledged entry was not delivered to you"},
	{Unanswered, 409, RetryNow, false, "the customer has said more since"},
	{IdentityTaken, 409, RetryNever, false, "this is another customer already"},
	{OfferExpired, 410, RetryNever, false, "the offer has expired"},
	{PositionGone, 410, RetryNever, false, "the position is below retention"},
	{TooLarge, 413, RetryNever, false, "the request is larger than the limits of hello allow"},
	{InvalidBody, 422, RetryNever, false, "the body is not one valid UTF-8 JSON value"},
	{RateLimited, 429, RetryAfter, false, "too many requests; slow down"},
	{QuotaExceeded, 429, RetryAfter, false, "the tenant's quota is used up"},
	{TooManyInflight, 429, RetryNow, false, "too many requests of this connection are unanswered"},
	{Internal, 500, RetryBackoff, true, "the server failed; the request may have been applied"},
	{Overloaded, 503, RetryAfter, false, "the server is overloaded; nothing was applied"},
	{Unavailable, 503, RetryBackoff, true, "the outcome is unknown; repeat it, with the same key if it had one"},
	{Draining, 503, RetryBackoff, false, "this server is shutting down; connect to another"},
	{Deadline, 504, RetryBackoff, true, "no answer in time; repeat it, with the same key if it had one"},
}

// Faults returns the error table in the order of [SW-6.1]. The slice is the caller's.
func Faults() []Fault { return slices.Clone(faults[:]) }

// FaultOf returns the row of slug. An unknown slug, as a newer server may send, reads as [Internal].
func FaultOf(slug Slug) Fault {
	for i := range faults {
		if faults[i].Slug == slug {
			return faults[i]
		}
	}
	return FaultOf(Internal)
}

// Error is what a client is told when a request ends otherwise than done [SW-6.1].
type Error struct {
	Slug       Slug
	Message    string        // for people; empty means the table's
	RetryAfter time.Duration // whole milliseconds on the wire; 0 means none
	Detail     []byte        // one JSON object, or nil
}

// Refuse returns the error of slug with the table's message.
func Refuse(slug Slug) *Error { return &Error{Slug: slug} }

// Error implements error: the code, the slug and the words for people.
func (e *Error) Error() string {
	f := FaultOf(e.Slug)
	msg := e.Message
	if msg == "" {
		msg = f.Message
	}
	return strconv.Itoa(f.Code) + " " + string(e.Slug) + ": " + msg
}
