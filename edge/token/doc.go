// Package token says who a connection is: it checks the JSON Web Tokens that clients bring and mints them for the
// command line and for tests [SW-3.1].
//
// A [Keyring] holds, for each tenant, the keys that speak for it. It comes from keys.json in the data directory, which
// [LoadOrCreate] makes on first use, or from [Parse] and [New]. It never changes, so any number of goroutines may check with
// one; whoever wants other keys builds another and swaps the pointer.
//
// # Whose key
//
// The tenant claim is read before it is known to be true, and decides nothing but where to look: only a key of that very
// tenant can then confirm it. The kid in the header picks among the tenant's keys; a token without one is for the key
// without an ID, or for the only key. Each key has exactly one algorithm, the one it was made for, and the token's alg must
// name it: what a public key verifies can not be forged by using it as a secret, and "none" is no key's algorithm.
// Keys and addresses of keys that a token carries along (jwk, jku, x5u) are not looked at. A crit header is refused.
//
// # What must hold
//
// exp is required and has no leeway: a token is dead from that second on. nbf, when there is one, may be up to [Leeway]
// ahead of the node's clock, as issuers often set it to their own now. iat, iss, aud and jti are not looked at: a key
// belongs to one tenant, and that is the audience.
//
// tenant and sub are ids as [wire.ValidID] has them, and so are shop, tier, queue and skill names. Levels and the rating
// are 0 to 1; what is outside is refused, not clamped, because whoever minted it meant something else. Claims of workers
// (kind, queues, skills, rating) are dropped from a token of another role.
//
// # Errors
//
// Every error of [Keyring.Check] holds a [wire.Error] for errors.AsType: token_expired when the signature is good and exp has
// passed, else unauthenticated. The text around it is the reason, for the log, and never quotes the token. The client
// is told a reason only when the signature was good: it is then for the issuer's developers.
//
// # What it does not do
//
// It fetches nothing: a JWKS is a document that the operator puts in place. It revokes nothing: a token lives until exp,
// and the edge closes the connection then.
package token
