package sealed

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
)

const whole = `{
  "version": 1,
  "who": {"ann": [1, 2], "bob": "aé\u00e9<"},
  "apart": {"x": 1}
}
`

var known = []string{"version", "who", "apart"}

func seal(t *testing.T, doc string) []byte {
	t.Helper()
	b, err := Seal([]byte(doc), "apart")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What is sealed is whole, also when somebody has laid it out anew; what is apart may change.
func TestSeal(t *testing.T) {
	f := func(b []byte) {
		t.Helper()
		if has, err := Check(b, nil, "apart"); !has || err != nil {
			t.Errorf("%s: %v, %v", b, has, err)
		}
	}
	b := seal(t, whole)
	f(b)
	f(seal(t, `{"version":1}`))
	f(bytes.Replace(b, []byte(`"x": 1`), []byte(`"y": 2`), 1))
	var compact bytes.Buffer
	if err := json.Compact(&compact, b); err != nil {
		t.Fatal(err)
	}
	f(compact.Bytes())
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(b, &fields); err != nil {
		t.Fatal(err)
	}
	again, err := json.MarshalIndent(fields, " ", " ")
	if err != nil {
		t.Fatal(err)
	}
	f(again)
	for _, bad := range []string{"", "null", "{}", "[1]", string(b)} {
		if b, err := Seal([]byte(bad)); err == nil {
			t.Errorf("%q is sealed as %q", bad, b)
		}
	}
	if has, err := Check([]byte(whole), known); has || err != nil {
		t.Errorf("without a checksum: %v, %v", has, err)
	}
	if _, err := Check([]byte(`{"version":1,"who":2,"apart":3,"more":4}`), known); !errors.Is(err, ErrDamaged) {
		t.Errorf("with a field that nobody knows, and without a checksum: %v", err)
	}
}

// Every bit and every end: what is not told of says the same as before.
func TestFlips(t *testing.T) {
	const doc = `{"version":1,"who":{"ann":[1,2],"annx":"a\u00e9"},"two":"é<","sun":1}`
	b := seal(t, doc)
	told := 0
	f := func(b []byte, what string, at int) {
		t.Helper()
		if _, err := Check(b, known, "apart"); err != nil {
			told++
			return
		}
		var was, is map[string]json.RawMessage
		if err := errors.Join(json.Unmarshal([]byte(doc), &was), json.Unmarshal(b, &is)); err != nil {
			t.Fatal(err)
		}
		delete(is, Field)
		x, _ := json.Marshal(was)
		if y, _ := json.Marshal(is); !bytes.Equal(x, y) {
			t.Errorf("%s %d: %s is whole", what, at, b)
		}
	}
	for i := range len(b) * 8 {
		c := bytes.Clone(b)
		c[i/8] ^= 1 << (i % 8)
		f(c, "bit", i)
	}
	if told < len(b)*8*99/100 {
		t.Errorf("of %d bits %d are told of", len(b)*8, told)
	}
	told = 0
	for n := range b {
		f(b[:n], "end", n)
	}
	if told != len(b) {
		t.Errorf("of %d ends %d are told of", len(b), told)
	}
}
