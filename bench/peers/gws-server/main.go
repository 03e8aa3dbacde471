// Command gws-server is the opponent "gws": an echo of that WebSocket library with its defaults, the least that a server can do.
package main

import (
	"flag"
	"log"
	"net/http"
	"time"

	"github.com/lxzan/gws"
)

type echo struct{ gws.BuiltinEventHandler }

func (echo) OnPing(c *gws.Conn, payload []byte) { _ = c.WritePong(payload) }

func (echo) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close() //nolint:errcheck // it gives a buffer back
	_ = c.WriteMessage(m.Opcode, m.Bytes())
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "host:port")
	flag.Parse()
	upgrader := gws.NewUpgrader(echo{}, nil)
	srv := &http.Server{Addr: *listen, ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(w, r)
		if err != nil {
			return
		}
		go c.ReadLoop() // beside this goroutine, so that what the HTTP server holds is given back, as its author advises
	})}
	log.Fatal(srv.ListenAndServe())
}
