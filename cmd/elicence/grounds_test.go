package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/elicence/elicence/storage/objects/s3"
	"github.com/elicence/elicence/storage/objects/s3/versitygwtest"
	"github.com/elicence/elicence/storage/records/postgrestest"
)

// ground is what installations stand on. Stories of kills are told on each: what has to be true afterwards is the same.
type ground struct {
	name  string
	kills int // in a run of the tests
	// alone says that no other process can be at what is unfinished: a service takes it up at once, not after two minutes.
	alone bool
	// fresh is an installation of the test's own, issued one with issuedCount births.
	fresh, issued func(t *testing.T) site
}

// site is one installation on its ground.
type site struct {
	data    string
	records string // address of the database, "" where there is none
	// grown is a condition: the records were written so many bytes more than at first.
	grown func(bytes int64) func() bool
	// lose takes the records away, and nothing else.
	lose func()
	// sound holds the stores to what only they know, beside what whole asks.
	sound func()
}

func grounds() []ground {
	return []ground{
		{"folder", 20, true, func(t *testing.T) site { return onDisk(t, fresh) }, func(t *testing.T) site { return onDisk(t, issued) }},
		{"servers", 5, false, func(t *testing.T) site { return onServers(t) }, func(t *testing.T) site {
			at := onServers(t)
			births := filepath.Join(t.TempDir(), "births.jsonl")
			if err := writeBirths(births, 1, issuedCount, smallScheme().hospitals[0].Code); err != nil {
				t.Fatal(err)
			}
			says(t, "issue", call(t.Context(), at.data, aMinuteAgo, "issue", "--births", births, "--workers", "1"), exitYes)
			return at
		}},
	}
}

// onEachGround tells a story on each ground, with so many kills; the random numbers are the story's own.
func onEachGround(t *testing.T, story uint64, tell func(t *testing.T, g ground, kills int, random *rand.Rand)) {
	for n, g := range grounds() {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			count, seed := killsOr(t, g.kills)
			t.Logf("%d kills, seed %d", count, seed)
			tell(t, g, count, rand.New(rand.NewPCG(seed, story<<33|uint64(n)<<32)))
		})
	}
}

// onDisk is an installation that has everything in its folder: the embedded one.
func onDisk(t *testing.T, made func() (string, error)) site {
	data := copyOf(t, made)
	return site{
		data: data,
		grown: func(bytes int64) func() bool {
			return grown(walOf(data), bytes)
		},
		lose: func() {
			if err := os.RemoveAll(filepath.Join(data, "records")); err != nil {
				t.Fatal(err)
			}
		},
		sound: func() {},
	}
}

// servers are those that tests share who leave them in peace: each makes a database and a bucket of its own.
type servers struct {
	postgres *postgrestest.Server
	objects  *versitygwtest.Server
}

var (
	startServers = sync.OnceValues(func() (s servers, err error) {
		if s.postgres, err = postgrestest.Start(context.Background()); err == nil {
			s.objects, err = versitygwtest.Open(filepath.Join(folder, "objects"))
		}
		return s, err
	})
	serversStarted sync.Once
	stopServers    = func() error { return nil }
)

func sharedServers(t testing.TB) servers {
	t.Helper()
	s, err := startServers()
	serversStarted.Do(func() {
		stopServers = func() (err error) {
			if s.objects != nil {
				err = s.objects.Stop()
			}
			if s.postgres != nil {
				err = errors.Join(err, s.postgres.Stop())
			}
			return err
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// credentialsFile holds the keys of an object store's server.
func credentialsFile(t testing.TB, s *versitygwtest.Server) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s3.credentials")
	lines := fmt.Sprintf("%s=%s\n%s=%s\n", s3.AccessKeyName, s.AccessKey, s3.SecretKeyName, s.SecretKey)
	if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// onServers is an installation with its records on PostgreSQL and its objects in a bucket.
func onServers(t *testing.T) site {
	t.Helper()
	s := sharedServers(t)
	bucket, err := s.objects.Bucket()
	if err != nil {
		t.Fatal(err)
	}
	database := strings.ReplaceAll(bucket, "-", "_")
	o := onS3{server: s.objects, bucket: bucket, data: filepath.Join(t.TempDir(), "data")}
	if err := s.postgres.Create(t.Context(), database); err != nil {
		t.Fatal(err)
	}
	where, err := objectsAt(fmt.Sprintf("s3://%s/city?endpoint=http://%s&retention=1d&credentials-file=%s", bucket, s.objects.Address, credentialsFile(t, s.objects)))
	if err != nil {
		t.Fatal(err)
	}
	a := appAt(o.data, aMinuteAgo, io.Discard, io.Discard)
	a.recordsURL = s.postgres.URL(database)
	if err := a.initialise(t.Context(), smallScheme(), func(c *config) { c.Objects = where }); err != nil {
		t.Fatal(err)
	}
	watch, err := pgx.Connect(t.Context(), s.postgres.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = watch.Close(context.Background()) })
	// The server's log grows in the middle of a transaction as well as at its end, whichever database it is for.
	size := func() (n int64) {
		if err := watch.QueryRow(t.Context(), `SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	return site{
		data: o.data, records: a.recordsURL,
		grown: func(bytes int64) func() bool {
			first := size()
			return func() bool { return size()-first >= bytes }
		},
		lose: func() {
			if err := postgrestest.Do(t.Context(), s.postgres.URL("postgres"), `DROP DATABASE `+database+` WITH (FORCE)`, `CREATE DATABASE `+database); err != nil {
				t.Fatal(err)
			}
		},
		sound: func() { o.once(t) },
	}
}
