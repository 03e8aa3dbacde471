package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"switchboard/cluster"
	"switchboard/edge"
	"switchboard/edge/token"
	"switchboard/wire"
)

// KeysOp is what a node is asked for by who changes keys of tokens, see member.Operations.Node.
const KeysOp = "keys"

// KeysAsked is a question about the keys of tokens [SW-7.10].
type KeysAsked struct {
	// Action is add, create or remove; empty reads.
	Action string `json:"action,omitempty"`
	// Tenant whose keys it is about; empty is all, for reading.
	Tenant string `json:"tenant,omitempty"`
	// Kid is the id of the key that is created or removed.
	Kid string `json:"kid,omitempty"`
	// Key is the one that is added: a JSON Web Key, {"kid","pem"} or {"kid","secret"}.
	Key json.RawMessage `json:"key,omitempty"`
	// First puts an added key before the others, so that the command line mints with it.
	First bool `json:"first,omitempty"`
	// Last says that the removed one may be the tenant's last.
	Last bool `json:"last,omitempty"`

	// By is who asks, as a node that passes it on says.
	By string `json:"by,omitempty"`
	// Passed is true when a node has passed it on: whoever gets it leads, or does not know who does.
	Passed bool `json:"passed,omitempty"`
}

// KeysAnswer is what there is afterwards. No secret is in it.
type KeysAnswer struct {
	Changed bool         `json:"changed"`
	Keys    []token.Line `json:"keys"`
}

// apply returns doc as q wants it.
func (q *KeysAsked) apply(doc []byte) (now []byte, err error) {
	switch {
	case q.Action == "":
		return doc, nil
	case !wire.ValidID(q.Tenant):
		return nil, fmt.Errorf("%w: %q is no tenant: a name is 1 to 64 of A-Z a-z 0-9 _ . : -", token.ErrEdit, q.Tenant)
	case q.Action == "add":
		return token.Add(doc, q.Tenant, q.Key, q.First)
	case q.Action == "create" && q.Kid != "":
		return token.Create(doc, q.Tenant, q.Kid)
	case q.Action == "remove":
		return token.Remove(doc, q.Tenant, q.Kid, q.Last)
	case q.Action == "create":
		return nil, fmt.Errorf("%w: a key needs a kid", token.ErrEdit)
	}
	return nil, fmt.Errorf("%w: with keys one can add, create and remove", token.ErrEdit)
}

// answer says what doc has, and whether that is something else than before.
func (q *KeysAsked) answer(before, doc []byte) (*KeysAnswer, error) {
	list, err := token.Lines(doc)
	if err != nil {
		return nil, err
	}
	a := &KeysAnswer{Changed: !bytes.Equal(before, doc), Keys: []token.Line{}}
	for _, l := range list {
		if q.Tenant == "" || l.Tenant == q.Tenant {
			a.Keys = append(a.Keys, l)
		}
	}
	return a, nil
}

// keysOver does what an operator asks over HTTP, behind /v1/admin/cluster/keys [SW-7.10].
func (n *Node) keysOver(ctx context.Context, by, path string, body []byte) (any, error) {
	what, tenant, _ := strings.Cut(path, "/")
	if what != KeysOp {
		return nil, edge.ErrNoOperation
	}
	q := &KeysAsked{}
	if body != nil {
		if err := json.Unmarshal(body, q); err != nil || q.Action == "" || tenant == "" {
			return nil, &wire.Error{Slug: wire.BadRequest, Message: `keys of a tenant are changed by {"action":"add|create|remove",…}`} // err may quote a secret
		}
	}
	q.Tenant, q.By, q.Passed = tenant, by, false
	a, err := n.changeKeys(ctx, q)
	switch {
	case errors.Is(err, token.ErrEdit), errors.Is(err, cluster.ErrRefused):
		text := strings.TrimPrefix(strings.TrimPrefix(err.Error(), cluster.ErrRefused.Error()+": "), token.ErrEdit.Error()+": ")
		return nil, &wire.Error{Slug: wire.BadRequest, Message: text}
	case err != nil:
		return nil, &wire.Error{Slug: wire.Unavailable, Message: err.Error()}
	}
	return a, nil
}

// changeKeys changes the keys of tokens, wherever that is decided, and returns what there is then. token.ErrEdit and cluster.ErrRefused say that
// it was not done, other errors that it is not known.
func (n *Node) changeKeys(ctx context.Context, q *KeysAsked) (*KeysAnswer, error) {
	if n.party == nil {
		return n.changeOwnKeys(q)
	}
	ctx, cancel := context.WithTimeout(ctx, leadFor)
	defer cancel()
	return decided(ctx, q.Passed, func() (*KeysAnswer, error) { return n.party.changeKeys(ctx, q) })
}

