// Package console holds the demo page: one conversation as its customer, its agent and its log see it.
//
// The page is plain files: an HTML document, a style sheet, ES modules, and the JavaScript client of client/js under
// its own name. Nothing is built, nothing comes from another origin, and nothing is inline, so [Policy] can be strict.
// The page fetches demo/tokens.json from the node that serves it, {"customer":"…","agent":"…"}, and speaks to
// v1/connect of the same origin; both are relative, so it may stand below any path that ends in a slash.
//
// The package knows no HTTP library: [Serve] answers a path with bytes, and whoever listens sends them. All functions
// are safe for concurrent use; the bytes are shared and must not be changed.
package console
