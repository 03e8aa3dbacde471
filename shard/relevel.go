package shard

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"switchboard/broker"
	"switchboard/broker/level"
	"switchboard/wire"
)

// measure is what a tenant's service levels are made of: those of its configuration and of its document, and who is of which team.
// Its JSON travels with the document's settings.
type measure struct {
	Defs  []level.Definition  `json:"defs"`
	Teams map[string][]string `json:"teams,omitempty"`
}

// measureOf returns it, or nothing when there are no levels.
func measureOf(defs []level.Definition, teams []broker.Team) []byte {
	if len(defs) == 0 {
		return nil
	}
	m := measure{Defs: defs, Teams: map[string][]string{}}
	for i := range teams {
		team := &teams[i]
		for _, w := range team.Workers {
			sub, _, _ := strings.Cut(w, "/") // entries name who speaks, not his instance
			if !slices.Contains(m.Teams[team.Name], sub) {
				m.Teams[team.Name] = append(m.Teams[team.Name], sub)
			}
		}
	}
	b, err := json.Marshal(&m)
	if err != nil {
		panic(err) // it has plain fields alone
	}
	return b
}

// compile makes service levels of a measure; nil when there are none.
func compile(b []byte) (*level.Set, error) {
	if len(b) == 0 {
		return nil, nil //nolint:nilnil // none
	}
	var m measure
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, err
	}
	return level.Compile(m.Defs, m.Teams, time.LoadLocation)
}

// relevelMost is how many sessions begin to be counted anew in one step, so that others are served between: the log's end of each is read again.
const relevelMost = 128

// relevel lets the sessions of a tenant be counted by other service levels from now on. What was counted begins anew; what a session
// has open goes on by them, or is found in the end of its log: before anything is decided of it, or in one of the next steps.
func (s *Shard) relevel(tenant string, text []byte) {
	old := s.levels[tenant]
	if old == nil && len(text) == 0 || old != nil && string(old.text) == string(text) {
		return
	}
	set, err := compile(text)
	if err != nil { // of a newer version of the program: those of before go on
		s.log.Error("a tenant's service levels are not understood", "tenant", tenant, "err", err)
		return
	}
	delete(s.levels, tenant)
	if set.Len() > 0 {
		lv := &levels{tenant: tenant, set: set, text: text, rates: level.NewRates(set)}
		if old != nil {
			lv.said = old.said // that there is nothing by now is said as well
		}
		s.levels[tenant] = lv
		s.levelAt = min(s.levelAt, s.now+levelEvery)
	}
	s.outdated = slices.DeleteFunc(s.outdated, func(id wire.SessionID) bool { // who has been let go is counted by the new ones when it is read again
		h := s.sessions[id]
		return h == nil || !h.outdated || h.state == nil
	})
	begun := len(s.outdated)
	for id, h := range s.sessions {
		if h.level == nil && h.state == nil || h.state != nil && h.state.Tenant != tenant {
			continue
		}
		if h.state == nil { // whose it is is known when it is read again
			h.level = nil
			continue
		}
		switch was := h.outdated; {
		case set.Len() == 0:
			h.outdated, h.level = false, nil
			h.state.Boost(&s.env, 0, 0, false, &s.d)
		case !was: // else it is among them, however often the levels change until its turn comes
			h.outdated = true
			s.outdated = append(s.outdated, id)
		}
	}
	slices.Sort(s.outdated[begun:])
}

// relevelSome lets some of those be counted by their new levels who are counted by those before.
func (s *Shard) relevelSome() {
	n := min(len(s.outdated), relevelMost)
	for _, id := range s.outdated[:n] {
		if h := s.sessions[id]; h != nil && h.outdated && h.state != nil {
			s.catchUp(h)
			s.schedule(h)
		}
	}
	if s.outdated = s.outdated[n:]; len(s.outdated) > 0 {
		s.inbox.Nudge()
	} else {
		s.outdated = nil
	}
}

// catchUp lets h be counted by the levels that its tenant has by now.
func (s *Shard) catchUp(h *hosted) {
	if !h.outdated {
		return
	}
	if lv := s.levels[h.state.Tenant]; lv != nil && h.level != nil {
		h.level, h.levelBy = level.Succeed(lv.set, h.level, h.levelBy, h.state.Tail(), known(h.state), &lv.out), lv.set
	}
	s.restore(h, nil)
}
