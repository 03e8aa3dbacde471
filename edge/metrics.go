package edge

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	accepted, refused, framesIn, framesOut, dropped, lagged, overloaded prometheus.Counter
	reattached, repeated, stalled, unheard                              prometheus.Counter
	handshakesFailed, unsaid                                            prometheus.Counter
	closed, errors, handshakes                                          *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "switchboard", Subsystem: "edge", Name: name, Help: help})
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "switchboard", Subsystem: "edge", Name: name, Help: help}, labels)
	}
	m := &metrics{
		accepted:         counter("connections_accepted_total", "Sockets taken."),
		refused:          counter("connections_refused_total", "Sockets refused before the upgrade."),
		framesIn:         counter("frames_in_total", "Frames of clients."),
		framesOut:        counter("frames_out_total", "Frames to clients."),
		dropped:          counter("pushes_dropped_total", "Pushes dropped because an outbox was full; they come again from the log."),
		lagged:           counter("lags_total", "Times a slow socket was told that it lags."),
		handshakesFailed: counter("tls_handshakes_failed_total", "TLS handshakes that came to nothing."),
		unsaid:           counter("ends_unsaid_total", "Ends of connections that were let go of before it was certain that their sessions and pools have heard of them."),
		overloaded:       counter("overloaded_total", "Requests refused because a shard's inbox was full."),
		unheard:          counter("assignments_unheard_total", "Assignments whose worker got deliveries and had not been told; they are told again."),
		reattached:       counter("reattached_total", "Times a session or a worker was made known to an owner that is new."),
		repeated:         counter("requests_repeated_total", "Requests that were asked for again, of an owner that is new."),
		stalled:          counter("stalls_total", "Times a client was told that its session has no owner for the moment."),
		closed:           vec("closed_total", "Connections closed by the server, by reason.", "reason"),
		handshakes:       vec("tls_handshakes_total", "TLS handshakes, by version and whether the client resumed.", "version", "resumed"),
		errors:           vec("errors_total", "Requests that the edge refused, by slug.", "slug"),
	}
	if r != nil {
		r.MustRegister(m.accepted, m.refused, m.framesIn, m.framesOut, m.dropped, m.lagged, m.overloaded, m.reattached, m.repeated, m.stalled, m.unheard, m.closed, m.errors, m.handshakes, m.handshakesFailed, m.unsaid)
	}
	return m
}
