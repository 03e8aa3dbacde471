package hook_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"switchboard/hook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

func secret(_, name string) ([]byte, error) {
	if name == "none" {
		return nil, errors.New("the node's hooks.secrets does not have it")
	}
	return []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"), nil
}

func open(t *testing.T, change func(*hook.Config)) *hook.Sender {
	t.Helper()
	cfg := hook.Config{Allow: loopback, Secret: secret}
	if change != nil {
		change(&cfg)
	}
	s := hook.Open(cfg)
	t.Cleanup(s.Close)
	return s
}

func call(s *hook.Sender, url string) hook.Result {
	return callOf(s, &hook.Call{Tenant: "demo", Hook: "tickets", URL: url, Secret: "tickets", ID: "msg_1", Body: []byte(`{"a":1}`), Timeout: 5 * time.Second})
}

func callOf(s *hook.Sender, c *hook.Call) hook.Result {
	got := make(chan hook.Result, 1)
	if !s.Send(c, func(r hook.Result) { got <- r }) {
		return hook.Result{Err: errors.New("no room")}
	}
	return <-got
}

// The vector of Standard Webhooks' own documents, and secrets that are not base64.
func TestSign(t *testing.T) {
	f := func(secret, want string) {
		t.Helper()
		if got := hook.Sign([]byte(secret), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, []byte(`{"test": 2432232314}`)); got != want {
			t.Errorf("under %q it is %s; want %s", secret, got, want)
		}
	}
	const want = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	f("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", want)
	f(" whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", want)
	plain := hook.Sign([]byte("whsec_!"), "a", 1, nil)
	if plain == hook.Sign([]byte("other"), "a", 1, nil) || plain == hook.Sign([]byte("whsec_!"), "a", 2, nil) || plain == hook.Sign([]byte("whsec_!"), "b", 1, nil) || plain == hook.Sign([]byte("whsec_!"), "a", 1, []byte("x")) {
		t.Error("secret, id, time and body are not all signed")
	}
}

// What is posted is whole, signed, and the same at every attempt; what is answered is told.
func TestCall(t *testing.T) {
	status, after := 200, ""
	var bodies [][]byte
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		at, err2 := strconv.ParseInt(r.Header.Get("webhook-timestamp"), 10, 64)
		key, _ := secret("", "")
		if err != nil || err2 != nil || r.Method != "POST" || r.Header.Get("webhook-id") != "msg_1" || r.Header.Get("content-type") != "application/json" ||
			r.Header.Get("webhook-signature") != hook.Sign(key, "msg_1", at, body) {
			t.Errorf("%s %v %q", r.Method, r.Header, body)
		}
		bodies = append(bodies, body)
		if after != "" {
			w.Header().Set("Retry-After", after)
		}
		w.WriteHeader(status)
		_, _ = w.Write(bytes.Repeat([]byte("x"), 1<<20)) // nobody reads all of it
	}))
	defer srv.Close()
	s := open(t, nil)
	f := func(st int, ra string, want hook.Result) {
		t.Helper()
		status, after = st, ra
		r := call(s, srv.URL)
		if r.Status != want.Status || r.Final != want.Final || r.RetryAfter != want.RetryAfter || (r.Err == nil) != (st/100 == 2) {
			t.Errorf("%d is told as %+v", st, r)
		}
	}
	f(200, "", hook.Result{Status: 200})
	f(204, "", hook.Result{Status: 204})
	f(500, "", hook.Result{Status: 500})
	f(429, "7", hook.Result{Status: 429, RetryAfter: 7 * time.Second})
	f(503, "soon", hook.Result{Status: 503})
	f(503, "99999999", hook.Result{Status: 503, RetryAfter: time.Hour})
	f(302, "", hook.Result{Status: 302})
	f(410, "", hook.Result{Status: 410, Final: true})
	for _, b := range bodies {
		if string(b) != `{"a":1}` {
			t.Errorf("%q", b)
		}
	}
}

// A redirect is not followed: it would lead where nobody has looked.
func TestRedirect(t *testing.T) {
	inner := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect is followed") }))
	defer inner.Close()
	srv := httptest.NewServer(http.RedirectHandler(inner.URL, http.StatusTemporaryRedirect))
	defer srv.Close()
	if r := call(open(t, nil), srv.URL); r.Status != 307 || r.Err == nil {
		t.Fatalf("%+v", r)
	}
}

