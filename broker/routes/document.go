package routes

import (
	"strconv"
	"strings"

	"switchboard/broker"
)

// Document is what a tenant writes. The tags say how it is spelled and what schema.json says of it.
type Document struct {
	Version       int               `json:"version" yaml:"version" required:"1" min:"1" max:"1" doc:"The version of this format: 1."`
	Attributes    Attributes        `json:"attributes,omitzero" yaml:"attributes" doc:"Attributes that selectors may speak of, besides the standard ones."`
	Shops         []Shop            `json:"shops,omitempty" yaml:"shops" doc:"Storefronts."`
	Teams         []Team            `json:"teams,omitempty" yaml:"teams" doc:"Sets of workers."`
	Calendars     []CalendarDoc     `json:"calendars,omitempty" yaml:"calendars" doc:"Business hours."`
	ServiceLevels []ServiceLevel    `json:"service_levels,omitempty" yaml:"service_levels" doc:"What is promised to customers, and how it is counted."`
	Hooks         []Hook            `json:"hooks,omitempty" yaml:"hooks" doc:"Addresses that last steps call, as a ticket system's."`
	Queues        []Queue           `json:"queues" yaml:"queues" required:"1" doc:"Waiting lines and their routes."`
	Costs         map[string]Cost   `json:"costs,omitempty" yaml:"costs" doc:"Slots that a session of a channel takes, or all. Default 1."`
	Moves         map[string]string `json:"moves,omitempty" yaml:"moves" doc:"Where the sessions of a queue go that is not there any more. A queue that goes must be named here."`
	Fair          bool              `json:"fair,omitempty" yaml:"fair" doc:"Share workers between queues and shops by their weights. Default: who waited longest comes first."`
	DefaultQueue  string            `json:"default_queue,omitempty" yaml:"default_queue" doc:"Where a session goes that names no queue. Default the node's configuration's, else the first."`
	Origins       []string          `json:"origins,omitempty" yaml:"origins" doc:"Browsers' origins from which the tenant's tokens may be used, or * for any. Default the node's configuration's."`
	ReopenMS      int64             `json:"reopen_window_ms,omitempty" yaml:"reopen_window_ms" min:"0" doc:"How long a closed session can be reopened by writing to it. Default the node's configuration's, which is a day."`
	MaxAttempts   uint32            `json:"max_attempts,omitempty" yaml:"max_attempts" min:"0" max:"1000" doc:"Deliveries of one entry before its session moves on. Default the node's configuration's, which is 5."`
	WrapUpMS      *int64            `json:"wrapup_ms,omitempty" yaml:"wrapup_ms" min:"0" max:"3600000" doc:"How long a person may take after a session, where the queue does not say. Default the node's configuration's, which is 0."`
	GraceBotsMS   int64             `json:"grace_bots_ms,omitempty" yaml:"grace_bots_ms" min:"0" doc:"How long a bot without connection keeps its sessions. Default 5000."`
	GraceHumansMS int64             `json:"grace_humans_ms,omitempty" yaml:"grace_humans_ms" min:"0" doc:"The same of humans. Default 30000."`
	BarMS         int64             `json:"bar_ms,omitempty" yaml:"bar_ms" min:"0" doc:"How long a session is kept from who declined it. Default 30000."`
	TraceEvery    int               `json:"trace_every,omitempty" yaml:"trace_every" min:"0" doc:"Keep why, of every n-th assignment. Default 1: of all."`
	TraceKeep     int               `json:"trace_keep,omitempty" yaml:"trace_keep" min:"0" max:"65536" doc:"How many of them the node keeps in memory. Default 1024."`
	TraceDays     *int              `json:"trace_days,omitempty" yaml:"trace_days" min:"0" max:"3650" doc:"How many days why stays with its session, whatever becomes of nodes. 0 is in memory alone. Default 30."`
	TraceEach     int               `json:"trace_each,omitempty" yaml:"trace_each" min:"0" max:"16" doc:"How many of one session's assignments, and as many of the offers that nobody took, the latest. Default 8."`
}

