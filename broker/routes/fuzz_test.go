package routes

import (
	"reflect"
	"testing"
)

// FuzzParseRules reads what a pool tells the shards of a document, from whatever bytes: rules, hooks and settings are refused or read, and the same bytes say the same
// again.
func FuzzParseRules(f *testing.F) {
	for _, s := range []string{
		``, `{}`, `null`, `[]`, `{"tenant":{"reopen_window_ms":1}}`,
		`{"rules":[{"queue":"a","failed_turns":3,"failed_types":["x"],"when":"intent == 'refund'","to":"b","park_ms":1,"wrapup_ms":0}]}`,
		`{"rules":[{"queue":"a","when":"(("}]}`, `{"hooks":[{"name":"a","url":"http://127.0.0.1/"}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		rules, err := ParseRules(b)
		again, err2 := ParseRules(b)
		if (err == nil) != (err2 == nil) || len(rules) != len(again) {
			t.Fatalf("%d rules, %v; and then %d, %v", len(rules), err, len(again), err2)
		}
		for i := range rules {
			if (rules[i].Holds == nil) != (rules[i].When == "") {
				t.Fatalf("rule %d holds by %v where it says %q", i, rules[i].Holds, rules[i].When)
			}
		}
		hooks, err := ParseHooks(b)
		if err == nil {
			_ = hooks.Named("a")
		}
		set, err := ParseSettings(b)
		if s, err2 := ParseSettings(b); (err == nil) != (err2 == nil) || !reflect.DeepEqual(set, s) {
			t.Fatalf("%+v, %v; and then %+v, %v", set, err, s, err2)
		}
	})
}
