package shard

import (
	"slices"
	"strings"

	"switchboard/broker/selector"
	"switchboard/wire"
)

// attributesOf returns what selectors see of a task: what its session was opened with or was said since, and what the broker
// knows better, which comes before that. Attributes above the bounds of [selector.ParseAttrs] are left out altogether: the
// session is then routed by what the broker knows.
func attributesOf(m *wire.Task) selector.Attrs {
	said, err := selector.ParseAttrs(m.Attributes)
	if err != nil {
		said = nil
	}
	known := [...]struct{ name, value string }{
		{"channel", m.Channel}, {"last_worker", m.Sticky}, {"queue", m.Queue}, {"shop", m.Shop}, {"tier", m.Tier},
	}
	n := 0
	for _, k := range known {
		if k.value != "" {
			n++
		}
	}
	out := make(selector.Attrs, 0, len(said)+n) // it stays as long as the session is worked on
	for _, k := range known {
		if k.value != "" {
			out = append(out, selector.Attr{Name: k.name, Value: selector.StringOf(k.value)})
		}
	}
	for _, a := range said {
		if !slices.ContainsFunc(out[:n], func(o selector.Attr) bool { return o.Name == a.Name }) {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(a, b selector.Attr) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// ownWords are what selectors see of a worker by other means than its attributes.
var ownWords = [...]string{"id", "kind", "name", "queues", "rating", "skills", "sub", "teams"}

// traitsOf returns what selectors see of a worker besides what subscribe says: its token's attributes, and its token's shop among
// its shops. What its teams have in common the pool adds. Attributes that cannot be read are left out.
func traitsOf(who *wire.Principal) selector.Attrs {
	a, err := selector.ParseAttrs(who.Able().Attributes)
	if err != nil {
		a = nil
	}
	a = slices.DeleteFunc(a, func(x selector.Attr) bool { return slices.Contains(ownWords[:], x.Name) })
	if who.Shop == "" {
		return a
	}
	shops := []string{who.Shop}
	for shop := range a.Get("shops").Strings {
		if shop != who.Shop {
			shops = append(shops, shop)
		}
	}
	return a.With("shops", selector.ListOf(shops...))
}
