package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Client asks the service of one data folder. It is safe for concurrent use.
type Client struct {
	http http.Client
}

// Connect finds the service of the folder. ErrNotServed if nobody listens there.
func Connect(ctx context.Context, dir string) (*Client, error) {
	first, err := dial(ctx, dir)
	if err != nil {
		return nil, err
	}
	var once sync.Once
	t := &http.Transport{DisableCompression: true, DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		c := net.Conn(nil)
		once.Do(func() { c = first })
		if c != nil {
			return c, nil
		}
		return dial(ctx, dir)
	}}
	return &Client{http.Client{Transport: t}}, nil
}

// Get reads a page, such as /readyz; the answer is its status and body.
func (c *Client) Get(ctx context.Context, path string) (int, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://elicence"+path, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return 0, nil, gone(ctx, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxFrame))
	return resp.StatusCode, b, err
}

// Call asks for one operation. notice is told what the service says beside its answer. Errors: *Problem, ErrGone, or the
// context's.
func Call[Q, A any](ctx context.Context, c *Client, name string, q Q, notice func(string)) (A, error) {
	var answer A
	body, err := json.Marshal(q)
	if err != nil {
		return answer, fmt.Errorf("api: %s: %w", name, err)
	}
	resp, err := c.post(ctx, name, "application/json", bytes.NewReader(body))
	if err != nil {
		return answer, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxFrame+1))
	if err != nil || len(b) > maxFrame {
		return answer, gone(ctx, err)
	}
	if resp.StatusCode != http.StatusOK {
		p, err := problem(b)
		if err != nil {
			return answer, err
		}
		for _, n := range p.Notices {
			notice(n)
		}
		return answer, p
	}
	var r reply
	if err := json.Unmarshal(b, &r); err != nil {
		return answer, gone(ctx, err)
	}
	for _, n := range r.Notices {
		notice(n)
	}
	return answer, json.Unmarshal(r.Answer, &answer)
}

// CallStream asks for a stream: rest follows the request, item is told each outcome as it comes, by one goroutine. An error
// of item or of reading rest ends the call and is its error; what the service has in work is finished all the same.
func CallStream[Q, I, A any](ctx context.Context, c *Client, name string, q Q, rest io.Reader, item func(I) error, notice func(string)) (A, error) {
	var answer A
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	head, err := json.Marshal(q)
	if err != nil {
		return answer, fmt.Errorf("api: %s: %w", name, err)
	}
	in := &remembering{from: rest}
	resp, err := c.post(ctx, name, "application/x-ndjson", io.MultiReader(bytes.NewReader(append(head, '\n')), in))
	if err != nil {
		return answer, errors.Join(in.failed(), err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b, err := io.ReadAll(io.LimitReader(resp.Body, maxFrame))
		if err != nil {
			return answer, gone(ctx, err)
		}
		p, err := problem(b)
		if err != nil {
			return answer, err
		}
		return answer, p
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 64<<10), maxFrame)
	for lines.Scan() {
		var f frame
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil {
			return answer, gone(ctx, err)
		}
		switch {
		case f.Problem != nil:
			if err := in.failed(); err != nil {
				return answer, err
			}
			return answer, f.Problem
		case f.Answer != nil:
			return answer, json.Unmarshal(f.Answer, &answer)
		case f.Notice != "":
			notice(f.Notice)
		default:
			var i I
			if err := json.Unmarshal(f.Item, &i); err != nil {
				return answer, gone(ctx, err)
			}
			if err := item(i); err != nil {
				return answer, err
			}
		}
	}
	if err := in.failed(); err != nil {
		return answer, err
	}
	return answer, gone(ctx, lines.Err())
}

func (c *Client) post(ctx context.Context, name, kind string, body io.Reader) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://elicence"+operationsPath+name, body)
	if err != nil {
		return nil, fmt.Errorf("api: %s: %w", name, err)
	}
	r.Header.Set("Content-Type", kind)
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, gone(ctx, err)
	}
	return resp, nil
}

// gone says that the service did not answer; if the caller gave up, that is what it says.
func gone(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err == nil {
		return ErrGone
	}
	return fmt.Errorf("%w: %w", ErrGone, err)
}

func problem(b []byte) (*Problem, error) {
	var p Problem
	if err := json.Unmarshal(b, &p); err != nil || p.Code == "" {
		return nil, fmt.Errorf("%w: its answer is no problem that this program knows", ErrGone)
	}
	return &p, nil
}

// remembering keeps the error of reading, which the transport would hide.
type remembering struct {
	from io.Reader
	mu   sync.Mutex
	err  error
}

func (r *remembering) Read(b []byte) (int, error) {
	n, err := r.from.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		r.mu.Lock()
		r.err = err
		r.mu.Unlock()
	}
	return n, err
}

func (r *remembering) failed() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Await connects to the folder's service, or reports that there is none (nil, nil). One that is about to listen, or about
// to end, is waited for as long as patience says.
func Await(ctx context.Context, dir string, patience time.Duration) (*Client, error) {
	deadline := time.Now().Add(patience)
	for {
		c, err := Connect(ctx, dir)
		if err == nil {
			return c, nil
		}
		if !errors.Is(err, ErrNotServed) {
			return nil, err
		}
		if !Living(dir) {
			return nil, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%w: it does not listen", ErrServed)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
