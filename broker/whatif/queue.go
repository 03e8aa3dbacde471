package whatif

// What may happen.
type happening uint8

const (
	arrives    happening = iota // the next visit
	accepts                     // a person takes an offer
	replies                     // who has the session answers
	speaks                      // the customer says the next thing
	asks                        // he says one message more, as nobody has answered
	adds                        // who has answered says one message more
	hands                       // a bot hands over
	ends                        // who has the session closes it
	classifies                  // a bot says what a session is about
	leaves                      // the customer has no patience left
	ticks                       // a service level has something due
	begins                      // a shift
	goes                        // the end of a shift
	returns                     // who was away is ready again
	drops                       // a connection is lost
	reconnects                  // and comes back
	hooks                       // something that the caller wants done
)

// event is something that will happen. What has become pointless has another generation than its subject.
type event struct {
	at   int64
	n    uint64 // events of one moment happen in the order in which they were set
	who  int32  // session, worker, offer or hook
	gen  uint32
	what happening
}

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.n < o.n }

// agenda is a heap of four children, by value: most of a simulation's own time is spent here.
type agenda struct {
	list []event
	n    uint64
}

func (a *agenda) push(e event) {
	a.n++
	e.n = a.n
	i := len(a.list)
	a.list = append(a.list, e)
	for i > 0 {
		p := (i - 1) / 4
		if !e.before(&a.list[p]) {
			break
		}
		a.list[i] = a.list[p]
		i = p
	}
	a.list[i] = e
}

func (a *agenda) pop() event {
	first := a.list[0]
	last := len(a.list) - 1
	e := a.list[last]
	a.list = a.list[:last]
	if last == 0 {
		return first
	}
	i := 0
	for {
		c := 4*i + 1
		if c >= last {
			break
		}
		best := c
		for j := c + 1; j < min(c+4, last); j++ {
			if a.list[j].before(&a.list[best]) {
				best = j
			}
		}
		if !a.list[best].before(&e) {
			break
		}
		a.list[i] = a.list[best]
		i = best
	}
	a.list[i] = e
	return first
}
