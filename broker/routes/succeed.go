package routes

import (
	"fmt"
	"slices"

	"switchboard/broker"
)

// Succeeds tells what is wrong with r as the successor of a document with the queues was: each of them must still be a queue,
// or r's moves must say where its sessions go. The error is [Errors].
func (r *Routes) Succeeds(was []broker.Queue) error {
	var errs Errors
	for i := range was {
		name := was[i].Name
		there := slices.ContainsFunc(r.Broker.Queues, func(q broker.Queue) bool { return q.Name == name })
		moved := slices.ContainsFunc(r.Broker.Moves, func(m broker.Move) bool { return m.From == name })
		if there || moved || len(errs) == MaxErrors {
			continue
		}
		errs = append(errs, &Error{
			Line: r.queuesAt[0], Column: r.queuesAt[1], Path: "$.queues",
			What: fmt.Sprintf("the queue %s is gone; say under moves which one its sessions go to: %s: <queue>", name, name),
		})
	}
	if len(errs) == 0 {
		return nil
	}
	return errs
}

// id tells whether name can be said on the wire: queues and shops are named there.
func id(name string) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '.', c == ':', c == '-':
		default:
			return false
		}
	}
	return true
}

// ids checks that names, which are names, can be said on the wire.
func (p *parsing) ids(path string, names []string) {
	for i, n := range names {
		if !id(n) {
			p.fail(fmt.Sprintf("%s[%d].name", path, i), "%q cannot be said by clients: it has A-Z a-z 0-9 _ . : - alone", n)
		}
	}
}
