package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/elicence/elicence/api"
)

// operation is one step that changes an installation: a function from a typed request to a typed answer. A command performs
// it in its own process or, where a service has the folder, has the service perform it; it cannot tell the difference.
// Files that a person names, and passphrases of people, are read by the command and travel in the request: the service
// may run as somebody else, who cannot read them.
type operation[Q, A any] struct {
	name string
	run  func(ctx context.Context, i *installation, q Q) (A, error)
}

// streaming is an operation that answers while it reads rest. item may be called by one goroutine at a time.
type streaming[Q, I, A any] struct {
	name string
	run  func(ctx context.Context, i *installation, q Q, rest io.Reader, item func(I) error) (A, error)
}

// operations are all that a service performs. A new writing command adds its line here.
func operations(of func() *installation) []api.Operation {
	return []api.Operation{
		offerStream(of, issuingBatch()),
		offer(of, resuming()),
		offer(of, reissuing()),
		offer(of, stepping()),
		offer(of, erasing()), offer(of, rotating()),
		offer(of, movingJobs()), offer(of, runningJobs()),
		offer(of, allotting()), offer(of, binding()), offer(of, spoiling()),
		offer(of, cosigning()),
		offer(of, generatingKey()), offer(of, changingKey()),
		offer(of, revokingCertificate()), offer(of, publishingCRLs()),
		offer(of, publishing()),
	}
}

func offer[Q, A any](of func() *installation, op operation[Q, A]) api.Operation {
	return api.Unary(op.name, func(ctx context.Context, q Q) (answer A, err error) {
		i := of()
		ctx, end := i.watch.span(ctx, "operation "+op.name)
		defer func() { end(err) }()
		return op.run(ctx, i, q)
	})
}

func offerStream[Q, I, A any](of func() *installation, op streaming[Q, I, A]) api.Operation {
	return api.Stream(op.name, func(ctx context.Context, q Q, rest io.Reader, item func(I) error) (answer A, err error) {
		i := of()
		ctx, end := i.watch.span(ctx, "operation "+op.name)
		defer func() { end(err) }()
		return op.run(ctx, i, q, rest, item)
	})
}

// servicePatience is how long a command waits for a service that is about to listen or about to end.
const servicePatience = 15 * time.Second

// service finds who serves the folder; nil: nobody does.
func (a *app) service(ctx context.Context) (*api.Client, error) {
	c, err := api.Await(ctx, a.data, servicePatience)
	if errors.Is(err, os.ErrPermission) {
		return nil, &failure{code: exitUnavailable, cause: fmt.Errorf("the service of %s: %w", a.data, err),
			do: "以运行服务的用户执行此命令 · run the command as the user who runs the service"}
	}
	if err != nil {
		return nil, fmt.Errorf("the service of %s: %w", a.data, err)
	}
	return c, nil
}

// say passes on what a service says beside its answer, and what this process has to say itself.
func (a *app) say(text string) { fmt.Fprintln(a.stderr, text) }

// perform runs the operation where it has to be run.
func perform[Q, A any](ctx context.Context, a *app, op operation[Q, A], q Q) (A, error) {
	var none A
	c, err := a.service(ctx)
	if err != nil {
		return none, err
	}
	if c != nil {
		answer, err := api.Call[Q, A](ctx, c, op.name, q, a.say)
		return answer, understood(err)
	}
	i, err := a.openForWriting(ctx)
	if err != nil {
		return none, err
	}
	defer i.close()
	return op.run(ctx, i, q)
}

// performStream is perform for a stream.
func performStream[Q, I, A any](ctx context.Context, a *app, op streaming[Q, I, A], q Q, rest io.Reader, item func(I) error) (A, error) {
	var none A
	c, err := a.service(ctx)
	if err != nil {
		return none, err
	}
	if c != nil {
		answer, err := api.CallStream[Q, I, A](ctx, c, op.name, q, rest, item, a.say)
		return answer, understood(err)
	}
	i, err := a.openForWriting(ctx)
	if err != nil {
		return none, err
	}
	defer i.close()
	return op.run(ctx, i, q, rest, item)
}

// nothing is the answer of an operation that has nothing to say beyond that it is done.
type nothing struct{}
