// Package routes is the document in which a tenant says how it routes: shops, teams, calendars, service levels, queues and
// their routes, in YAML or JSON. [Parse] reads it strictly, tells every mistake with its line and what was probably meant,
// and makes a [broker.Config] of it. [Schema] is its JSON Schema, published as schema.json; [Diff] tells what two documents
// differ in, by names and not by lines. examples/ of the project holds a document to begin with.
//
//	version: 1
//	teams:
//	  - {name: refunds, workers: [ann, ben], attributes: {shops: [s1, s2]}}
//	queues:
//	  - name: default
//	    route:
//	      - {name: bots, who: bots, select: "worker.skills HAS task.intent"}
//	      - {name: home, who: humans, select: "worker.shops HAS task.shop", offer: {n: 2, ttl_ms: 15000}}
//	      - {name: anybody, who: humans, after_ms: 60000}
//	      - {name: message, after_ms: 600000, resort: leave_message}
//
// Calendars say when somebody is open, in a zone, with holidays; service levels say what is promised and how it is
// counted. They are values: [Calendar.Open] is handed the time, and nothing here reads a clock. A document is read on save,
// by an operator; nothing of it is looked at while a session is routed. What was parsed is never changed, and may be used
// by anybody at once.
package routes
