package edge

// sparing spaces what a worker's connection asks of its pool because mail was lost. Each such question makes every session of his tell all that it has: asked by
// everybody at every loss, while mail is lost because the ways are full, the answers would keep them full. The first is asked at once, the next after growing
// pauses, which say how long who was not told of a session may wait while losses do not end. The zero sparing has asked nothing.
type sparing struct {
	at    int64 // Unix ms, when it was asked
	pause int64 // ms until it may be again
}

// sparingMost is the longest pause, in ms. Twice a pause without a loss ends it.
const sparingMost = 8000

// over tells whether it may be asked: also when the clock was set back.
func (m *sparing) over(now int64) bool { return now < m.at || now-m.at >= m.pause }

// ask notes that it is asked.
func (m *sparing) ask(now int64) {
	if now-m.at < 2*m.pause {
		m.pause = min(2*m.pause, sparingMost)
	} else {
		m.pause = againAfter
	}
	m.at = now
}
