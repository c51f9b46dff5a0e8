package records

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/due"
	"github.com/elicence/elicence/storage/records/postgrestest"
)

// patience bounds what must happen at once, on however slow a machine.
const patience = time.Minute

// listening opens records for a process of its own and has it listen until the test ends. told gets what Listen tells.
func listening(t *testing.T, url string) (db *DB, told <-chan error) {
	t.Helper()
	db, err := OpenPostgres(t.Context(), url, Options{})
	if err != nil {
		t.Fatal(err)
	}
	tell := make(chan error, 100)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		db.Listen(ctx, func(err error) { tell <- err })
	}()
	t.Cleanup(func() {
		stop()
		<-ended
		_ = db.Close() // its server may be gone
	})
	return db, tell
}

func next[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("%s: it does not come to that", what)
		panic("unreachable")
	}
}

// heard waits until everything is heard.
func heard(t *testing.T, db *DB, told <-chan error) {
	t.Helper()
	for err := next(t, "listening", told); err != nil; err = next(t, "listening", told) {
		t.Log(err)
	}
	if !db.Hears() {
		t.Error("it says that it hears, and does not")
	}
}

type systemTime struct{}

func (systemTime) Now() time.Time                         { return time.Now() }
func (systemTime) After(d time.Duration) <-chan time.Time { return time.After(d) }