// Attributes declares attributes by name and kind.
type Attributes struct {
	Task   map[string]string `json:"task,omitempty" yaml:"task" enum:"string,number,bool,list" doc:"Of sessions."`
	Worker map[string]string `json:"worker,omitempty" yaml:"worker" enum:"string,number,bool,list" doc:"Of workers."`
}

// Shop is a storefront.
type Shop struct {
	Name         string  `json:"name" yaml:"name" required:"1" doc:"As sessions have it in their attribute shop."`
	Weight       float64 `json:"weight,omitempty" yaml:"weight" min:"0" doc:"Its share against other shops, with fair. Default 1."`
	Floor        int     `json:"floor,omitempty" yaml:"floor" min:"0" doc:"Slots below which it comes before others."`
	Cap          int     `json:"cap,omitempty" yaml:"cap" min:"0" doc:"Slots from which on it takes only what no other wants. 0 is none."`
	Calendar     string  `json:"calendar,omitempty" yaml:"calendar" doc:"Name of its calendar: its sessions are in hours while both it and their queue's are open."`
	ServiceLevel string  `json:"service_level,omitempty" yaml:"service_level" doc:"Name of its service level."`
}

// Team is a set of workers.
type Team struct {
	Name       string         `json:"name" yaml:"name" required:"1" doc:"As routes and selectors name it."`
	Workers    []string       `json:"workers,omitempty" yaml:"workers" doc:"Their ids, or subs for all instances."`
	Attributes map[string]any `json:"attributes,omitempty" yaml:"attributes" doc:"What its members have in common. Lists are added to their own."`
	Seats      []Seat         `json:"seats,omitempty" yaml:"seats" doc:"What queues are to its members."`
}

// Seat is what a queue is to a team.
type Seat struct {
	Queue    string `json:"queue" yaml:"queue" required:"1" doc:"Name of the queue."`
	Priority int32  `json:"priority,omitempty" yaml:"priority" doc:"Instead of the queue's: the smaller first."`
	DelayMS  int64  `json:"delay_ms,omitempty" yaml:"delay_ms" min:"0" doc:"They take sessions that have waited so long."`
}

// CalendarDoc is business hours as written.
type CalendarDoc struct {
	Name     string    `json:"name" yaml:"name" required:"1" doc:"As queues and shops name it."`
	Zone     string    `json:"zone" yaml:"zone" required:"1" doc:"IANA time zone, as Asia/Shanghai."`
	Weekly   []Hours   `json:"weekly" yaml:"weekly" required:"1" doc:"When it is open on weekdays."`
	Holidays []Holiday `json:"holidays,omitempty" yaml:"holidays" doc:"Dates that are otherwise."`
}

// Hours are opening hours on some weekdays.
type Hours struct {
	Days []string `json:"days" yaml:"days" required:"1" enum:"mon,tue,wed,thu,fri,sat,sun" doc:"Weekdays."`
	From string   `json:"from" yaml:"from" required:"1" pattern:"^([01][0-9]|2[0-3]):[0-5][0-9]$" doc:"HH:MM."`
	To   string   `json:"to" yaml:"to" required:"1" pattern:"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$" doc:"HH:MM, up to 24:00."`
}

// Holiday is a date that is closed, or open at other hours.
type Holiday struct {
	Date string `json:"date" yaml:"date" required:"1" pattern:"^[0-9]{4}-[0-9]{2}-[0-9]{2}$" doc:"YYYY-MM-DD."`
	Open []Span `json:"open,omitempty" yaml:"open" doc:"When it is open all the same. Default: not at all."`
}

// Span is opening hours on one date.
type Span struct {
	From string `json:"from" yaml:"from" required:"1" pattern:"^([01][0-9]|2[0-3]):[0-5][0-9]$" doc:"HH:MM."`
	To   string `json:"to" yaml:"to" required:"1" pattern:"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$" doc:"HH:MM, up to 24:00."`
}

