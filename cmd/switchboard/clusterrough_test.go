package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// rough is a bad way between the nodes of a lab: what they send to each other goes through a device whose other end is this process,
// which loses packets, delays each by a time of its own, so that they overtake each other, and lets some come twice. Clients are not on it.
type rough struct {
	lab  *lab
	ends []*os.File // the devices, by the nodes' numbers
	wg   sync.WaitGroup

	mu sync.Mutex
	// Guarded by mu.
	rng                       *rand.Rand
	passed, lost, late, twice int
}

// What of a hundred packets is lost and comes twice, and the longest delay.
const (
	roughLost  = 3
	roughTwice = 1
	roughDelay = 20 * time.Millisecond
)

// roughen puts all nodes behind a bad way, which ends with smooth. It returns nil where there are no such devices.
func (l *lab) roughen(seed uint64) *rough {
	l.t.Helper()
	r := &rough{lab: l, rng: rand.New(rand.NewPCG(seed, 1))} //nolint:gosec // it shall be repeatable
	l.t.Cleanup(r.close)
	for i := range l.w.nodes {
		dev := fmt.Sprint(l.name, "r", i)
		end, err := openTun(dev)
		if err != nil {
			l.t.Logf("no packets are lost: %s cannot be made here: %v", dev, err)
			return nil
		}
		r.ends = append(r.ends, end)
		l.do("ip", "link", "set", dev, "netns", l.ns(i))
		l.do("ip", "-n", l.ns(i), "link", "set", dev, "up")
	}
	for i := range r.ends {
		r.wg.Go(func() { r.carry(i) })
	}
	l.routes("add")
	return r
}

// routes lets what nodes send to each other go through the devices, or no more.
func (l *lab) routes(verb string) {
	l.t.Helper()
	for i := range l.w.nodes {
		for k := range l.w.nodes {
			if i != k {
				l.do("ip", "-n", l.ns(i), "route", verb, l.ip(k+1)+"/32", "dev", fmt.Sprint(l.name, "r", i), "src", l.ip(i+1))
			}
		}
	}
}

// smooth ends it. The devices go with their descriptors.
func (r *rough) smooth() {
	r.lab.t.Helper()
	r.lab.routes("del")
	r.close()
	r.lab.t.Logf("a bad way: %d packets, %d lost, %d twice, %d more than 10 ms late", r.passed, r.lost, r.twice, r.late)
	if r.lost == 0 || r.twice == 0 || r.late == 0 {
		r.lab.t.Error("the way was not as bad as it should be: nothing was tested")
	}
}

// close ends the devices, and what carries. Doing it again does nothing.
func (r *rough) close() {
	for _, f := range r.ends {
		_ = f.Close()
	}
	r.wg.Wait()
}

// carry takes what node i sends.
func (r *rough) carry(i int) {
	b := make([]byte, 1<<16)
	for {
		n, err := r.ends[i].Read(b)
		if err != nil {
			return
		}
		const header = 20 // IPv4; what it is for stands at its end
		if n < header || b[0]>>4 != 4 || b[19] == 0 || int(b[19]) > len(r.ends) {
			continue
		}
		r.post(append([]byte(nil), b[:n]...), r.ends[b[19]-1])
	}
}

func (r *rough) post(packet []byte, to *os.File) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.passed++
	if r.rng.IntN(100) < roughLost {
		r.lost++
		return
	}
	copies := 1
	if r.rng.IntN(100) < roughTwice {
		r.twice++
		copies = 2
	}
	for range copies {
		delay := time.Duration(r.rng.Int64N(int64(roughDelay)))
		if delay > roughDelay/2 {
			r.late++
		}
		time.AfterFunc(delay, func() { _, _ = to.Write(packet) }) // a way that is closed loses it
	}
}

// openTun makes a device that carries IP packets, and ends with the file.
func openTun(name string) (*os.File, error) {
	const tunSetIff, tunPackets = 0x400454ca, 0x1001 // TUNSETIFF; IFF_TUN | IFF_NO_PI, linux/if_tun.h
	fd, err := syscall.Open("/dev/net/tun", syscall.O_RDWR|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	var req struct {
		name  [16]byte
		flags uint16
		_     [22]byte
	}
	copy(req.name[:15], name)
	req.flags = tunPackets
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), tunSetIff, uintptr(unsafe.Pointer(&req))); e != 0 { //nolint:gosec // as the kernel wants it
		_ = syscall.Close(fd)
		return nil, fmt.Errorf("making the device: %w", e)
	}
	return os.NewFile(uintptr(fd), name), nil //nolint:gosec // a descriptor
}

// bad lets the nodes talk over a bad way, moves a shard, and kills a leader meanwhile.
func (l *lab) bad(n *trioNode, rng *rand.Rand) {
	l.t.Helper()
	l.w.mark()
	r := l.roughen(rng.Uint64())
	if r == nil {
		return
	}
	last(2 * time.Second)
	l.w.move(uint16(rng.IntN(trioShards))) //nolint:gosec // small
	n.signal(syscall.SIGKILL)
	_ = n.wait() // it was killed
	last(faultFor)
	l.w.start(n)
	_, pause := l.w.all(time.Now())
	l.t.Logf("all acknowledge on the bad way, after pauses of %v at most", pause)
	r.smooth()
	l.over(fmt.Sprintf("packets are lost, late and doubled, and %s is killed", n.name))
}