// changeOwnKeys changes the keys of a node that is no member of a cluster.
func (n *Node) changeOwnKeys(q *KeysAsked) (*KeysAnswer, error) {
	n.keysTurn <- struct{}{}
	defer func() { <-n.keysTurn }()
	path := filepath.Join(n.cfg.Data, token.FileName)
	before, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the keys of tokens: %w", err)
	}
	doc, err := q.apply(before)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(doc, before) {
		ring, err := token.Parse(doc)
		if err != nil {
			return nil, err
		}
		if err := writeKeys(n.cfg.Data, doc); err != nil {
			return nil, err
		}
		n.keys.Store(ring)
		n.auditKeys(q, nil)
	}
	return q.answer(before, doc)
}

// auditKeys notes who has changed which key, or with an error who may have: whoever asks again finds it as he wants it then, and that is not noted. Nothing
// of a key is in it but its id.
func (n *Node) auditKeys(q *KeysAsked, err error) {
	kid := q.Kid
	if q.Action == "add" {
		var k struct{ Kid string }
		_ = json.Unmarshal(q.Key, &k) // it was read before
		kid = k.Kid
	}
	if err != nil {
		n.cfg.Log.Warn("it is not known whether keys of tokens are changed", "action", q.Action, "tenant", q.Tenant, "kid", kid, "by", q.By, "err", err)
		return
	}
	n.cfg.Log.Info("keys of tokens are changed", "action", q.Action, "tenant", q.Tenant, "kid", kid, "by", q.By)
}

// changeKeys lets whoever leads the cluster change the keys, once.
func (p *party) changeKeys(ctx context.Context, q *KeysAsked) (*KeysAnswer, error) {
	var pass *KeysAsked
	if !q.Passed {
		on := *q
		on.Passed, pass = true, &on
	}
	return lead(ctx, p, KeysOp, pass, func(term uint64) (*KeysAnswer, error) { return p.leadKeys(ctx, term, q) })
}

// leadKeys changes the keys as the leader of the cluster's rows, see lead.
func (p *party) leadKeys(ctx context.Context, term uint64, q *KeysAsked) (*KeysAnswer, error) {
	before := p.rows.get(keysRow) // as of this term, or the append is refused
	if before == nil {
		return nil, errors.New("the cluster's keys of tokens are not known yet")
	}
	doc, err := q.apply(before)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(doc, before) {
		err := p.rows.put(ctx, term, keysRow, doc)
		p.n.auditKeys(q, err)
		if err != nil {
			return nil, fmt.Errorf("it is not known whether the keys were changed: %w", err)
		}
		p.keep.nudge()
	}
	return q.answer(before, doc)
}

// askedKeys answers another node, or whoever has a certificate of the cluster's authority.
func (p *party) askedKeys(ctx context.Context, by string, body []byte) (any, error) {
	if p.member.Load() == nil {
		return nil, errStarting
	}
	var q KeysAsked
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("%w: a question about keys that cannot be understood", cluster.ErrRefused) // err may quote a secret
	}
	if !q.Passed || q.By == "" {
		q.By = by
	}
	a, err := p.n.changeKeys(ctx, &q)
	if errors.Is(err, token.ErrEdit) {
		return nil, fmt.Errorf("%w: %s", cluster.ErrRefused, strings.TrimPrefix(err.Error(), token.ErrEdit.Error()+": "))
	}
	return a, err
}

// takeKeys makes the node go by the cluster's keys, when they are others than before. It belongs to the keeper.
func (p *party) takeKeys() {
	if p.n.keys.Load() == nil {
		return // the node is starting: shareKeys writes the file
	}
	shared := p.rows.get(keysRow)
	if shared == nil || bytes.Equal(shared, p.keysSeen) {
		return
	}
	ring, err := token.Parse(shared)
	if err != nil {
		p.keysSeen = shared
		p.n.cfg.Log.Error("the cluster's keys of tokens cannot be read; the node goes on with those it has", "err", err)
		return
	}
	p.n.keys.Store(ring)
	if have, err := readKeys(p.n.cfg.Data); err != nil || !bytes.Equal(have, shared) {
		if err := writeKeys(p.n.cfg.Data, shared); err != nil {
			p.n.cfg.Log.Error("the keys of tokens are not on the disk; it is tried again", "err", err)
			return
		}
		p.n.cfg.Log.Info("the node goes by other keys of tokens")
	}
	p.keysSeen = shared
}