// ServiceLevel is what is promised, and how it is counted: platforms disagree, so it is data.
type ServiceLevel struct {
	Name         string    `json:"name" yaml:"name" required:"1" doc:"As queues and shops name it."`
	Preset       string    `json:"preset,omitempty" yaml:"preset" enum:"feige,pdd-3min,pdd-5min,pdd-day,taobao,wangwang" doc:"A platform's rate to begin with; what is said here takes the place of its own."`
	FirstReplyMS int64     `json:"first_reply_ms,omitempty" yaml:"first_reply_ms" min:"1" doc:"Within which it is in time: a reply, or what clock measures. Needed without a preset."`
	Clock        string    `json:"clock,omitempty" yaml:"clock" enum:"first_response,every_response,waiting,handling" doc:"What is measured. Default every_response."`
	Target       float64   `json:"target,omitempty" yaml:"target" min:"0" max:"1" doc:"The share that shall be in time."`
	WarnAt       []float64 `json:"warn_at,omitempty" yaml:"warn_at" min:"0" max:"1" doc:"Fractions of the time at which to warn, ascending."`
	Everywhere   bool      `json:"everywhere,omitempty" yaml:"everywhere" doc:"It counts of all sessions, whether or not a queue or a shop names it."`
	Calendar     string    `json:"calendar,omitempty" yaml:"calendar" doc:"Only these hours count."`
	Count        []string  `json:"count,omitempty" yaml:"count" enum:"human,assist,bot" doc:"Whose replies count. Default human and assist."`
	Unit         string    `json:"unit,omitempty" yaml:"unit" enum:"turn,message,session,day,customer" doc:"What is one case; customer is a day's, as day. Default turn."`
	FullAuto     string    `json:"full_auto,omitempty" yaml:"full_auto" enum:"skip,run" doc:"A bot's answer where bots do not count: it ends the case uncounted, or is none. Default skip."`
	Handover     string    `json:"handover,omitempty" yaml:"handover" enum:"keep,restart" doc:"What a bot leaves to people: the wait so far, or a new clock. Default keep."`
	Transfer     string    `json:"transfer,omitempty" yaml:"transfer" enum:"keep,miss" doc:"A person's transfer without reply: the clock runs on, or it is a miss. Default keep."`
	Unanswered   string    `json:"unanswered,omitempty" yaml:"unanswered" enum:"miss,drop" doc:"A case whose session is closed before its time is over. Default miss."`
	Ignore       []string  `json:"ignore,omitempty" yaml:"ignore" doc:"Types of messages that are none."`
	CapMS        int64     `json:"cap_ms,omitempty" yaml:"cap_ms" min:"0" doc:"A longer wait counts as this one in means. 0 is none."`
	Closed       string    `json:"closed,omitempty" yaml:"closed" enum:"skip,pause" doc:"Outside of its calendar: skip what begins there, or pause its clock. Default skip."`
	Warn         []Warn    `json:"warn,omitempty" yaml:"warn" doc:"What is done as the time runs out."`
	BoostMS      int64     `json:"boost_ms,omitempty" yaml:"boost_ms" min:"0" doc:"By how much boost counts the session as having come earlier. Default the time."`
	Holding      string    `json:"holding,omitempty" yaml:"holding" doc:"The text of holding_reply."`
	HoldingBy    string    `json:"holding_by,omitempty" yaml:"holding_by" doc:"The name of the bot that says it. Default the broker itself does."`
}

// Warn is what is done at a part of a service level's time.
type Warn struct {
	At float64  `json:"at" yaml:"at" required:"1" min:"0" max:"1" doc:"The part. At 1 it is missed."`
	Do []string `json:"do" yaml:"do" required:"1" enum:"notify,boost,next_step,holding_reply" doc:"What."`
}

