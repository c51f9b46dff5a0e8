// Package api is the HTTP that a running service speaks: today on the socket in its data folder, to the commands that are
// run beside it.
//
// An operation is a function from a typed request to a typed answer. POST /v1/operations/NAME with the request as JSON
// gives {"answer", "notices"}, or a problem (RFC 9457). A stream's body is one line of JSON, the request, and then what the
// operation reads; its answer is a line of JSON for each item, as they come, and a last one with answer or problem.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

const (
	operationsPath = "/v1/operations/"
	// maxBody bounds a request that is not a stream, in bytes: the largest holds a received part and its receipt.
	maxBody = 64 << 20
	// maxHead bounds the first line of a stream, in bytes.
	maxHead = 1 << 20
	// maxFrame bounds one line of a stream's answer, in bytes.
	maxFrame = 16 << 20
)

var (
	// ErrMalformed says that a request is not what its operation takes.
	ErrMalformed = errors.New("api: 请求格式不对 / the request is malformed")
	// ErrUnknownOperation says that the service has no operation of this name: program and service differ in version.
	ErrUnknownOperation = errors.New("api: 服务没有这项操作 / the service has no such operation")
	// ErrStopping says that the service is ending and takes no new work.
	ErrStopping = errors.New("api: 服务正在停止 / the service is stopping")
	// ErrBusy says that more is asked at once than the service takes.
	ErrBusy = errors.New("api: 请求过多 / too many requests at once")
	// ErrInternal says that the service failed at its own fault; what it knows of that is in its log.
	ErrInternal = errors.New("api: 服务内部错误 / internal error of the service")
	// ErrGone says that the service ended before it answered: the outcome is unknown.
	ErrGone = errors.New("api: 服务中断，结果未知 / the service ended before it answered: the outcome is unknown")
)

// Problem is an error on its way from the service to whoever asked (RFC 9457, with members of our own). Detail holds no
// personal value.
type Problem struct {
	Type    string   `json:"type"`
	Title   string   `json:"title"` // Chinese
	Status  int      `json:"status"`
	Detail  string   `json:"detail"`
	Code    string   `json:"code"`            // stable; programs may depend on it
	Codes   []string `json:"codes,omitempty"` // of everything else that the error is
	ZH      string   `json:"zh,omitempty"`
	EN      string   `json:"en,omitempty"`
	Do      string   `json:"do,omitempty"`      // what to do about it, Chinese · English
	Exit    int      `json:"exit,omitempty"`    // exit code of a command that meets it, if the command itself says so
	Advice  string   `json:"advice,omitempty"`  // what the command itself says to do
	Package string   `json:"package,omitempty"` // Debian package with the glyphs that were missing
	Notices []string `json:"notices,omitempty"` // what was said before the problem came
}

// Error is the detail.
func (p *Problem) Error() string { return p.Detail }

// Caller is who asked, as the context of an operation carries it.
type Caller struct {
	From   string       // where from, for the audit trail
	Notice func(string) // takes what the caller should read beside the answer; safe for concurrent use
}

type callerKey struct{}

// WithCaller gives the context its caller.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf is the context's caller; the zero Caller when it has none.
func CallerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// Operation is something that a service does for a caller.
type Operation struct {
	Name   string
	Stream bool // the body has no end that is known before
	serve  func(ctx context.Context, in io.Reader, item func(any) error) (any, error)
}

// Unary is an operation that reads its whole request before it begins.
func Unary[Q, A any](name string, run func(ctx context.Context, q Q) (A, error)) Operation {
	return Operation{Name: name, serve: func(ctx context.Context, in io.Reader, _ func(any) error) (any, error) {
		var q Q
		if err := strict(in, &q); err != nil {
			return nil, err
		}
		return run(ctx, q)
	}}
}

// Stream is an operation that answers while it reads. run reads rest to its end or to an error; item hands one outcome to
// the caller and may be called by one goroutine at a time. An error of item is the caller's: nobody listens any more.
func Stream[Q, I, A any](name string, run func(ctx context.Context, q Q, rest io.Reader, item func(I) error) (A, error)) Operation {
	return Operation{Name: name, Stream: true, serve: func(ctx context.Context, in io.Reader, item func(any) error) (any, error) {
		head, rest, err := firstLine(in)
		if err != nil {
			return nil, err
		}
		var q Q
		if err := strict(head, &q); err != nil {
			return nil, err
		}
		return run(ctx, q, rest, func(i I) error { return item(i) })
	}}
}

// strict reads one JSON value and nothing else. The error never repeats what was read: it may be personal.
func strict(in io.Reader, v any) error {
	d := json.NewDecoder(in)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w%s", ErrMalformed, where(err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: more than one value", ErrMalformed)
	}
	return nil
}

// where says of a decoding error what is ours to say.
func where(err error) string {
	var kind *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &kind):
		return ": /" + kind.Field
	case errors.As(err, &syntax):
		return fmt.Sprintf(": byte %d", syntax.Offset)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return ": it ends too early"
	}
	return ""
}

// frame is one line of a stream's answer; one member is set.
type frame struct {
	Item    json.RawMessage `json:"item,omitempty"`
	Notice  string          `json:"notice,omitempty"`
	Answer  json.RawMessage `json:"answer,omitempty"`
	Problem *Problem        `json:"problem,omitempty"`
}

// reply is the whole answer of an operation that is no stream.
type reply struct {
	Answer  json.RawMessage `json:"answer"`
	Notices []string        `json:"notices,omitempty"`
}
