package member

import (
	"runtime"
	"testing"

	"switchboard/cluster"
	"switchboard/exchange"
)

// Who finds a tenant by the exchange finds his home by the map.
func TestMapBeforePlaces(t *testing.T) {
	state := cluster.New()
	state.Version = 1
	state.Placements[cluster.Main] = &cluster.Placement{Name: cluster.Main, Tenants: []string{"demo"}}
	for range 10_000 { // the other order shows only to who looks in between
		x := exchange.New(1)
		x.Settle(&exchange.Places{})
		m := &Member{id: &Identity{}, lines: &Lines{x: x}, state: state, cfg: Config{Mapped: func() {}}}
		looks, found := make(chan struct{}), make(chan *Map)
		go func() {
			close(looks)
			for i := 1; !x.Settled("demo"); i++ { // whoever waits for a change comes late
				if i%1000 == 0 {
					runtime.Gosched() // there may be one processor
				}
			}
			found <- m.Map()
		}()
		<-looks
		m.show()
		if seen := <-found; seen == nil || seen.Home("demo") == nil {
			t.Fatal("mail finds the tenant, and the map has not got him")
		}
	}
}