// Queue is one waiting line.
type Queue struct {
	Name         string          `json:"name" yaml:"name" required:"1" doc:"As sessions and workers name it."`
	Priority     int32           `json:"priority,omitempty" yaml:"priority" doc:"Who serves several queues serves the smaller one first."`
	Weight       float64         `json:"weight,omitempty" yaml:"weight" min:"0" doc:"Its share against other queues, with fair. Default 1."`
	Order        Order           `json:"order,omitzero" yaml:"order" doc:"In which order sessions wait."`
	Scoring      Scoring         `json:"scoring,omitzero" yaml:"scoring" doc:"How the best of several workers is found."`
	OfferTTLMS   int64           `json:"offer_ttl_ms,omitempty" yaml:"offer_ttl_ms" min:"0" doc:"How long people may think about an offer. Default 20000."`
	StickyMS     int64           `json:"sticky_ms,omitempty" yaml:"sticky_ms" min:"0" doc:"How long a session waits for its last worker alone, while he is there."`
	Costs        map[string]Cost `json:"costs,omitempty" yaml:"costs" doc:"Of channels, before the document's."`
	Calendar     string          `json:"calendar,omitempty" yaml:"calendar" doc:"Name of its calendar: outside of its hours steps that ask people are closed. Default always open."`
	ServiceLevel string          `json:"service_level,omitempty" yaml:"service_level" doc:"Name of its service level."`
	Handoff      Handoff         `json:"handoff,omitzero" yaml:"handoff" doc:"When a bot's session goes to people by itself."`
	ParkMS       int64           `json:"park_ms,omitempty" yaml:"park_ms" min:"0" doc:"After how much silence of a customer who was answered his session is let go until he writes again. Default never."`
	AbsentMS     int64           `json:"absent_ms,omitempty" yaml:"absent_ms" min:"0" doc:"How long a customer who waits keeps his place while his app is not connected. Default for good."`
	WrapUpMS     *int64          `json:"wrapup_ms,omitempty" yaml:"wrapup_ms" min:"0" max:"3600000" doc:"How long a person may take after a session for what is left to do, before the slot is free again. Default the tenant's."`
	Route        []Step          `json:"route,omitempty" yaml:"route" doc:"Steps, tried in order. Default: bots, and humans when no bot can take it."`
}

// Handoff is when a bot's session goes to people by itself.
type Handoff struct {
	FailedTurns uint32   `json:"failed_turns,omitempty" yaml:"failed_turns" min:"1" max:"100" doc:"After so many failed replies in a row."`
	FailedTypes []string `json:"failed_types,omitempty" yaml:"failed_types" doc:"Types of replies that are failed ones. Default fallback."`
	AskedTypes  []string `json:"asked_types,omitempty" yaml:"asked_types" doc:"When the customer asks for people: types of his messages that say so, as human."`
	When        string   `json:"when,omitempty" yaml:"when" doc:"A selector of the session alone: as soon as it holds."`
	Queue       string   `json:"queue,omitempty" yaml:"queue" doc:"To whose people. Default its own."`
}

// Order is how sessions wait.
type Order struct {
	Mode       string  `json:"mode,omitempty" yaml:"mode" enum:"ageing,strict,fifo,savable_first" doc:"Default ageing."`
	Floor      int     `json:"floor,omitempty" yaml:"floor" min:"2" doc:"With savable_first: every n-th pick is the oldest. Default 4."`
	Boosts     []Boost `json:"boosts,omitempty" yaml:"boosts" doc:"Who counts as having come earlier. The largest counts."`
	MaxBoostMS int64   `json:"max_boost_ms,omitempty" yaml:"max_boost_ms" min:"0" doc:"The most that boosts and the session's own make together."`
}

// Boost counts some sessions as having come earlier.
type Boost struct {
	When string `json:"when" yaml:"when" required:"1" doc:"A selector of the session alone."`
	MS   int64  `json:"ms" yaml:"ms" required:"1" min:"0" doc:"By how much."`
}

