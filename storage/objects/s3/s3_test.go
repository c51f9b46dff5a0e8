package s3

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/elicence/elicence/storage/objects/objectstest"
	"github.com/elicence/elicence/storage/objects/s3/versitygwtest"
)

// server is the real store that all tests of this package share; each has a prefix of its own in its bucket.
var (
	server *versitygwtest.Server
	bucket string
	raw    *minio.Core // with all rights
)

func TestMain(m *testing.M) {
	if settings := os.Getenv(putterSettings); settings != "" {
		fmt.Fprintln(os.Stderr, putter(settings))
		os.Exit(1)
	}
	os.Exit(run(m))
}

func systemClock() time.Time { return time.Now() }

func run(m *testing.M) int {
	folder, err := os.MkdirTemp("", "elicence-s3-*")
	if err == nil {
		defer os.RemoveAll(folder)
		server, err = versitygwtest.Open(folder)
	}
	if err == nil {
		defer server.Stop()
		bucket, err = server.Bucket()
	}
	if err == nil {
		raw, err = server.Administrator()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

var prefixes atomic.Int64

// settings of a store of its own in the shared bucket.
func settings() Config {
	return Config{Endpoint: server.Endpoint(), Bucket: bucket, Prefix: fmt.Sprintf("test-%d", prefixes.Add(1)), Retention: "1d"}
}

func open(t testing.TB, c Config) *Store {
	t.Helper()
	k, err := FindCredentials(c, server.Environment)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(c, k, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func fresh(t testing.TB) *Store {
	t.Helper()
	return open(t, settings())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSuite(t *testing.T) {
	objectstest.Run(t,
		func(t *testing.T) objectstest.Store { return fresh(t) },
		func(t *testing.T, s objectstest.Store) objectstest.Store { return open(t, s.(*Store).config) })
}

var ctx = context.Background()
