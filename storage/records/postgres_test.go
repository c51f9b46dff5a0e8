package records

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/emmansun/gmsm/sm3"

	"github.com/elicence/elicence/storage/records/postgrestest"
	"github.com/elicence/elicence/storage/records/recordstest"
)

// socketVariable tells the child processes of a kill test where the cluster is.
const socketVariable = "ELICENCE_RECORDSTEST_SOCKET"

// database is the name of the database that stands for a folder.
func database(dir string) string {
	sum := sm3.Sum([]byte(dir))
	return fmt.Sprintf("records_%x", sum[:8])
}

// migrated is a database with tables and nothing in them, of which every test gets a copy.
const migrated = "migrated"

// onPostgres is the engine in the cluster behind a socket.
func onPostgres(socket string) recordstest.Engine {
	return recordstest.Engine{
		Open: func(ctx context.Context, dir string, o recordstest.Options) (recordstest.Records, error) {
			if err := postgrestest.Create(ctx, socket, database(dir), migrated); err != nil {
				return nil, err
			}
			db, err := OpenPostgres(ctx, postgrestest.URL(socket, "postgres", database(dir)), Options{ReadOnly: o.ReadOnly, KEK: o.KEK, Commit: o.Commit})
			if err != nil {
				return nil, err
			}
			return db, nil
		},
		ReadOnly: ErrReadOnly, Sealed: ErrSealed, Archives: true,
	}
}

// cluster starts a server for one test.
func cluster(t testing.TB, settings ...string) *postgrestest.Server {
	t.Helper()
	s, err := postgrestest.Start(t.Context(), settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// prepared is a cluster with the database of which tests get copies.
func prepared(t testing.TB, settings ...string) *postgrestest.Server {
	t.Helper()
	s := cluster(t, settings...)
	if err := s.Create(t.Context(), migrated); err != nil {
		t.Fatal(err)
	}
	db, err := OpenPostgres(t.Context(), s.URL(migrated), Options{})
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSuiteOnPostgres(t *testing.T) {
	s := prepared(t)
	e := onPostgres(s.Socket())
	e.Files = func(t *testing.T, _ string) string {
		if err := postgrestest.Do(t.Context(), s.URL("postgres"), "CHECKPOINT"); err != nil {
			t.Fatal(err)
		}
		return s.Folder()
	}
	recordstest.Run(t, e)
}

func TestKilledProcessesOnPostgres(t *testing.T) {
	s := prepared(t)
	t.Setenv(socketVariable, s.Socket())
	recordstest.Kill(t, onPostgres(s.Socket()), 200, 8)
}

// mainEngine is what the children of kill tests open.
func mainEngine() recordstest.Engine {
	if socket := os.Getenv(socketVariable); socket != "" {
		return onPostgres(socket)
	}
	return onSQLite
}