// Scoring is how the best of several workers is found.
type Scoring struct {
	Mode    string  `json:"mode,omitempty" yaml:"mode" enum:"banded,weighted" doc:"Default banded: the lowest load, then the score."`
	Skill   float64 `json:"skill,omitempty" yaml:"skill" min:"0" doc:"Weight of the level in the skill. Default, all three: 0.4, 0.3, 0.3."`
	Load    float64 `json:"load,omitempty" yaml:"load" min:"0" doc:"Weight of free capacity, of weighted."`
	Rating  float64 `json:"rating,omitempty" yaml:"rating" min:"0" doc:"Weight of the rating."`
	SkillBy string  `json:"skill_by,omitempty" yaml:"skill_by" doc:"The session's attribute that names the skill."`
}

// Step is one step of a route.
type Step struct {
	Name     string   `json:"name,omitempty" yaml:"name" doc:"For people."`
	Who      string   `json:"who,omitempty" yaml:"who" enum:"any,bots,humans" doc:"Default any."`
	Select   string   `json:"select,omitempty" yaml:"select" doc:"A selector: who is eligible. Default everybody."`
	Prefer   string   `json:"prefer,omitempty" yaml:"prefer" doc:"A selector: who comes before others, whatever the scores."`
	AfterMS  int64    `json:"after_ms,omitempty" yaml:"after_ms" min:"0" doc:"It opens when the session has waited so long."`
	When     string   `json:"when,omitempty" yaml:"when" enum:"waiting,unstaffed" doc:"unstaffed: it also opens while nobody is there for the steps before. Default waiting."`
	Hours    string   `json:"hours,omitempty" yaml:"hours" enum:"open,closed,always" doc:"In which part of its calendars' hours it is open. Default open, of steps that ask bots or nobody always."`
	Calendar string   `json:"calendar,omitempty" yaml:"calendar" doc:"Name of a calendar of its own. Default the queue's and the shop's together."`
	Queues   []string `json:"queues,omitempty" yaml:"queues" doc:"Overflow: the workers of these queues."`
	Teams    []string `json:"teams,omitempty" yaml:"teams" doc:"Only members of these teams; without queues wherever they work."`
	Offer    Offer    `json:"offer,omitzero" yaml:"offer" doc:"How people are asked."`
	Classify Classify `json:"classify,omitzero" yaml:"classify" doc:"Of the first step: it routes nobody, but asks one of its workers what the session is about, before the other steps."`
	Resort   string   `json:"resort,omitempty" yaml:"resort" enum:"leave_message,callback,ticket" doc:"A last step: what the customer is offered. He goes on waiting."`
	Hook     string   `json:"hook,omitempty" yaml:"hook" doc:"Of a last step: the hook that is called."`
}

// Classify is how it is asked what a session is about.
type Classify struct {
	TTLMS   int64          `json:"ttl_ms,omitempty" yaml:"ttl_ms" min:"1" doc:"How long that may take in all. Default 3000."`
	Default map[string]any `json:"default,omitempty" yaml:"default" doc:"Attributes that count where the session has none, when nobody answers or nobody is there."`
}

// Offer is how people are asked.
type Offer struct {
	N     int   `json:"n,omitempty" yaml:"n" min:"1" max:"50" doc:"How many at once; the first to accept has it. Default 1."`
	TTLMS int64 `json:"ttl_ms,omitempty" yaml:"ttl_ms" min:"0" doc:"How long. Default the queue's."`
}

// Cost is slots, or all of a worker's: [broker.All].
type Cost int

// UnmarshalYAML reads a number or all. What is neither becomes 0, which the check refuses, as it knows the line.
func (c *Cost) UnmarshalYAML(b []byte) error {
	s := strings.Trim(strings.TrimSpace(string(b)), `"'`)
	if s == "all" {
		*c = broker.All
		return nil
	}
	*c = 0
	if n, err := strconv.Atoi(s); err == nil && n >= 1 && n <= 10_000 {
		*c = Cost(n)
	}
	return nil
}

// MarshalJSON writes a number or all.
func (c Cost) MarshalJSON() ([]byte, error) {
	if c == broker.All {
		return []byte(`"all"`), nil
	}
	return strconv.AppendInt(nil, int64(c), 10), nil
}
