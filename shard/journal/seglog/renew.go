package seglog

import (
	"fmt"
	"slices"
)

// Renew goes on in a new file, and returns its number: what was written up to now is in files of lower numbers, and no file that is made from now on has
// ever held anything else. The spares go, as they may be recycled; and until Renewed is called, files that nobody needs are removed instead of being
// recycled. So when Truncate has brought Lowest up to the number, nothing of what was written before is in the folder any more. ErrNoSpace leaves the log as it
// was, but for the spares; after another error it is dead.
func (l *Log) Renew() (num uint64, err error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.failure(); err != nil {
		return 0, err
	}
	l.keeping.Lock()
	err = l.shed()
	l.keeping.Unlock()
	if err != nil {
		return 0, l.fail(err)
	}
	if l.at == block { // the first file, and nothing was ever written
		return l.active.num, nil
	}
	if err := l.roll(); err != nil {
		return 0, err
	}
	return l.active.num, nil
}

// shed removes the spares, the highest first: a crash between two leaves no hole in the numbers. It needs keeping.
func (l *Log) shed() error {
	l.mu.Lock()
	l.renewing = true
	spares := l.spares
	l.spares = nil
	l.mu.Unlock()
	for _, s := range slices.Backward(spares) {
		if err := s.f.Close(); err != nil {
			return fmt.Errorf("closing segment %d: %w", s.num, err)
		}
		if err := l.cfg.FS.Remove(l.path(s.num)); err != nil {
			return fmt.Errorf("removing segment %d: %w", s.num, err)
		}
		if err := l.syncDir(l.cfg.Dir); err != nil {
			return err
		}
		l.top = s.num - 1
	}
	return nil
}

// Renewed ends what Renew has begun: files are recycled again.
func (l *Log) Renewed() {
	l.mu.Lock()
	l.renewing = false
	l.mu.Unlock()
}

// Lowest returns the number of the lowest file that holds records.
func (l *Log) Lowest() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.segs) == 0 {
		return 0
	}
	return l.segs[0].num
}
