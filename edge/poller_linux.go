package edge

import (
	"os"
	"syscall"
	"time"
	"unsafe"
)

// poller is an epoll set that is itself watched by the runtime's poller: a loop that waits is a parked goroutine, not a
// thread inside a system call, and is woken without one.
type poller struct {
	// Fixed after newPoller.
	file *os.File
	raw  syscall.RawConn
	try  func(fd uintptr) bool
	fd   int

	// Owned by the loop.
	n     int  // events that came
	armed bool // the file has a deadline
	buf   [eventsMost]syscall.EpollEvent
}

func newPoller() (*poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil { // or the runtime would not watch it
		_ = syscall.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	p := &poller{fd: fd, file: os.NewFile(uintptr(fd), "epoll")} //nolint:gosec // a descriptor
	p.raw, err = p.file.SyscallConn()
	if err == nil {
		err = p.file.SetReadDeadline(time.Time{}) // an error when it is not watched
	}
	if err != nil {
		_ = p.file.Close()
		return nil, err
	}
	p.try = func(uintptr) bool {
		p.poll()
		return p.n > 0
	}
	return p, nil
}

// poll takes the events that there are.
func (p *poller) poll() {
	for {
		n, _, e := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.buf)), eventsMost, 0, 0, 0) //nolint:gosec // as syscall.EpollWait does
		if e == syscall.EINTR {
			continue
		}
		p.n = 0
		if e == 0 {
			p.n = int(n) //nolint:gosec // at most eventsMost
		}
		return
	}
}

// arm bounds the next wait, when most is not 0. It must come before anybody may call wake.
func (p *poller) arm(most time.Duration) {
	if p.armed = most > 0; p.armed {
		_ = p.file.SetReadDeadline(time.Now().Add(most))
	}
}

// wait takes the events that there are. When there are none it waits for some, for wake, or as long as arm said.
func (p *poller) wait() {
	if err := p.raw.Read(p.try); err != nil {
		p.n, p.armed = 0, true
	}
}

// disarm ends what arm and wake did. A wake that is under way still ends the next wait, for nothing.
func (p *poller) disarm() {
	if p.armed {
		_ = p.file.SetReadDeadline(time.Time{})
	}
}

// wake ends a wait, or the next one. It may be called from any goroutine.
func (p *poller) wake() { _ = p.file.SetReadDeadline(time.Unix(1, 0)) }

// events returns what poll or wait took; they are good until the next.
func (p *poller) events() []syscall.EpollEvent { return p.buf[:p.n] }

// add registers a descriptor for life. Its events carry slot and gen.
func (p *poller) add(fd, slot, gen int32) error {
	ev := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLOUT | syscall.EPOLLRDHUP | syscall.EPOLLET&0xffffffff, Fd: slot, Pad: gen}
	return os.NewSyscallError("epoll_ctl", syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_ADD, int(fd), &ev))
}

// exclusive asks the kernel to wake one loop for an event of a door, and not all. Beneath the runtime's poller, which is who waits, that may
// not help: a loop that is woken for nothing finds the door empty.
const exclusive = 1 << 28 // EPOLLEXCLUSIVE

// listen registers a listening socket. Its events come as long as somebody waits there.
func (p *poller) listen(fd, slot int32) error {
	ev := syscall.EpollEvent{Events: syscall.EPOLLIN | exclusive, Fd: slot}
	return os.NewSyscallError("epoll_ctl", syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_ADD, int(fd), &ev))
}

func (p *poller) remove(fd int32) { _ = syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_DEL, int(fd), nil) }

func (p *poller) close() { _ = p.file.Close() }

// duplicate returns another descriptor of the same socket.
func duplicate(t syscall.Conn) (fd int, err error) {
	raw, err := t.SyscallConn()
	if err != nil {
		return 0, err
	}
	if e := raw.Control(func(old uintptr) {
		n, _, no := syscall.Syscall(syscall.SYS_FCNTL, old, syscall.F_DUPFD_CLOEXEC, 0)
		if no != 0 {
			err = os.NewSyscallError("fcntl", no)
		}
		fd = int(n) //nolint:gosec // a descriptor
	}); e != nil {
		return 0, e
	}
	return fd, err
}

// acceptOne accepts a connection, and tells its address when that is wanted.
func acceptOne(door int32, wanted bool) (fd int32, ip string, err error) {
	if wanted {
		n, from, err := syscall.Accept4(int(door), syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		switch a := from.(type) {
		case *syscall.SockaddrInet4:
			ip = countedBy(a.Addr[:])
		case *syscall.SockaddrInet6:
			ip = countedBy(a.Addr[:])
		}
		return int32(n), ip, err //nolint:gosec // a descriptor
	}
	n, _, e := syscall.RawSyscall6(syscall.SYS_ACCEPT4, uintptr(door), 0, 0, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0, 0)
	if e != 0 {
		return -1, "", e
	}
	return int32(n), "", nil //nolint:gosec // a descriptor
}

// rawMost is up to how many bytes are handed to the kernel without telling the scheduler.
const rawMost = 32 << 10

// read reads from a non-blocking socket, at its end 0 bytes. It asks the socket, and not the file that it is as well: that is a twentieth of
// what the kernel does for a message in and one out.
func read(fd int32, b []byte) (int, error) {
	for {
		n, _, e := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), 0, 0, 0) //nolint:gosec // as syscall.Read does
		switch e {
		case 0:
			return int(n), nil //nolint:gosec // at most len(b)
		case syscall.EINTR:
		default:
			return 0, e
		}
	}
}

// write writes to a non-blocking socket what it takes.
func write(fd int32, b []byte) (n int, err error) {
	if len(b) > rawMost {
		n, err = syscall.Write(int(fd), b)
		return max(n, 0), err
	}
	for {
		n, _, e := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), syscall.MSG_NOSIGNAL, 0, 0) //nolint:gosec // as syscall.Write does
		switch e {
		case 0:
			return int(n), nil //nolint:gosec // at most len(b)
		case syscall.EINTR:
		default:
			return 0, e
		}
	}
}
