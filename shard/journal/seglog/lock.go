package seglog

// lock is a lock that is held across I/O. It is no mutex, as a goroutine that waits for a disk is to be seen as one that waits: in
// virtual time a disk may be slow, and time goes on only when everybody waits for something.
type lock chan struct{}

func newLock() lock { return make(lock, 1) }

func (p lock) Lock()   { p <- struct{}{} }
func (p lock) Unlock() { <-p }
