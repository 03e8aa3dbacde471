package hook

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Bounds of a call.
const (
	// MaxBody is the most bytes that are posted.
	MaxBody = 64 << 10
	// MaxTimeout is the longest that a call may take.
	MaxTimeout = 30 * time.Second
	// maxAnswer is how much of an answer is read, so that its connection can be used again.
	maxAnswer = 64 << 10
	// maxRetryAfter is the longest wait that a receiver may ask for.
	maxRetryAfter = time.Hour
)

// ErrAddress says that a hook may not go where its address leads.
var ErrAddress = errors.New("the address is on this machine, in a private network or special: the node's hooks.allow does not have it")

// Config says how a node calls out. Zero means default.
type Config struct {
	// Allow are special addresses that may be called all the same; default none.
	Allow []netip.Prefix
	// Secret returns what the calls of a tenant's hook are signed with, by the name that its document has. It may be called from any
	// goroutine, and reads a file: secrets may change. It has no default.
	Secret func(tenant, name string) ([]byte, error)
	// Concurrency is how many calls may be on their way at once, in all and of one hook; default 32 and 4.
	Concurrency, PerHook int
	// Dial connects to an address, numbers and a port, that was looked at; default TCP.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Resolve finds the addresses of a name; default the machine's resolver.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// TLS is what https is spoken with; default the machine's authorities.
	TLS *tls.Config
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// Call is one attempt.
type Call struct {
	Tenant  string
	Hook    string // its name in the tenant's document
	URL     string
	Secret  string // the name of its secret
	ID      string // the same at every attempt
	Body    []byte // JSON, at most MaxBody; it must not change until the call is over
	Timeout time.Duration
}

// Result is what came of it.
type Result struct {
	// Status is what the receiver answered, 0 when it did not.
	Status int
	// Err says why it was no success, for people; it names no secret. Nil is a success: any 2xx.
	Err error
	// RetryAfter is how long the receiver wants not to be asked; at most an hour.
	RetryAfter time.Duration
	// Final says that it wants none of it, now and later: 410.
	Final bool
}

// Sender makes calls. Its methods may be called from any goroutine.
type Sender struct {
	// Fixed after Open.
	cfg    Config
	client *http.Client
	life   context.Context
	end    context.CancelFunc
	wg     sync.WaitGroup

	mu sync.Mutex
	// Guarded by mu.
	busy   int
	of     map[[2]string]int // by tenant and hook, and by tenant alone
	closed bool
}

// Open returns a sender.
func Open(cfg Config) *Sender {
	if cfg.Concurrency == 0 {
		cfg.Concurrency = 32
	}
	if cfg.PerHook == 0 {
		cfg.PerHook = 4
	}
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{Timeout: 10 * time.Second, Control: cfg.control}).DialContext
	}
	if cfg.Resolve == nil {
		cfg.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Sender{cfg: cfg, of: map[[2]string]int{}}
	s.life, s.end = context.WithCancel(context.Background())
	s.client = &http.Client{
		Transport: &http.Transport{
			DialContext: s.dial, TLSClientConfig: cfg.TLS, TLSHandshakeTimeout: 10 * time.Second, ForceAttemptHTTP2: true,
			MaxIdleConns: 64, MaxIdleConnsPerHost: cfg.PerHook, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 16 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return s
}

// Send makes a call, and then calls done once, from a goroutine of its own. It returns false when there is no room for it now: then
// done is not called.
func (s *Sender) Send(c *Call, done func(Result)) bool {
	key, tenant := [2]string{c.Tenant, c.Hook}, [2]string{c.Tenant}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.busy >= s.cfg.Concurrency || s.of[key] >= s.cfg.PerHook || s.of[tenant] >= max(s.cfg.Concurrency*3/4, s.cfg.PerHook) {
		return false
	}
	s.busy++
	s.of[key]++
	s.of[tenant]++
	s.wg.Add(1)
	go s.send(c, done)
	return true
}

func (s *Sender) send(c *Call, done func(Result)) {
	defer s.wg.Done()
	r := s.post(c)
	s.mu.Lock()
	s.busy--
	for _, key := range [...][2]string{{c.Tenant, c.Hook}, {c.Tenant}} {
		if s.of[key]--; s.of[key] == 0 {
			delete(s.of, key)
		}
	}
	s.mu.Unlock()
	done(r)
}

// Close ends the calls that are on their way, and waits for them.
func (s *Sender) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	s.wg.Wait()
	s.client.CloseIdleConnections()
}

func (s *Sender) post(c *Call) (r Result) {
	timeout := c.Timeout
	if timeout <= 0 || timeout > MaxTimeout {
		timeout = MaxTimeout
	}
	ctx, cancel := context.WithTimeout(s.life, timeout)
	defer cancel()
	secret, err := s.cfg.Secret(c.Tenant, c.Secret)
	if err != nil {
		return Result{Err: fmt.Errorf("reading secret %s: %w", c.Secret, err)}
	}
	if len(c.Body) > MaxBody {
		return Result{Err: fmt.Errorf("%d bytes; the limit is %d", len(c.Body), MaxBody), Final: true}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(c.Body))
	if err != nil {
		return Result{Err: errors.New("its url is none"), Final: true} // the text would repeat it
	}
	at := s.cfg.Now().Unix()
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "switchboard")
	req.Header.Set(HeaderID, c.ID)
	req.Header.Set(HeaderTimestamp, strconv.FormatInt(at, 10))
	req.Header.Set(HeaderSignature, Sign(secret, c.ID, at, c.Body))
	answer, err := s.client.Do(req)
	if err != nil {
		return Result{Err: plain(err)}
	}
	defer func() { _ = answer.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer)) // so that the connection can be used again
	r.Status = answer.StatusCode
	if r.Status/100 == 2 {
		return r
	}
	r.Err = fmt.Errorf("answered %d", r.Status)
	r.Final = r.Status == http.StatusGone
	if n, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && n > 0 {
		r.RetryAfter = min(time.Duration(min(n, 1<<20))*time.Second, maxRetryAfter)
	}
	return r
}

// plain returns err without the address, which may hold what is nobody's business.
func plain(err error) error {
	switch {
	case errors.Is(err, ErrAddress):
		return ErrAddress
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("no answer in time")
	case errors.Is(err, context.Canceled):
		return errors.New("the node was stopped")
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return errors.New("its host is not known")
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return fmt.Errorf("%s: %w", op.Op, op.Err)
	}
	var inner interface{ Unwrap() error }
	if errors.As(err, &inner) && inner.Unwrap() != nil {
		return inner.Unwrap() // of a *url.Error, which names the address
	}
	return errors.New("the call failed")
}

// dial resolves a name, looks at what comes of it, and connects to the first address that may be called.
func (s *Sender) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	var list []netip.Addr
	if ip, err := netip.ParseAddr(host); err == nil {
		list = []netip.Addr{ip}
	} else if list, err = s.cfg.Resolve(ctx, host); err != nil {
		return nil, err
	}
	last := ErrAddress
	for _, ip := range list {
		if !s.cfg.allows(ip) {
			continue
		}
		c, err := s.cfg.Dial(ctx, network, net.JoinHostPort(ip.Unmap().String(), port))
		if err == nil {
			return c, nil
		}
		last = err
	}
	return nil, last
}

// control looks at an address once more, as it is dialled.
func (c *Config) control(_, address string, _ syscall.RawConn) error {
	if at, err := netip.ParseAddrPort(address); err != nil || !c.allows(at.Addr()) {
		return ErrAddress
	}
	return nil
}
