package scenario

// Scenario is one load test. The times Ramp, Steady and Stop follow each other; only what falls due in Steady is measured.
type Scenario struct {
	// Name is in reports; a file name without its ending.
	Name string `yaml:"name"`
	// About is one line for people.
	About string `yaml:"about"`
	// Seed decides all that is random; 0 is 1. Two runs of one seed have the same schedule.
	Seed uint64 `yaml:"seed,omitempty"`
	// Node is a node of the test's own.
	Node Node `yaml:"node,omitempty"`
	// Ramp is the time over which the sockets connect; default 5s.
	Ramp Quantity `yaml:"ramp,omitempty" unit:"time"`
	// Patience is how long nobody at all may be connected at the beginning of the ramp before the run ends; default 10s.
	Patience Quantity `yaml:"patience,omitempty" unit:"time"`
	// Steady is the time that is measured; needed.
	Steady Quantity `yaml:"steady" unit:"time"`
	// Stop is how long what is under way gets to end; default 10s.
	Stop Quantity `yaml:"stop,omitempty" unit:"time"`

	Customers Customers `yaml:"customers"`
	Talk      Talk      `yaml:"talk,omitempty"`
	Workers   Workers   `yaml:"workers,omitempty"`
	// Actions happen in the steady time.
	Actions []Action `yaml:"actions,omitempty"`
	// Audit is how many sessions are compared with their history in the end, beside those with something open; default 50.
	Audit int `yaml:"audit,omitempty"`
	// AuditTime is how long all audits may take; default 20s. What was not compared by then is unaudited, and fails the run unless a gate
	// says how many may be.
	AuditTime Quantity `yaml:"audit_time,omitempty" unit:"time"`
	// Gates must hold; see [ParseGate]. That nothing was lost, duplicated, reordered or altered is always one.
	Gates []string `yaml:"gates,omitempty"`

	gates []Gate
}

// Node is a node that the test starts, and may kill.
type Node struct {
	// Exec is the command with its arguments. "switchboard" as the first word is the program that runs the test. $DATA is
	// a temporary directory, $ADDR a free address on loopback, $CONFIG a file with what Config says.
	Exec []string `yaml:"exec,omitempty"`
	// Config is the node's configuration.
	Config map[string]any `yaml:"config,omitempty"`
	// Count is how many of them; default 1. Each is a node by itself, with its share of the customers and workers and as many
	// processes of the load generator. Actions are the first one's, or that of their Node.
	Count int `yaml:"count,omitempty"`
	// Cluster makes the nodes one cluster, whose shards have copies on three of them before the ramp begins. Customers and workers
	// are spread over the nodes.
	Cluster bool `yaml:"cluster,omitempty"`
	// TLS lets the node speak TLS, with a certificate that is made for the run.
	TLS bool `yaml:"tls,omitempty"`
}

// Customers are sockets that are held from the ramp to the end.
type Customers struct {
	// Sockets is how many; each is another customer. At least 1.
	Sockets int `yaml:"sockets"`
	// Open gives each a session when it connects; with Talk it is always so.
	Open bool `yaml:"open,omitempty"`
	// Sources is how many addresses 127.0.0.1, 127.0.0.2, … they come from; default one for every 20,000.
	Sources int `yaml:"sources,omitempty"`
	// Shops is how many shops they are spread over; 0 is no shop.
	Shops int  `yaml:"shops,omitempty"`
	Slow  Slow `yaml:"slow,omitempty"`
}

// Slow is about customers who read slowly.
type Slow struct {
	// Share of the customers.
	Share Quantity `yaml:"share,omitempty" unit:"share"`
	// Pause before each read; default 200ms.
	Pause Quantity `yaml:"pause,omitempty" unit:"time"`
	// Bytes taken at each; default 512B.
	Bytes Quantity `yaml:"bytes,omitempty" unit:"bytes"`
}

// Talk is what customers say. Conversations begin at moments that nothing can delay; the messages of one follow each other
// after think times, whether or not there was an answer.
type Talk struct {
	// Rate is messages a second of all customers; 0 is silence.
	Rate Quantity `yaml:"rate,omitempty" unit:"rate"`
	// Arrivals are poisson (default) or even.
	Arrivals string `yaml:"arrivals,omitempty"`
	// Turns is the messages of a conversation; default 1.
	Turns Dist `yaml:"turns,omitempty" unit:"none"`
	// Think is the time between two; default 1s.
	Think Dist `yaml:"think,omitempty" unit:"time"`
	// Length is the text's; default 100B.
	Length Dist `yaml:"length,omitempty" unit:"bytes"`
	// Pace divides think times; default 1.
	Pace float64 `yaml:"pace,omitempty"`
	// Close ends the session after each conversation; the next one opens another.
	Close bool  `yaml:"close,omitempty"`
	Curve Curve `yaml:"curve,omitempty"`
}

// Workers answer.
type Workers struct {
	Bots   Bots   `yaml:"bots,omitempty"`
	Humans Humans `yaml:"humans,omitempty"`
}

