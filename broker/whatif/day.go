package whatif

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"time"

	"switchboard/broker/level"
	"switchboard/loadtest/scenario"
)

// Day is what is to come, and who is there for it: a document. Shares are 0 to 1, or with %.
type Day struct {
	// Name is in reports; About is one line for people.
	Name  string `yaml:"name"`
	About string `yaml:"about,omitempty"`
	// Routes is the file of the routing document, beside this one.
	Routes string `yaml:"routes,omitempty"`
	// Seed decides all that is random; default 1.
	Seed uint64 `yaml:"seed,omitempty"`
	// Start is the local time at which the day begins, as 2026-11-11T00:00, in Zone; default UTC.
	Start string `yaml:"start"`
	Zone  string `yaml:"zone,omitempty"`
	// Length is how long it is; default 24h.
	Length scenario.Quantity `yaml:"length,omitempty" unit:"time"`
	// Sessions is how many come, all in all, by Curve. Surges come on top.
	Sessions int `yaml:"sessions"`
	// Arrivals are poisson (default) or even.
	Arrivals string         `yaml:"arrivals,omitempty"`
	Curve    scenario.Curve `yaml:"curve,omitempty"`
	Surges   []Surge        `yaml:"surges,omitempty"`

	Customers Customers  `yaml:"customers,omitempty"`
	Bots      Bots       `yaml:"bots,omitempty"`
	People    People     `yaml:"people,omitempty"`
	Staff     []StaffRow `yaml:"staff,omitempty"`
	Drops     []Drop     `yaml:"drops,omitempty"`

	// Within is how fast the first word of a person is in time; default 180s. Assigned: being taken counts instead, as textbooks
	// have it.
	Within   scenario.Quantity `yaml:"within,omitempty" unit:"time"`
	Assigned bool              `yaml:"assigned,omitempty"`
	// Targets are the shares in time for which staff is looked for; default 0.95.
	Targets []float64 `yaml:"targets,omitempty"`
	// Levels are counted besides; default those of the routes.
	Levels []level.Definition `yaml:"levels,omitempty"`
}

// Surge is a time in which one shop, channel, tier or queue, or all, has so many Times the sessions that it has on average.
type Surge struct {
	At      scenario.Quantity `yaml:"at" unit:"time"`
	For     scenario.Quantity `yaml:"for" unit:"time"`
	Times   float64           `yaml:"times"`
	Shop    string            `yaml:"shop,omitempty"`
	Channel string            `yaml:"channel,omitempty"`
	Tier    string            `yaml:"tier,omitempty"`
	Queue   string            `yaml:"queue,omitempty"`
}

// Customers is what they are like.
type Customers struct {
	// Shops is how many of the routes' shops they come to, in their order; default all. Zipf is how unequal these are: the n'th
	// has 1/n^Zipf of the first; default 0, all alike.
	Shops int     `yaml:"shops,omitempty"`
	Zipf  float64 `yaml:"zipf,omitempty"`
	// Channels and Queues are weights by name. Tiers are shares; who has none makes up the rest.
	Channels map[string]float64 `yaml:"channels,omitempty"`
	Queues   map[string]float64 `yaml:"queues,omitempty"`
	Tiers    map[string]float64 `yaml:"tiers,omitempty"`
	// Attributes are shares of values by name: intent: {refund: 0.2}. What is left over has none.
	Attributes map[string]map[string]float64 `yaml:"attributes,omitempty"`
	// Turns is how often one says something to a person and is answered; default the profile customer_turns. Think is before the
	// next; default the profile customer_think.
	Turns scenario.Dist `yaml:"turns,omitempty" unit:"none"`
	Think scenario.Dist `yaml:"think,omitempty" unit:"time"`
	// Messages is in how many messages he says what he says in a turn, at most 16; default the profile customer_messages. Between is
	// the time between two of them; default a median of 2s and a sigma of 1.06, as long as typing takes. The last one comes when
	// Think is over, the others before it.
	Messages scenario.Dist `yaml:"messages,omitempty" unit:"none"`
	Between  scenario.Dist `yaml:"between,omitempty" unit:"time"`
	// Patience is how long one waits in line; default for ever. AtOnce is the share who leave within five seconds.
	Patience scenario.Dist     `yaml:"patience,omitempty" unit:"time"`
	AtOnce   scenario.Quantity `yaml:"at_once,omitempty" unit:"share"`
	// Resort is the share who take the last resort of their route.
	Resort scenario.Quantity `yaml:"resort,omitempty" unit:"share"`
}

