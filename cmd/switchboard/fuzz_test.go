package main

import (
	"encoding/json"
	"reflect"
	"testing"
)

// Whatever a node answers, or what stands before it: how far an erasure is reads the same when it is written again, and can be said.
func FuzzReadErasure(f *testing.F) {
	f.Add([]byte(`{"customer":"c1","erasure":"a4f","state":"erased","at":1800000000000,"sessions":3,"also":["c2","c3"],"more":true}`))
	f.Add([]byte(`{"erasure":"a4f","sessions":-1,"also":null}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		e, err := readErasure(answer)
		if err != nil {
			return
		}
		doc, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := readErasure(doc); err != nil || !reflect.DeepEqual(again, e) {
			t.Errorf("%s reads as %+v, and that as %+v, %v", answer, e, again, err)
		}
		if e.String() == "" {
			t.Errorf("%+v is nothing in words", e)
		}
	})
}