// Bots answer what customers say.
type Bots struct {
	// Count of sockets, each a worker.
	Count int `yaml:"count"`
	// Slots and Window of each; default 10,000 and 16.
	Slots  int `yaml:"slots,omitempty"`
	Window int `yaml:"window,omitempty"`
	// Reply is echo (default), stream or silent. A silent bot acknowledges and says nothing.
	Reply string `yaml:"reply,omitempty"`
	// After is the time before an answer, of a stream before its first token; default none.
	After Dist `yaml:"after,omitempty" unit:"time"`
	// Length is the answer's; default 100B.
	Length Dist `yaml:"length,omitempty" unit:"bytes"`
	// Tokens of a stream and how many a second; default 80 and 40/s.
	Tokens    Dist     `yaml:"tokens,omitempty" unit:"none"`
	TokenRate Quantity `yaml:"token_rate,omitempty" unit:"rate"`
	HandOff   HandOff  `yaml:"handoff,omitempty"`
}

// HandOff moves conversations from bots to humans.
type HandOff struct {
	// Share of the sessions.
	Share Quantity `yaml:"share,omitempty" unit:"share"`
	// After so many answers; default 1.
	After int `yaml:"after,omitempty"`
}

// Humans accept offers and answer.
type Humans struct {
	Count int `yaml:"count"`
	// Slots and Window of each; default 5 and 16.
	Slots  int `yaml:"slots,omitempty"`
	Window int `yaml:"window,omitempty"`
	// Accept is the time until an offer is accepted, After until an answer; default none.
	Accept Dist `yaml:"accept,omitempty" unit:"time"`
	After  Dist `yaml:"after,omitempty" unit:"time"`
	Length Dist `yaml:"length,omitempty" unit:"bytes"`
	// Pace divides both times; default 1.
	Pace float64 `yaml:"pace,omitempty"`
}

// Action is something that happens At a moment of the steady time. It is exactly one of Drop, Run, Kill and Drain.
type Action struct {
	At Quantity `yaml:"at" unit:"time"`
	// Drop is the share of the customers' connections that end, spread over Within; each comes back after Back, and up to
	// Jitter later.
	Drop   Quantity `yaml:"drop,omitempty" unit:"share"`
	Within Quantity `yaml:"within,omitempty" unit:"time"`
	Back   Quantity `yaml:"back,omitempty" unit:"time"`
	Jitter Quantity `yaml:"jitter,omitempty" unit:"time"`
	// Node is which of the test's own nodes kill, drain and run are about, from 1; default the first.
	Node int `yaml:"node,omitempty"`
	// Run is a line for sh, with ADDR, DATA and PID of the test's own node, LINKS of one in a cluster (where operators ask it), and the
	// program, SWITCHBOARD, in its environment.
	Run string `yaml:"run,omitempty"`
	// Kill sends SIGKILL to the test's own node, which starts again after Restart.
	Kill bool `yaml:"kill,omitempty"`
	// Drain sends SIGTERM to the test's own node, which is started again Restart after it has ended.
	Drain   bool     `yaml:"drain,omitempty"`
	Restart Quantity `yaml:"restart,omitempty" unit:"time"`
}

// The kinds of answers.
const (
	Echo   = "echo"
	Stream = "stream"
	Silent = "silent"
)

// The kinds of arrivals.
const (
	Poisson = "poisson"
	Even    = "even"
)

// defaults fills in what was left out.
func (s *Scenario) defaults() {
	num := func(v *int, otherwise int) {
		if *v == 0 {
			*v = otherwise
		}
	}
	word := func(v *string, otherwise string) {
		if *v == "" {
			*v = otherwise
		}
	}
	quantity := func(q *Quantity, otherwise string) {
		if q.Value == 0 && q.text == "" {
			*q, _ = ParseQuantity(otherwise)
		}
	}
	dist := func(d *Dist, otherwise string) {
		if d.IsZero() {
			d.Median, _ = ParseQuantity(otherwise)
		}
	}
	if s.Seed == 0 {
		s.Seed = 1
	}
	quantity(&s.Ramp, "5s")
	quantity(&s.Stop, "10s")
	quantity(&s.Patience, "10s")
	num(&s.Audit, 50)
	quantity(&s.AuditTime, "20s")
	num(&s.Node.Count, 1)
	num(&s.Customers.Sources, (s.Customers.Sockets+19_999)/20_000)
	quantity(&s.Customers.Slow.Pause, "200ms")
	quantity(&s.Customers.Slow.Bytes, "512B")
	word(&s.Talk.Arrivals, Poisson)
	dist(&s.Talk.Turns, "1")
	dist(&s.Talk.Think, "1s")
	dist(&s.Talk.Length, "100B")
	if s.Talk.Pace == 0 {
		s.Talk.Pace = 1
	}
	b, h := &s.Workers.Bots, &s.Workers.Humans
	num(&b.Slots, 10_000)
	num(&b.Window, 16)
	word(&b.Reply, Echo)
	dist(&b.Length, "100B")
	dist(&b.Tokens, "80")
	quantity(&b.TokenRate, "40/s")
	num(&b.HandOff.After, 1)
	num(&h.Slots, 5)
	num(&h.Window, 16)
	dist(&h.Length, "100B")
	if h.Pace == 0 {
		h.Pace = 1
	}
	if s.Talk.Rate.Value > 0 {
		s.Customers.Open = true
	}
}

// Checked returns the gates, parsed.
func (s *Scenario) Checked() []Gate { return s.gates }

// Answered tells whether somebody answers.
func (s *Scenario) Answered() bool {
	return s.Workers.Bots.Count > 0 && s.Workers.Bots.Reply != Silent || s.Workers.Bots.Count == 0 && s.Workers.Humans.Count > 0
}