// Bots is what bots are like.
type Bots struct {
	// Count of them; without any, routes that begin with bots go on to people. Slots of each; default 10,000.
	Count int `yaml:"count,omitempty"`
	Slots int `yaml:"slots,omitempty"`
	// Skills are by name, 0 to 1; Queues default to all.
	Skills map[string]float64 `yaml:"skills,omitempty"`
	Queues []string           `yaml:"queues,omitempty"`
	// Alone is the share of what they get that they deal with to the end.
	Alone scenario.Quantity `yaml:"alone,omitempty" unit:"share"`
	// Reply is before each answer; default 800ms. Turns is the answers of a session that they end, After of one that they
	// hand over; defaults 4 and 2.
	Reply scenario.Dist `yaml:"reply,omitempty" unit:"time"`
	Turns scenario.Dist `yaml:"turns,omitempty" unit:"none"`
	After scenario.Dist `yaml:"after,omitempty" unit:"none"`
	// Think is the customer's pause when a bot answers; default half of that with people.
	Think scenario.Dist `yaml:"think,omitempty" unit:"time"`
}

// People is what people who work are like.
type People struct {
	// Accept is before an offer is taken; default 3s. Miss is the share of offers that nobody sees, Away how long who missed
	// one is away; default 1m.
	Accept scenario.Dist     `yaml:"accept,omitempty" unit:"time"`
	Miss   scenario.Quantity `yaml:"miss,omitempty" unit:"share"`
	Away   scenario.Quantity `yaml:"away,omitempty" unit:"time"`
	// Reply is before each answer; default the profile agent_reply. First is before the first, default as Reply.
	Reply scenario.Dist `yaml:"reply,omitempty" unit:"time"`
	First scenario.Dist `yaml:"first,omitempty" unit:"time"`
	// Messages is in how many messages one answers, at most 16; default the profile agent_messages. Between is the time between two
	// of them; default a median of 4.5s and a sigma of 0.87. The first one comes after Reply, the others before the customer's next
	// word.
	Messages scenario.Dist `yaml:"messages,omitempty" unit:"none"`
	Between  scenario.Dist `yaml:"between,omitempty" unit:"time"`
	// Handle is how long a session takes one, all in all. Default: as long as its turns take.
	Handle scenario.Dist `yaml:"handle,omitempty" unit:"time"`
	// Close is from the last answer to the end, when there is no Handle; default 20s. WrapUp is after it; default none.
	Close  scenario.Dist `yaml:"close,omitempty" unit:"time"`
	WrapUp scenario.Dist `yaml:"wrapup,omitempty" unit:"time"`
	// Transfer is the share of sessions that are sent on, Times times, to the queue To; default once, in the same queue.
	Transfer scenario.Quantity `yaml:"transfer,omitempty" unit:"share"`
	Times    int               `yaml:"transfer_times,omitempty"`
	To       string            `yaml:"transfer_to,omitempty"`
}

// StaffRow is people of one kind, and when they work. Clock times are HH:MM, every day.
type StaffRow struct {
	// Name begins their ids: agent makes agent01, agent02 and so on, as teams of the routes may name them.
	Name string `yaml:"name"`
	// Count of them from From to To; default the whole day. To may be below From: over midnight.
	Count  int    `yaml:"count,omitempty"`
	From   string `yaml:"from,omitempty"`
	To     string `yaml:"to,omitempty"`
	Breaks []Span `yaml:"breaks,omitempty"`
	// Hours, instead of Count, is how many there are in each hour of the day: 24 numbers.
	Hours []int `yaml:"hours,omitempty,flow"`
	// Slots is how many sessions one has at once; default 1.
	Slots  int                `yaml:"slots,omitempty"`
	Queues []string           `yaml:"queues,omitempty"`
	Skills map[string]float64 `yaml:"skills,omitempty"`
	Rating float64            `yaml:"rating,omitempty"`
	// Attributes are what selectors see besides.
	Attributes map[string]any `yaml:"attributes,omitempty"`
}

// Span is a time of day.
type Span struct {
	From string `yaml:"from"`
	To   string `yaml:"to"`
}

// Drop cuts the connection of an Agent at a moment after Start; he is Back after that time.
type Drop struct {
	At    scenario.Quantity `yaml:"at" unit:"time"`
	Agent string            `yaml:"agent"`
	Back  scenario.Quantity `yaml:"back" unit:"time"`
}

// Parse reads a day, lays sets ("sessions=500") over it, fills in defaults and checks it. Errors are of [scenario.Decode].
func Parse(file string, doc []byte, sets ...string) (*Day, error) {
	d := &Day{}
	if err := scenario.Decode(file, doc, d, d.check, sets...); err != nil {
		return nil, err
	}
	d.defaults()
	return d, nil
}

var (
	nameForm  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	clockForm = regexp.MustCompile(`^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$`)
)

const (
	maxSessions = 20_000_000
	startForm   = "2006-01-02T15:04"
	daySeconds  = 86_400
)

