package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Remote is a running node as a source of a backup [SW-7.9]. It belongs to one goroutine.
type Remote struct {
	// URL is the node's, as http://127.0.0.1:7470. Token is one of an operator whose tenant is in cluster.operators.
	URL, Token string
	// Client asks; nil is one with a time limit.
	Client *http.Client
}

// Refused is what a node answers instead of what was asked for.
type Refused struct {
	Status int    `json:"status"`
	Slug   string `json:"slug"`
	Title  string `json:"title"`
}

// Error implements error.
func (r *Refused) Error() string {
	if r.Slug == "" {
		return fmt.Sprintf("the node answers %d: is it one, and of this version?", r.Status)
	}
	return fmt.Sprintf("the node refuses it: %d %s: %s", r.Status, r.Slug, r.Title)
}

// FinalAnswer tells an error that asking a Remote again does not help with: what was refused for another reason than a lack of time or of a leader.
func FinalAnswer(err error) bool {
	var r *Refused
	return errors.As(err, &r) && r.Status < 500 && r.Status != http.StatusTooManyRequests || errors.Is(err, context.Canceled)
}

// answerMost bounds what is read of an answer: the opening names every shard, and the rows of the cluster.
const answerMost = 256 << 20

func (r *Remote) ask(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, r.URL+"/v1/admin/cluster/backup"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+r.Token)
	if r.Client == nil {
		r.Client = &http.Client{Timeout: 30 * time.Second}
	}
	resp, err := r.Client.Do(req)
	if err != nil {
		return fmt.Errorf("asking %s: %w", r.URL, err)
	}
	defer func() { _ = resp.Body.Close() }() // all of it was read, or nobody minds
	b, err := io.ReadAll(io.LimitReader(resp.Body, answerMost))
	if err != nil {
		return fmt.Errorf("asking %s: %w", r.URL, err)
	}
	if resp.StatusCode != http.StatusOK {
		no := &Refused{}
		_ = json.Unmarshal(b, no) // what is no problem document has no slug
		no.Status = resp.StatusCode
		return no
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("asking %s: %w", r.URL, err)
	}
	return nil
}

// Open implements Source.
func (r *Remote) Open(ctx context.Context) (*Opening, error) {
	o := &Opening{}
	return o, r.ask(ctx, http.MethodPost, "", map[string]string{"action": "open"}, o)
}

// Page implements Source.
func (r *Remote) Page(ctx context.Context, p *FrozenPart, n int) (*Page, error) {
	page := &Page{}
	return page, r.ask(ctx, http.MethodGet, fmt.Sprintf("/%d/%s/%d/%d", p.Node, p.Handle, p.Group, n), nil, page)
}

// Touch implements Source.
func (r *Remote) Touch(ctx context.Context, p *FrozenPart) error {
	return r.ask(ctx, http.MethodGet, fmt.Sprintf("/%d/%s", p.Node, p.Handle), nil, &struct{}{})
}

// Close implements Source.
func (r *Remote) Close(ctx context.Context, o *Opening, whole bool) error {
	told := map[string]bool{}
	var parts []FrozenPart
	for _, p := range o.Parts {
		if !told[p.Handle] {
			told[p.Handle] = true
			parts = append(parts, p)
		}
	}
	return r.ask(ctx, http.MethodPost, "", map[string]any{"action": "close", "parts": parts, "whole": whole}, &struct{}{})
}
