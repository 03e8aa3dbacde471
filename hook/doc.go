// Package hook calls out: it posts a signed JSON document to an address that a tenant has named, once, and says what came of it.
// Whoever has the task keeps it, decides when to try again, and when to give up; nothing here is durable.
//
// Requests are those of Standard Webhooks: the headers webhook-id, webhook-timestamp (Unix seconds) and webhook-signature
// ("v1," and the base64 of an HMAC-SHA256 under the secret over "id.timestamp.body"). The id is the caller's and the same at
// every attempt, so that a receiver can leave out what it has.
//
// An address that somebody writes into a document is not to be trusted: what runs beside the broker, or in its network, answers whoever
// can reach it. So names are resolved and then the address itself is looked at, in the moment in which it is dialled; loopback, private,
// link-local and other special ranges are refused unless [Config.Allow] has them. Redirects are not followed, proxies of the
// environment are not used, and of an answer no more than 64 KiB are read.
//
// It promises that [Sender.Send] does not block, that no more calls are on their way than [Config.Concurrency], and of one hook
// no more than [Config.PerHook], so that a receiver that hangs holds up its own alone. Each call has one goroutine, which ends within
// the call's timeout; Close ends and joins them.
//
// It knows nobody.
package hook
