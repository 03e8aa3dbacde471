package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// remote is a running node, as commands ask it over HTTP.
type remote struct {
	addr, token, tenant string
}

// flags adds --addr and --token to a command; whose token it takes is said in its help.
func (r *remote) flags(cmd *cobra.Command, whose string) {
	fs := cmd.Flags()
	fs.StringVar(&r.addr, "addr", "127.0.0.1:7470", "host:port of the node, or its URL")
	fs.StringVar(&r.token, "token", "", "token of "+whose)
}

// base returns the node's URL, and fills in the tenant that the token names. The node alone says whether the token is good.
func (r *remote) base() (string, error) {
	r.token = strings.TrimSpace(r.token)
	if r.token == "" {
		return "", usageError{fmt.Errorf("no token: set --token, or SWITCHBOARD_TOKEN; `switchboard token --role operator` makes one of its --tenant")}
	}
	if r.tenant == "" {
		var claims struct{ Tenant string }
		if parts := strings.Split(r.token, "."); len(parts) == 3 {
			if b, err := base64.RawURLEncoding.DecodeString(parts[1]); err == nil {
				_ = json.Unmarshal(b, &claims) // what is none is said below
			}
		}
		if r.tenant = claims.Tenant; r.tenant == "" {
			return "", usageError{fmt.Errorf("--token is no token: it names no tenant")}
		}
	}
	return baseURL(r.addr), nil
}

// baseURL is the URL of the node at addr, which is one already or host:port.
func baseURL(addr string) string {
	if strings.Contains(addr, "://") {
		return strings.TrimSuffix(addr, "/")
	}
	return "http://" + addr
}

// socketURL is the URL of the WebSockets of the node at addr: host:port, or a URL, http:// and https:// among them, which baseURL takes as well. Its
// error is a usageError: a client would try an address that is none for ever.
func socketURL(addr string) (string, error) {
	bad := func(why string) (string, error) {
		return "", usageError{fmt.Errorf("--addr is %q: %s; it must be host:port, or a URL as https://host", addr, why)}
	}
	text := addr
	if !strings.Contains(text, "://") {
		text = "ws://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return bad(errors.Unwrap(err).Error()) // around it stands the URL once more
	}
	switch u.Scheme {
	case "http":
		u.Scheme = "ws"
	case "https":
		u.Scheme = "wss"
	case "ws", "wss":
	default:
		return bad("no node speaks " + u.Scheme)
	}
	if port, err := strconv.ParseUint(u.Port(), 10, 16); u.Port() != "" && (err != nil || port == 0) {
		return bad("there is no such port")
	}
	if u.Host == "" || u.User != nil || u.Fragment != "" || strings.Contains(u.Hostname(), ":") && u.Host[0] != '[' || text != addr && u.Path != "" {
		return bad("that is no address")
	}
	if u.Path = strings.TrimSuffix(u.Path, "/"); !strings.HasSuffix(u.Path, connectPath) {
		u.Path += connectPath
	}
	return u.String(), nil
}

// connectPath is where a node upgrades to WebSockets [SW-2.1].
const connectPath = "/v1/connect"

// refused is what a node answers instead of what was asked for.
type refused struct {
	Status int
	Slug   string
	Title  string
	Errors []mistake
}

// mistake is one of a document.
type mistake struct {
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Path    string `json:"path,omitempty"`
	Message string `json:"message"`
}

// Error implements error.
func (r *refused) Error() string {
	if r.Slug == "" {
		return fmt.Sprintf("the node answers %d: is it one, and of this version?", r.Status)
	}
	return fmt.Sprintf("the node refuses it: %d %s: %s", r.Status, r.Slug, r.Title)
}

// answerMost bounds what is read of an answer.
const answerMost = 4 << 20

// ask makes one request. path begins with a slash; "{tenant}" in it stands for the tenant's name. The error may be a *refused.
func (r *remote) ask(cmd *cobra.Command, method, path string, body []byte, header ...string) (answer []byte, etag string, err error) {
	base, err := r.base()
	if err != nil {
		return nil, "", err
	}
	req, err := http.NewRequestWithContext(cmd.Context(), method, base+strings.ReplaceAll(path, "{tenant}", r.tenant), bytes.NewReader(body))
	if err != nil {
		return nil, "", usageError{err}
	}
	req.Header.Set("Authorization", "Bearer "+r.token)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := http.Client{Timeout: 30 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return nil, "", unreachable(r.addr, err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, answerMost))
	if err != nil {
		return nil, "", fmt.Errorf("asking %s: %w", r.addr, err)
	}
	if resp.StatusCode/100 != 2 {
		no := &refused{Status: resp.StatusCode}
		_ = json.Unmarshal(answer, no) // what is no problem document has no slug
		return nil, "", no
	}
	return answer, strings.Trim(resp.Header.Get("ETag"), `"`), nil
}
