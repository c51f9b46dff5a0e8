package records

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// wakes tells the loops of this process which lanes have something new.
type wakes struct {
	mu    sync.Mutex
	lanes map[string]chan struct{}
	hears bool // of every commit, by whatever process
}

func (w *wakes) of(lane string) chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lanes[lane] == nil {
		w.lanes[lane] = make(chan struct{}, 1)
	}
	return w.lanes[lane]
}

// wake never waits. A lane that nobody has asked for has nobody who could be woken.
func (w *wakes) wake(lane string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ring(w.lanes[lane])
}

func ring(lane chan struct{}) {
	select {
	case lane <- struct{}{}:
	default: // it has one already, or nobody waits
	}
}

// hear notes whether everything is heard, and wakes all: what was not heard may be there, and whoever waits long must not.
func (w *wakes) hear(all bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hears == all {
		return
	}
	w.hears = all
	for _, lane := range w.lanes {
		ring(lane)
	}
}

// Woken implements due.Wakes.
func (db *DB) Woken(lane string) <-chan struct{} { return db.wakes.of(lane) }

// Hears implements due.Wakes. Where this process alone writes, it hears everything; else while Listen does.
func (db *DB) Hears() bool {
	db.wakes.mu.Lock()
	defer db.wakes.mu.Unlock()
	return db.wakes.hears
}

// ErrDeaf says that the server takes the wish to listen, and tells nothing: between it and this program is a pooler that
// gives each transaction another connection.
var ErrDeaf = errors.New("records: 数据库连接收不到通知 / notifications do not come through")

// dueChannel is where PostgreSQL tells of due work. What it tells is the name of a lane.
const dueChannel = "elicence_due"

// Bounds of listening.
const (
	listenAgain = time.Second      // after a connection that was lost; doubled up to listenMost
	listenMost  = time.Minute      // between two attempts
	trialTime   = 5 * time.Second  // for a notification of our own to come through, or for an answer
	quietTime   = 30 * time.Second // without a word, before the connection is asked whether it lives
)

// Listen hears of what other processes make due, on a connection of its own, until ctx ends; one that is lost is made again,
// at most a minute later. Of what was committed meanwhile nothing is told: whoever waits for it looks by itself, and all are
// woken when the connection is there again. told gets nil when everything is heard and an error when that is over, or does not
// come about; not the same twice in a row. Where no other process writes, it only waits for ctx. Call it once.
func (db *DB) Listen(ctx context.Context, told func(error)) {
	server, shared := db.engine.(*postgresServer)
	if !shared {
		<-ctx.Done()
		return
	}
	pause, silent := listenAgain, false
	for {
		err := server.listen(ctx, func() {
			pause, silent = listenAgain, false
			db.wakes.hear(true)
			told(nil)
		}, db.wakes.wake)
		db.wakes.hear(false)
		if ctx.Err() != nil {
			return
		}
		if !silent {
			silent = true
			told(say("listen", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, listenMost)
	}
}

// listen calls hears when it is certain that notifications come through, and wake for each. It returns why it ended.
func (p *postgresServer) listen(ctx context.Context, hears func(), wake func(lane string)) (err error) {
	c := p.pool.Config().ConnConfig
	c.RuntimeParams["application_name"] += " wakes"
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return err
	}
	defer func() {
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTime)
		defer cancel()
		_ = conn.Close(within) // one that is broken fails to, and is gone all the same
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+dueChannel); err != nil {
		return err
	}
	if err := p.trial(ctx, conn, wake); err != nil {
		return err
	}
	hears()
	for {
		heard, err := within(ctx, quietTime, conn)
		switch {
		case err == nil:
			wake(heard)
		case ctx.Err() != nil || conn.IsClosed():
			return err
		default: // silence: a connection that was cut without a word has it, too
			asking, cancel := context.WithTimeout(ctx, trialTime)
			err := conn.Ping(asking)
			cancel()
			if err != nil {
				return err
			}
		}
	}
}

// trial sends a notification over another connection and waits for it.
func (p *postgresServer) trial(ctx context.Context, conn *pgx.Conn, wake func(lane string)) error {
	own := "?" + rand.Text() // no lane is called so
	limited, cancel := context.WithTimeout(ctx, trialTime)
	defer cancel()
	if _, err := p.pool.Exec(limited, p.dialect().notify, own); err != nil {
		return err
	}
	for {
		heard, err := within(limited, trialTime, conn)
		if err != nil && limited.Err() != nil && ctx.Err() == nil {
			return fmt.Errorf("%w: %w", ErrDeaf, err)
		}
		if err != nil || heard == own {
			return err
		}
		wake(heard)
	}
}

// within waits so long for a notification, and no longer; the connection is good afterwards.
func within(ctx context.Context, limit time.Duration, conn *pgx.Conn) (lane string, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	n, err := conn.WaitForNotification(ctx)
	if err != nil {
		return "", err
	}
	return n.Payload, nil
}