// working drains the lane whenever it is woken, and tells of each job.
func working(t *testing.T, db *DB, lane string, o due.Options) <-chan string {
	t.Helper()
	begun := make(chan string, 100)
	o.Wakes = db
	r, err := due.NewRunner(db, systemTime{}, func() float64 { return 0 }, o, due.Lane{Name: lane, Worker: func(_ context.Context, j due.Job) (due.Worked, error) {
		begun <- j.Key
		return due.Worked{}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		for ctx.Err() == nil {
			if _, err := r.DrainLane(ctx, lane); err != nil { // as a service does while the server is away
				select {
				case <-ctx.Done():
				case <-time.After(10 * time.Millisecond):
				}
				continue
			}
			_ = r.Wait(ctx, lane)
		}
	})
	t.Cleanup(func() {
		stop()
		group.Wait()
	})
	return begun
}

// seldom is the pace of somebody who would come too late without being woken.
var seldom = due.Options{LookEvery: time.Hour, LookSeldom: time.Hour}

func arm(t *testing.T, db *DB, lane, key string, at time.Time) {
	t.Helper()
	if _, err := db.Arm(t.Context(), due.New{Key: key, Lane: lane, Topic: "t", Due: at}, time.Now()); err != nil {
		t.Fatal(err)
	}
}

func opened(t *testing.T, url string) *DB {
	t.Helper()
	db, err := OpenPostgres(t.Context(), url, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// What one process makes due another one begins, long before it would have looked by itself: at once, or when its time has
// come. Both have the rights of the service and no more.
func TestWhatOneProcessMakesDueAnotherBegins(t *testing.T) {
	s := prepared(t)
	url := postgrestest.URL(s.Socket(), service, migrated)
	one := opened(t, url)
	other, told := listening(t, url)
	heard(t, other, told)
	begun := working(t, other, "police", seldom)
	for _, key := range []string{"a", "b", "c"} {
		arm(t, one, "police", key, time.Now())
		if got := next(t, key, begun); got != key {
			t.Errorf("%s was begun, not %s", got, key)
		}
	}
	arm(t, one, "archive", "another lane's", time.Now())
	arm(t, one, "police", "in a moment", time.Now().Add(200*time.Millisecond))
	if got := next(t, "in a moment", begun); got != "in a moment" {
		t.Errorf("%s was begun", got)
	}
	// What was begun is settled a moment later.
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		jobs, err := one.Jobs(t.Context(), due.Done, "police", 0, 10)
		if err == nil && len(jobs) == 4 {
			break
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%d are done, %v", len(jobs), err)
		}
	}
	if len(begun) != 0 {
		t.Errorf("%s was begun, too", <-begun)
	}
}

// What is told is the name of a lane, once for each transaction.
func TestOnlyLanesAreTold(t *testing.T) {
	s := prepared(t)
	conn, err := pgx.Connect(t.Context(), s.URL(migrated))
	if err == nil {
		_, err = conn.Exec(t.Context(), "LISTEN "+dueChannel)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	db := opened(t, postgrestest.URL(s.Socket(), service, migrated))
	for _, key := range []string{"a", "b", "c"} {
		arm(t, db, "police", key, time.Now())
	}
	jobs, err := db.Jobs(t.Context(), due.Due, "police", 0, 10)
	if err != nil || len(jobs) != 3 {
		t.Fatal(jobs, err)
	}
	if _, err := db.Retry(t.Context(), []int64{jobs[0].ID, jobs[1].ID, jobs[2].ID}, time.Now(), audit.Entry{What: "retry"}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Cancel(t.Context(), []int64{jobs[0].ID}, time.Now(), audit.Entry{What: "cancel"}); err != nil {
		t.Fatal(err)
	}
	arm(t, db, "the last", "d", time.Now())
	limited, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	var told []string
	for len(told) == 0 || told[len(told)-1] != "the last" {
		n, err := conn.WaitForNotification(limited)
		if err != nil {
			t.Fatal(told, err)
		}
		told = append(told, n.Payload)
	}
	if want := []string{"police", "police", "police", "police", "the last"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

// The listening connection is cut: that is known at once, what is due is looked for until it is there again, and what was
// committed in between is found.
func TestTheListeningConnectionIsCut(t *testing.T) {
	s := prepared(t)
	one := opened(t, s.URL(migrated))
	other, told := listening(t, postgrestest.URL(s.Socket(), service, migrated))
	heard(t, other, told)
	begun := working(t, other, "police", seldom)
	arm(t, one, "police", "before", time.Now())
	next(t, "before", begun)
	// Nobody of that role gets in again until it may: the process stays deaf so long.
	const cut = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '` + applicationName + ` wakes'`
	if err := postgrestest.Do(t.Context(), s.URL(migrated), "ALTER ROLE "+service+" CONNECTION LIMIT 0", cut); err != nil {
		t.Fatal(err)
	}
	if err := next(t, "the cut", told); err == nil || other.Hears() {
		t.Errorf("after the cut it tells %v, and hears: %v", err, other.Hears())
	}
	arm(t, one, "police", "meanwhile", time.Now())
	if err := postgrestest.Do(t.Context(), s.URL(migrated), "ALTER ROLE "+service+" CONNECTION LIMIT -1"); err != nil {
		t.Fatal(err)
	}
	heard(t, other, told)
	if got := next(t, "meanwhile", begun); got != "meanwhile" {
		t.Errorf("%s was begun", got)
	}
	arm(t, one, "police", "after", time.Now())
	next(t, "after", begun)

	// The same with the server: nothing is lost, whenever it was armed.
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := next(t, "the server's death", told); err == nil {
		t.Error("a server that died is heard")
	}
	if err := s.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := opened(t, s.URL(migrated))
	arm(t, again, "police", "after the server", time.Now())
	next(t, "after the server", begun)
}

// Nobody listens: what is due is found all the same, by looking.
func TestWithoutAListenerNothingIsLost(t *testing.T) {
	s := prepared(t)
	one, other := opened(t, s.URL(migrated)), opened(t, s.URL(migrated))
	if other.Hears() {
		t.Error("who does not listen does not hear")
	}
	begun := working(t, other, "police", due.Options{LookEvery: 5 * time.Millisecond, LookSeldom: time.Hour})
	arm(t, one, "police", "a", time.Now())
	next(t, "a", begun)
	// A process hears itself without the server.
	alone := working(t, one, "archive", seldom)
	arm(t, one, "archive", "b", time.Now())
	next(t, "b", alone)
}

// A file has one writer, which hears itself.
func TestOneWriterHearsItself(t *testing.T) {
	db, err := Open(t.Context(), filepath.Join(t.TempDir(), "records.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if !db.Hears() {
		t.Error("it does not")
	}
	begun := working(t, db, "police", seldom)
	for _, key := range []string{"a", "b"} {
		arm(t, db, "police", key, time.Now())
		next(t, key, begun)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	db.Listen(ctx, func(err error) { t.Errorf("it tells %v", err) }) // and returns
}

// A pooler between program and server takes the wish to listen and lets no notification through: that is found out, told
// once, and what is due is looked for.
func TestAPoolerThatSwallowsNotifications(t *testing.T) {
	s := prepared(t)
	pooler := swallowing(t, filepath.Join(s.Socket(), ".s.PGSQL.5432"))
	db, told := listening(t, postgrestest.URL(pooler, service, migrated))
	if err := next(t, "the trial", told); !errors.Is(err, ErrDeaf) || db.Hears() {
		t.Fatalf("it tells %v, and hears: %v", err, db.Hears())
	}
	begun := working(t, db, "police", due.Options{LookEvery: 5 * time.Millisecond, LookSeldom: time.Hour})
	arm(t, opened(t, s.URL(migrated)), "police", "a", time.Now())
	next(t, "a", begun)
	if len(told) != 0 {
		t.Errorf("the same is told again: %v", <-told)
	}
}

// swallowing stands between clients and the server behind a socket, and keeps notifications for itself. It returns the
// folder of its own socket.
func swallowing(t *testing.T, server string) string {
	t.Helper()
	folder := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(folder, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		group.Wait()
	})
	group.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			backend, err := net.Dial("unix", server)
			if err != nil {
				t.Error(err)
				return
			}
			group.Go(func() {
				_, _ = io.Copy(backend, client)
				_ = backend.Close()
			})
			group.Go(func() {
				defer client.Close()
				f := pgproto3.NewFrontend(backend, nil)
				for {
					m, err := f.Receive()
					if err != nil {
						return
					}
					if _, is := m.(*pgproto3.NotificationResponse); is {
						continue
					}
					b, err := m.Encode(nil)
					if err != nil {
						t.Error(err)
						return
					}
					if _, err := client.Write(b); err != nil {
						return
					}
				}
			})
		}
	})
	return folder
}
