package selector

import (
	"maps"
	"slices"
)

// Schema says which attributes there are, and of what kind. It is not changed after it was made.
type Schema struct {
	worker map[string]Kind
	task   map[string]Kind
}

// Standard returns the attributes that every pool has.
//
//   - worker.id, .sub, .name, .kind ('bot' or 'human'), .rating (0..1), .level (0..1); the lists .skills, .queues, .teams,
//     .shops, .languages, .labels; and worker.skill(name), the level in a skill.
//   - task.queue, .intent, .tier, .language, .channel, .shop, .mood, .last_worker; the numbers .order_value, .priority; the
//     bool .vip; the list .tags.
func Standard() *Schema {
	return &Schema{
		worker: map[string]Kind{
			"id": String, "sub": String, "name": String, "kind": String, "rating": Number, "level": Number,
			"skills": List, "queues": List, "teams": List, "shops": List, "languages": List, "labels": List,
		},
		task: map[string]Kind{
			"queue": String, "intent": String, "tier": String, "language": String, "channel": String, "shop": String, "mood": String,
			"last_worker": String, "order_value": Number, "priority": Number, "vip": Bool, "tags": List,
		},
	}
}

// Extend returns a schema that also has these attributes of tasks and workers. A standard one keeps its kind: ok is false
// when it is declared as another, and name tells which.
func (s *Schema) Extend(task, worker map[string]Kind) (extended *Schema, name string, ok bool) {
	x := &Schema{worker: maps.Clone(s.worker), task: maps.Clone(s.task)}
	for _, side := range []struct {
		prefix   string
		to, from map[string]Kind
	}{{"task.", x.task, task}, {"worker.", x.worker, worker}} {
		for _, n := range slices.Sorted(maps.Keys(side.from)) {
			k := side.from[n]
			if old, known := side.to[n]; known && old != k || k == None || !isName(n) {
				return nil, side.prefix + n, false
			}
			side.to[n] = k
		}
	}
	return x, "", true
}

// Task returns the kind of a task's attribute, None when there is none of that name.
func (s *Schema) Task(name string) Kind { return s.task[name] }

// Worker returns the kind of a worker's attribute, None when there is none of that name.
func (s *Schema) Worker(name string) Kind { return s.worker[name] }

func isName(s string) bool {
	for i := range len(s) {
		if !wordByte(s[i]) || i == 0 && s[i] >= '0' && s[i] <= '9' {
			return false
		}
	}
	return s != ""
}

// Nearest returns the name that looks most like got, to guess what was meant, or "" when none does.
func Nearest(got string, names []string) string { return nearest(got, slices.Clone(names)) }

// longestGuessed is how long what was said may be, in bytes, for a guess at what was meant: names are shorter, and it takes the product of both.
const longestGuessed = 128

// nearest returns the name of the map's that looks most like got, or "" when none does.
func nearest(got string, names []string) string {
	if len(got) > longestGuessed {
		return ""
	}
	best, least := "", 1+len(got)/3
	slices.Sort(names)
	for _, n := range names {
		if max(len(n)-len(got), len(got)-len(n)) > least {
			continue // so much would have to be added or left out
		}
		if d := distance(got, n); d <= least && (best == "" || d < least) {
			best, least = n, d
		}
	}
	return best
}

// distance is how many letters are added, left out or changed between a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diagonal
			if a[i] != b[j] {
				d = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], d
		}
	}
	return row[len(b)]
}