// check reports what makes no sense.
func (d *Day) check(at func(path string, err error)) {
	need := func(path string, ok bool, format string, args ...any) {
		if !ok {
			at(path, fmt.Errorf(format, args...))
		}
	}
	need("name", nameForm.MatchString(d.Name), "it is %q: it must be 1 to 64 of A-Z a-z 0-9 _ -", d.Name)
	_, err := time.Parse(startForm, d.Start)
	need("start", err == nil, "it is %q: write it as 2026-11-11T00:00", d.Start)
	need("sessions", d.Sessions >= 0 && d.Sessions <= maxSessions, "it is %d: it must be 0 to %d", d.Sessions, maxSessions)
	need("arrivals", d.Arrivals == "" || d.Arrivals == scenario.Poisson || d.Arrivals == scenario.Even, "it is %q: it must be %s or %s", d.Arrivals, scenario.Poisson, scenario.Even)
	length := d.Length.Value
	if d.Length.IsZero() {
		length = daySeconds
	}
	need("length", length >= 60 && length <= maxDays*daySeconds, "it is %v s: it must be a minute to %d days", length, maxDays)
	d.Curve.Check("curve", length, d.Customers.Shops, at)
	for i, s := range d.Surges {
		path := fmt.Sprintf("surges[%d]", i)
		need(path+".times", s.Times > 1 && s.Times <= 1e6, "it is %v: it must be above 1, and up to 1000000", s.Times)
		need(path+".for", s.For.Value > 0 && s.At.Value+s.For.Value <= length, "it must end within the day, and not at once")
	}
	c := &d.Customers
	need("customers.shops", c.Shops >= 0 && c.Shops <= 10_000, "it is %d: it must be 0 to 10000", c.Shops)
	need("customers.zipf", c.Zipf >= 0 && c.Zipf <= 10, "it is %v: it must be 0 to 10", c.Zipf)
	weights := func(path string, list map[string]float64, most float64) {
		sum := 0.0
		for name, w := range list {
			need(path, w >= 0 && !math.IsInf(w, 0), "%s has the weight %v", name, w)
			sum += w
		}
		need(path, len(list) == 0 || sum > 0 && sum <= most+1e-9, "the shares make %.3g, and no more than 1 can be given away", sum)
	}
	weights("customers.channels", c.Channels, math.Inf(1))
	weights("customers.queues", c.Queues, math.Inf(1))
	weights("customers.tiers", c.Tiers, 1)
	for name, list := range c.Attributes {
		weights("customers.attributes."+name, list, 1)
		need("customers.attributes."+name, !slices.Contains([]string{"shop", "channel", "tier", "queue", "last_worker"}, name), "the broker knows it itself: use shops, channels, tiers and queues")
	}
	d.checkZeros(need)
	for path, x := range map[string]*scenario.Dist{"customers.messages": &c.Messages, "people.messages": &d.People.Messages} {
		for _, q := range [...]scenario.Quantity{x.Median, x.Exponential, x.Min, x.Max} {
			need(path, q.IsZero() || q.Value >= 1 && q.Value <= maxInRow, "it is %v: somebody says 1 to %d messages in a row", q.Value, maxInRow)
		}
	}
	need("bots.count", d.Bots.Count >= 0 && d.Bots.Count <= 10_000, "it is %d: it must be 0 to 10000", d.Bots.Count)
	need("bots.slots", d.Bots.Slots >= 0 && d.Bots.Slots <= 10_000, "it is %d: it must be 0 to 10000", d.Bots.Slots)
	need("people.transfer_times", d.People.Times >= 0 && d.People.Times <= 10, "it is %d: it must be 0 to 10", d.People.Times)
	d.checkStaff(need)
	for i, t := range d.Targets {
		need(fmt.Sprintf("targets[%d]", i), t > 0 && t < 1, "it is %v: it must lie between 0 and 1", t)
	}
	for i := range d.Levels {
		if err := d.Levels[i].Validate(); err != nil {
			at(fmt.Sprintf("levels[%d]", i), err)
		}
	}
	for i, x := range d.Drops {
		need(fmt.Sprintf("drops[%d].agent", i), x.Agent != "", "it is needed")
	}
}

