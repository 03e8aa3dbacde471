package page

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"switchboard/broker/whatif"
)

// asWritten is the policy of a day that is played by its own.
const asWritten = "as written"

// asItWas is the policy of a recorded day before it is played.
const asItWas = "as it was"

// Table writes results for terminals: a line each, and the hours when there is one.
func Table(w io.Writer, zone *time.Location, results ...*whatif.Result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(t, format+"\t\n", args...) } // Flush tells
	line("policy\tsessions\tby bots\twanted a person\tin time\tmean wait of all\tp95\tlongest\tleft\tunserved\tagent hours")
	for _, r := range results {
		p := &r.People
		line("%s\t%d\t%d\t%d\t%s\t%s\t%s\t%s\t%d\t%d\t%.0f", cmp.Or(r.Policy, asWritten), r.Sessions, r.Alone, p.Wanted, percent(p.Rate), seconds(p.MeanLine), seconds(p.P95), seconds(p.MaxWait), p.Left, p.Unserved, r.AgentHours)
	}
	turned := false
	for _, r := range results {
		if r.Rejected > 0 || r.Resorts > 0 {
			if !turned { // in columns of their own: in those above such words would make every figure as wide
				line("")
				line("policy\trejected as too many\toffered the last resort\ttook it")
			}
			turned = true
			line("%s\t%d\t%d\t%d", cmp.Or(r.Policy, asWritten), r.Rejected, r.Resorts, r.People.Resorted)
		}
	}
	if len(results) == 1 {
		line("")
		line("hour\tsessions\twanted a person\tin time\tmean wait of all\tp95\tleft\tlongest line\tpeople\tfull")
		for i := range results[0].Hours {
			h := &results[0].Hours[i]
			line("%s\t%d\t%d\t%s\t%s\t%s\t%d\t%d\t%.1f\t%s", time.UnixMilli(h.At).In(zone).Format("15:04"), h.Arrived, h.Wanted, percent(h.Rate), seconds(h.MeanLine), seconds(h.P95), h.Left, h.Line, h.Agents, percent(h.Occupied))
		}
	}
	levels := false
	counted := func(policy string, lines []whatif.LevelLine) {
		for _, l := range lines {
			if l.Shop != "" {
				continue
			}
			if !levels {
				line("")
				line("policy\tlevel\tin time\tof\trate\tmean\tp95")
			}
			levels = true
			line("%s\t%s\t%d\t%d\t%s\t%s\t%s", policy, l.Level, l.Met, l.Count, percent(l.Rate), seconds(l.MeanMS), seconds(l.P95MS))
		}
	}
	for _, r := range results {
		if r.Was != nil {
			counted(asItWas, r.Was.Levels)
		}
		counted(r.Policy, r.Levels)
	}
	return t.Flush()
}

// StaffTable writes how many people each hour needs for terminals.
func StaffTable(w io.Writer, s *whatif.Staffing) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	put := func(format string, args ...any) { _, _ = fmt.Fprintf(t, format, args...) } // Flush tells
	put("hour\twanted a person\tat a time\t")
	for _, p := range s.Plans {
		put("for %s\t", percent(p.Target))
	}
	put("the formula\t\n")
	for h := range s.Hours {
		put("%02d:00\t%d\t%.1f\t", h, s.Hours[h].Wanted, s.Hours[h].Load)
		for _, p := range s.Plans {
			mark := ""
			if !p.Reached[h] {
				mark = "!"
			}
			put("%d%s\t", p.People[h], mark)
		}
		put("%d\t\n", s.Hours[h].Erlang)
	}
	put("agent hours\t\t\t")
	for _, p := range s.Plans {
		put("%.0f\t", p.AgentHours)
	}
	put("\t\n\npeople\tagent hours\tin time\tworst hour\tmean in line\tleft\t\n")
	for _, c := range s.Cliff {
		put("%s\t%.0f\t%s\t%s\t%s\t%d\t\n", percent(c.Factor), c.Agents, percent(c.Rate), percent(c.Worst), seconds(c.MeanWait), c.Left)
	}
	return t.Flush()
}

func integer[T int | int64](v T) string { return strconv.FormatInt(int64(v), 10) }

func float(v float64) string { return strconv.FormatFloat(v, 'f', 4, 64) }

// CSV writes the hours of results, one a line. Times are in ms, the hour in RFC 3339.
func CSV(w io.Writer, zone *time.Location, results ...*whatif.Result) error {
	c := csv.NewWriter(w)
	_ = c.Write([]string{"policy", "hour", "sessions", "wanted", "answered", "left", "unserved", "in_time", "rate", "mean_line_ms", "p95_ms", "max_ms", "line", "agents", "busy", "bots", "occupied"}) // Error tells
	for _, r := range results {
		for i := range r.Hours {
			h := &r.Hours[i]
			_ = c.Write([]string{
				cmp.Or(r.Policy, asWritten), time.UnixMilli(h.At).In(zone).Format(time.RFC3339), integer(h.Arrived), integer(h.Wanted), integer(h.Answered), integer(h.Left), integer(h.Unserved), integer(h.InTime),
				float(h.Rate), integer(h.MeanLine), integer(h.P95), integer(h.MaxWait), integer(h.Line), float(h.Agents), float(h.Busy), float(h.Bots), float(h.Occupied),
			})
		}
	}
	c.Flush()
	return c.Error()
}

// StaffCSV writes how many people each hour needs, one hour a line and for each target their number, the share in time with them, and whether that is the target.
func StaffCSV(w io.Writer, s *whatif.Staffing) error {
	c := csv.NewWriter(w)
	head := []string{"hour", "wanted", "load", "erlang"}
	for _, p := range s.Plans {
		target := strconv.FormatFloat(p.Target, 'g', -1, 64)
		head = append(head, "people_"+target, "rate_"+target, "reached_"+target)
	}
	_ = c.Write(head) // Error tells
	for h := range s.Hours {
		row := []string{integer(h), integer(s.Hours[h].Wanted), float(s.Hours[h].Load), integer(s.Hours[h].Erlang)}
		for _, p := range s.Plans {
			row = append(row, integer(p.People[h]), float(p.Rates[h]), strconv.FormatBool(p.Reached[h]))
		}
		_ = c.Write(row)
	}
	c.Flush()
	return c.Error()
}
