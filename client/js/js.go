// Package js holds Switchboard's JavaScript client for those who serve it: the modules of this folder as they are,
// without a build step. It has no code of its own and no state; the strings never change.
package js

import _ "embed" // for the modules below

// Source is switchboard.js, the client of frontends: an ES module without dependencies, UTF-8, at most 6 KB gzipped.
//
//go:embed switchboard.js
var Source string

// Worker is worker.js, what bots and human agents need on top of [Source]; it imports ./switchboard.js.
//
//go:embed worker.js
var Worker string