func (d *Day) checkStaff(need func(path string, ok bool, format string, args ...any)) {
	clock := func(path, s string) {
		need(path, s == "" || clockForm.MatchString(s), "it is %q: write HH:MM", s)
	}
	all := 0
	for i := range d.Staff {
		row := &d.Staff[i]
		path := fmt.Sprintf("staff[%d]", i)
		need(path+".name", row.Name != "", "it is needed")
		need(path+".count", row.Count >= 0 && row.Count <= maxAgents && (row.Count > 0) == (len(row.Hours) == 0), "set count, or hours, up to %d", maxAgents)
		need(path+".hours", len(row.Hours) == 0 || len(row.Hours) == 24, "a day has 24 hours, not %d", len(row.Hours))
		most := row.Count
		for _, n := range row.Hours {
			need(path+".hours", n >= 0 && n <= maxAgents, "%d people", n)
			most = max(most, n)
		}
		all += most
		need(path+".slots", row.Slots >= 0 && row.Slots <= 10_000, "it is %d: it must be 0 to 10000", row.Slots)
		need(path+".rating", row.Rating >= 0 && row.Rating <= 1, "it is %v: it must be 0 to 1", row.Rating)
		clock(path+".from", row.From)
		clock(path+".to", row.To)
		for j, b := range row.Breaks {
			clock(fmt.Sprintf("%s.breaks[%d].from", path, j), b.From)
			clock(fmt.Sprintf("%s.breaks[%d].to", path, j), b.To)
			need(fmt.Sprintf("%s.breaks[%d]", path, j), b.From < b.To, "a break begins before it ends, on one day")
		}
	}
	need("staff", all <= maxAgents, "they are %d people: no more than %d", all, maxAgents)
}

// checkZeros refuses zeros where something else would stand without a word, as of [Day.defaults].
func (d *Day) checkZeros(need func(path string, ok bool, format string, args ...any)) {
	c, b, p := &d.Customers, &d.Bots, &d.People
	for path, x := range map[string]*scenario.Dist{
		"customers.turns": &c.Turns, "customers.think": &c.Think, "customers.messages": &c.Messages, "customers.between": &c.Between, "customers.patience": &c.Patience, "bots.reply": &b.Reply, "bots.turns": &b.Turns,
		"bots.after": &b.After, "people.accept": &p.Accept, "people.reply": &p.Reply, "people.first": &p.First, "people.messages": &p.Messages, "people.between": &p.Between, "people.close": &p.Close,
	} {
		need(path, !x.Zeros(), "it is zero: write a time of 1ms or more, a number of 1 or more, or leave it out for the default")
	}
	for path, q := range map[string]scenario.Quantity{"length": d.Length, "within": d.Within, "people.away": p.Away} {
		need(path, !q.Zero(), "it is zero: write a time of 1ms or more, or leave it out for the default")
	}
}

// defaults fills in what was left out.
func (d *Day) defaults() {
	quantity := func(q *scenario.Quantity, otherwise float64) {
		if q.IsZero() {
			*q = scenario.Seconds(time.Duration(otherwise * float64(time.Second)))
		}
	}
	fixed := func(x *scenario.Dist, otherwise string) {
		if x.IsZero() {
			x.Median, _ = scenario.ParseQuantity(otherwise)
		}
	}
	profile := func(x *scenario.Dist, name string) {
		if x.IsZero() {
			x.Profile = name
		}
	}
	lognormal := func(x *scenario.Dist, median string, sigma float64) {
		if x.IsZero() {
			x.Median, _ = scenario.ParseQuantity(median)
			x.Sigma = sigma
		}
	}
	d.Seed = max(d.Seed, 1)
	quantity(&d.Length, daySeconds)
	quantity(&d.Within, 180)
	if d.Arrivals == "" {
		d.Arrivals = scenario.Poisson
	}
	if len(d.Targets) == 0 {
		d.Targets = []float64{.95}
	}
	slices.Sort(d.Targets)
	profile(&d.Customers.Turns, "customer_turns")
	profile(&d.Customers.Think, "customer_think")
	profile(&d.Customers.Messages, "customer_messages")
	lognormal(&d.Customers.Between, "2s", 1.06)
	if d.Bots.Slots == 0 {
		d.Bots.Slots = 10_000
	}
	fixed(&d.Bots.Reply, "800ms")
	fixed(&d.Bots.Turns, "4")
	fixed(&d.Bots.After, "2")
	fixed(&d.People.Accept, "3s")
	quantity(&d.People.Away, 60)
	profile(&d.People.Reply, "agent_reply")
	if d.People.First.IsZero() {
		d.People.First = d.People.Reply
	}
	profile(&d.People.Messages, "agent_messages")
	lognormal(&d.People.Between, "4500ms", .87)
	fixed(&d.People.Close, "20s")
	d.People.Times = max(d.People.Times, 1)
}

// begin returns when the day begins.
func (d *Day) begin(load func(string) (*time.Location, error)) (time.Time, error) {
	zone := d.Zone
	if zone == "" {
		zone = "UTC"
	}
	loc, err := load(zone)
	if err != nil {
		return time.Time{}, fmt.Errorf("zone: %w", err)
	}
	t, err := time.ParseInLocation(startForm, d.Start, loc)
	if err != nil {
		return t, errors.New("start: write it as 2026-11-11T00:00")
	}
	return t, nil
}
