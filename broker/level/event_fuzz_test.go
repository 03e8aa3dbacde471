package level

import (
	"encoding/json"
	"fmt"
	"testing"
)

// What field finds in the body of an event is what a decoder finds there, whatever people have put into the strings beside it.
func FuzzField(f *testing.F) {
	f.Add("queue", "refunds", "reason", `,"queue":"others"`)
	f.Add("reason", `{"queue":"others"}`, "queue", `re\"fu"nds`)
	f.Add(`"queue"`, "a", "queue", "<b>\n")
	f.Add(`a,"queue":"`, `"queue":"`, "x", "\\")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string) {
		var quoted [4][]byte
		for i, s := range []string{k1, v1, k2, v2} {
			var err error
			if quoted[i], err = json.Marshal(s); err != nil {
				t.Fatal(err)
			}
		}
		body := fmt.Appendf(nil, `{%s:%s,%s:%s}`, quoted[0], quoted[1], quoted[2], quoted[3])
		var all map[string]string
		if err := json.Unmarshal(body, &all); err != nil {
			t.Fatal(err)
		}
		if len(all) < 2 {
			return // a name stands there twice, which nobody writes
		}
		if got := field(body, `"queue"`); string(got) != all["queue"] {
			t.Fatalf("the queue of %s is %q, and %q to a decoder", body, got, all["queue"])
		}
	})
}