// What is on this machine, private or special is not called, whatever name leads there and however it is written.
func TestAddresses(t *testing.T) {
	var dialled []string
	names := map[string][]netip.Addr{
		"public.test":  {netip.MustParseAddr("93.184.216.34")},
		"inside.test":  {netip.MustParseAddr("10.0.0.7")},
		"mixed.test":   {netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("2606:2800:220:1::1")},
		"mapped.test":  {netip.MustParseAddr("::ffff:192.168.1.1")},
		"allowed.test": {netip.MustParseAddr("10.9.0.7")},
		"nobody.test":  nil,
	}
	s := open(t, func(c *hook.Config) {
		c.Allow = []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}
		c.Resolve = func(_ context.Context, host string) ([]netip.Addr, error) { return names[host], nil }
		c.Dial = func(_ context.Context, _, addr string) (net.Conn, error) {
			dialled = append(dialled, addr)
			return nil, errors.New("dialled")
		}
	})
	f := func(host, want string) {
		t.Helper()
		dialled = nil
		r := call(s, "http://"+host+"/")
		if got := strings.Join(dialled, " "); got != want || (want == "") != errors.Is(r.Err, hook.ErrAddress) || r.Err == nil {
			t.Errorf("%s leads to %q, %v; want %q", host, got, r.Err, want)
		}
	}
	f("public.test", "93.184.216.34:80")
	f("93.184.216.34:81", "93.184.216.34:81")
	f("mixed.test", "[2606:2800:220:1::1]:80")
	f("allowed.test", "10.9.0.7:80")
	for _, host := range []string{
		"inside.test", "mapped.test", "nobody.test", "127.0.0.1", "127.9.9.9:8080", "[::1]", "0.0.0.0", "[::]", "10.8.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254",
		"[fe80::1]", "[fc00::1]", "[::ffff:127.0.0.1]", "[::ffff:a00:1]", "100.64.0.1", "224.0.0.1", "255.255.255.255", "[64:ff9b::7f00:1]", "[64:ff9b:1::1]", "[::7f00:1]", "[::ffff:0:7f00:1]", "[fec0::1]", "[100::1]", "[5f00::1]", "[3fff::1]", "[2002:7f00:1::]", "198.18.0.1", "[ff02::1]",
	} {
		f(host, "")
	}
}

// The usual way to dial looks once more at what it dials.
func TestDialLooks(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("called") }))
	defer srv.Close()
	if r := call(open(t, func(c *hook.Config) { c.Allow = nil }), srv.URL); !errors.Is(r.Err, hook.ErrAddress) {
		t.Fatalf("%+v", r)
	}
}

// A certificate that nobody vouches for is no receiver; with its authority it is.
func TestTLS(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer srv.Close()
	srv.Config.ErrorLog = nil
	if r := call(open(t, nil), srv.URL); r.Err == nil || strings.Contains(r.Err.Error(), srv.URL) {
		t.Fatalf("%+v", r)
	}
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	if r := call(open(t, func(c *hook.Config) { c.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12} }), srv.URL); r.Err != nil {
		t.Fatalf("%+v", r)
	}
}

// A receiver that hangs holds up its own hook alone, for its timeout; Close does not wait for it.
func TestBounds(t *testing.T) {
	hang := make(chan struct{})
	reached := make(chan struct{}, 10)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang" {
			reached <- struct{}{}
			<-hang
		}
	}))
	defer srv.Close()
	defer close(hang)
	s := open(t, func(c *hook.Config) { c.Concurrency, c.PerHook = 4, 2 })
	got := make(chan hook.Result, 10)
	send := func(name, path string, timeout time.Duration) bool {
		return s.Send(&hook.Call{Tenant: "demo", Hook: name, URL: srv.URL + path, Secret: "s", ID: "i", Body: []byte("{}"), Timeout: timeout}, func(r hook.Result) { got <- r })
	}
	if !send("slow", "/hang", time.Minute) || !send("slow", "/hang", 50*time.Millisecond) || send("slow", "/hang", time.Minute) {
		t.Fatal("of one hook two are called at once")
	}
	<-reached
	if r := callOf(s, &hook.Call{Tenant: "demo", Hook: "other", URL: srv.URL, Secret: "s", ID: "i", Timeout: time.Minute}); r.Err != nil {
		t.Fatalf("beside a slow one: %+v", r)
	}
	if r := <-got; r.Err == nil || r.Err.Error() != "no answer in time" || r.Status != 0 {
		t.Fatalf("%+v", r)
	}
	if !send("third", "/hang", time.Minute) || !send("fourth", "/hang", time.Minute) || send("fifth", "/", time.Minute) {
		t.Fatal("of one tenant three are called at once")
	}
	other := func() bool {
		return s.Send(&hook.Call{Tenant: "rival", Hook: "slow", URL: srv.URL + "/hang", Secret: "s", ID: "i", Timeout: time.Minute}, func(r hook.Result) { got <- r })
	}
	if !other() || other() {
		t.Fatal("four are called at once, and one of them is left to another tenant")
	}
	s.Close()
	for range 4 {
		if r := <-got; r.Err == nil {
			t.Fatalf("%+v", r)
		}
	}
	if send("slow", "/", time.Minute) {
		t.Fatal("a sender that is closed calls")
	}
}

// What is wrong with a call itself is told, without a word of what it holds.
func TestRefused(t *testing.T) {
	s := open(t, nil)
	f := func(change func(*hook.Call), want string, final bool) {
		t.Helper()
		c := &hook.Call{Tenant: "demo", Hook: "h", URL: "http://127.0.0.1:1/", Secret: "s", ID: "i", Body: []byte("{}"), Timeout: time.Second}
		change(c)
		if r := callOf(s, c); r.Err == nil || !strings.Contains(r.Err.Error(), want) || r.Final != final || strings.Contains(r.Err.Error(), "127.0.0.1:1") {
			t.Errorf("%+v; want %q", r, want)
		}
	}
	f(func(*hook.Call) {}, "refused", false)
	f(func(c *hook.Call) { c.Secret = "none" }, "reading secret none", false)
	f(func(c *hook.Call) { c.Body = make([]byte, hook.MaxBody+1) }, "the limit", true)
	f(func(c *hook.Call) { c.URL = "http://a b/" }, "its url is none", true)
}
