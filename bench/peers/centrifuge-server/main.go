// Command centrifuge-server is the opponent "centrifuge": the smallest server of that library which does this workload. What is
// published to "work" goes to the workers' channels in turn, since the library has no queues; everything else goes to its
// channel. A history of 100 publications is kept in memory for a minute, but of channels
// that begin with "live:".
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/centrifugal/centrifuge"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "host:port")
	workers := flag.Uint64("workers", 8, "channels w:0, w:1, … that share the work")
	flag.Parse()
	if err := run(*listen, *workers); err != nil {
		log.Fatal(err)
	}
}

func run(listen string, workers uint64) error {
	if workers == 0 {
		return errors.New("somebody has to work")
	}
	node, err := centrifuge.New(centrifuge.Config{ClientQueueMaxSize: 16 << 20})
	if err != nil {
		return err
	}
	var turn atomic.Uint64
	history := centrifuge.WithHistory(100, time.Minute)
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{}}, nil
	})
	node.OnConnect(func(c *centrifuge.Client) {
		c.OnSubscribe(func(_ centrifuge.SubscribeEvent, done centrifuge.SubscribeCallback) {
			done(centrifuge.SubscribeReply{}, nil)
		})
		c.OnRPC(func(e centrifuge.RPCEvent, done centrifuge.RPCCallback) {
			done(centrifuge.RPCReply{Data: e.Data}, nil) // the echo of who asks for no work
		})
		c.OnPublish(func(e centrifuge.PublishEvent, done centrifuge.PublishCallback) {
			channel := e.Channel
			if channel == "work" {
				channel = "w:" + strconv.FormatUint(turn.Add(1)%workers, 10)
			}
			var keep []centrifuge.PublishOption
			if !strings.HasPrefix(channel, "live:") {
				keep = append(keep, history)
			}
			res, err := node.Publish(channel, e.Data, keep...)
			done(centrifuge.PublishReply{Result: &res}, err)
		})
	})
	if err := node.Run(); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/connection/websocket", centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{
		ReadBufferSize: 1024, UseWriteBufferPool: true, CheckOrigin: func(*http.Request) bool { return true },
	}))
	srv := &http.Server{Addr: listen, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	return srv.ListenAndServe()
}
