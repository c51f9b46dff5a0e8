package records

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emmansun/gmsm/sm3"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
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

// service is the role that the suite works as: what it may do is what Grants says.
const service = "elicence_service"

// onPostgres is the engine in the cluster behind a socket.
func onPostgres(socket string) recordstest.Engine {
	made := &databases{socket: socket, of: map[string]string{}}
	return recordstest.Engine{
		Open: func(ctx context.Context, dir string, o recordstest.Options) (recordstest.Records, error) {
			name, err := made.find(ctx, dir)
			if err != nil {
				return nil, err
			}
			db, err := OpenPostgres(ctx, postgrestest.URL(socket, service, name)+" idle_in_transaction_session_timeout=2000", Options{ReadOnly: o.ReadOnly, KEK: o.KEK, Commit: o.Commit})
			if err != nil {
				return nil, err
			}
			return db, nil
		},
		ReadOnly: ErrReadOnly, Sealed: ErrSealed, Erased: ErrErased, Archives: true,
	}
}

// databases makes the databases of folders. Copying the one with tables writes a thousand files, which takes ten times as
// long as emptying one whose folder is gone: that one is used again.
type databases struct {
	socket string
	mu     sync.Mutex
	of     map[string]string // of folders
}

// emptied makes a database what it was when it was copied. Nothing but a superuser may delete from all of its tables.
const emptied = `SET session_replication_role = replica;
DO $$ DECLARE name text; BEGIN
	FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE 'goose%' LOOP
		EXECUTE format('DELETE FROM %I', name);
	END LOOP;
	FOR name IN SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' AND sequencename NOT LIKE 'goose%' LOOP
		EXECUTE format('ALTER SEQUENCE %I RESTART', name);
	END LOOP;
END $$`

// find returns the database of a folder, and makes it if there is none. The first one that it makes has the folder's own
// name: a child process, which knows no more than that, finds it.
func (d *databases) find(ctx context.Context, dir string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if name, ok := d.of[dir]; ok {
		return name, nil
	}
	for old, name := range d.of {
		if _, err := os.Stat(old); err == nil {
			continue
		}
		delete(d.of, old)
		d.of[dir] = name
		return name, postgrestest.Do(ctx, postgrestest.URL(d.socket, "postgres", name), emptied)
	}
	d.of[dir] = database(dir)
	return d.of[dir], postgrestest.Create(ctx, d.socket, d.of[dir], migrated)
}

// peaceful is the cluster of all tests that leave their server in peace. Each has databases of its own in it.
var peaceful = sync.OnceValues(func() (*postgrestest.Server, error) {
	s, err := postgrestest.Start(context.Background())
	if err != nil {
		return nil, err
	}
	return s, prepare(context.Background(), s)
})

// endPeaceful stops that cluster if a test has started it.
func endPeaceful() error {
	if !started.Load() {
		return nil
	}
	s, err := peaceful()
	if s == nil {
		return err
	}
	return s.Stop()
}

var started atomic.Bool

// shared is the cluster that tests share.
func shared(t testing.TB) *postgrestest.Server {
	t.Helper()
	started.Store(true)
	s, err := peaceful()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ownDatabase makes a database of the test's own, with tables, in the shared cluster.
func ownDatabase(t testing.TB) (s *postgrestest.Server, name string) {
	t.Helper()
	s, name = shared(t), database(t.TempDir())
	if err := postgrestest.Create(t.Context(), s.Socket(), name, migrated); err != nil {
		t.Fatal(err)
	}
	return s, name
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
	if err := prepare(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return s
}

func prepare(ctx context.Context, s *postgrestest.Server) error {
	if err := s.Create(ctx, migrated); err != nil {
		return err
	}
	db, err := OpenPostgres(ctx, s.URL(migrated), Options{})
	if err != nil {
		return err
	}
	return errors.Join(db.Close(), postgrestest.Do(ctx, s.URL(migrated), "CREATE ROLE "+service+" LOGIN", Grants(service)))
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

// TestAtOnceOnPostgres is, as TestAtOnce, what the race detector sees.
func TestAtOnceOnPostgres(t *testing.T) { recordstest.RunAtOnce(t, onPostgres(shared(t).Socket())) }

func TestKilledProcessesOnPostgres(t *testing.T) {
	s := shared(t)
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

// columns lists every column of every table, "table.column", with whether it may be empty.
func columns(t *testing.T, db *sql.DB, query string) []string {
	t.Helper()
	rows, err := db.Query(query)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	err = collect(rows, func(r row) error {
		var table, column string
		err := r.Scan(&table, &column)
		if !strings.HasPrefix(table, "goose") && !strings.HasPrefix(table, "sqlite") {
			found = append(found, table+"."+column)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return found
}

const postgresColumns = `SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'`

// TestBothEnginesHaveTheSameTables: the number of a version means one set of tables and columns.
func TestBothEnginesHaveTheSameTables(t *testing.T) {
	s, name := ownDatabase(t)
	server, err := sql.Open("pgx", s.URL(name))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	_, path := fresh(t, Options{})
	file, err := sql.Open("sqlite", dsn(path, "rw"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	there := columns(t, server, postgresColumns)
	here := columns(t, file, `SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table'`)
	if !slices.Equal(there, here) || len(here) < 100 {
		t.Errorf("%d columns on the server, %d in the file:\n%v\n%v", len(there), len(here), there, here)
	}
	tables, issuers := map[string]bool{}, 0
	for _, c := range there {
		table, column, _ := strings.Cut(c, ".")
		tables[table] = true
		if column == "issuer" {
			issuers++
		}
	}
	if issuers != len(tables) {
		t.Errorf("%d of %d tables carry the issuer", issuers, len(tables))
	}
}

func TestPostgresMigrationsGoForwardAndBack(t *testing.T) {
	ctx := t.Context()
	s, name := ownDatabase(t)
	server, err := sql.Open("pgx", s.URL(name))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	p, err := (&postgresServer{}).provider(server)
	if err != nil {
		t.Fatal(err)
	}
	before := columns(t, server, postgresColumns)
	if _, err := p.DownTo(ctx, 0); err != nil {
		t.Fatal(err)
	}
	if left := columns(t, server, postgresColumns); len(left) > 0 {
		t.Errorf("going back leaves %v", left)
	}
	var functions int
	if err := server.QueryRow(`SELECT COUNT(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'public'`).Scan(&functions); err != nil || functions > 0 {
		t.Errorf("going back leaves %d functions, %v", functions, err)
	}
	// Several processes that find old tables at once bring them forward once.
	errs := make(chan error, 4)
	for range cap(errs) {
		go func() {
			db, err := OpenPostgres(ctx, s.URL(name), Options{})
			if err == nil {
				err = db.Close()
			}
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if after := columns(t, server, postgresColumns); !slices.Equal(after, before) {
		t.Errorf("forward again: %v, before %v", after, before)
	}
	sources := p.ListSources()
	if last := sources[len(sources)-1].Version; last != version {
		t.Errorf("the last migration is %d, the program says %d", last, version)
	}
	if err := postgrestest.Do(ctx, s.URL(name), `INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, true)`); err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{{}, {ReadOnly: true}} {
		if _, err := OpenPostgres(ctx, s.URL(name), o); !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "999") {
			t.Errorf("read-only %v: tables of a newer program: %v", o.ReadOnly, err)
		}
	}
}

// TestTheServiceCannotRewriteHistory: neither the service's role nor the owner of the tables changes what was recorded.
func TestTheServiceCannotRewriteHistory(t *testing.T) {
	ctx := t.Context()
	s, name := ownDatabase(t)
	db, err := OpenPostgres(ctx, postgrestest.URL(s.Socket(), service, name), Options{KEK: recordstest.KEK()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	made := recordstest.Sample(t, db, 3)
	if _, n, err := db.Seal(ctx); n == 0 || err != nil {
		t.Fatal(n, err)
	}
	events, err := db.EventsOf(ctx, made[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.MarkSequenced(ctx, []issuing.Answer{{Hash: events[0].Hash, Index: 0}}); err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{service, "postgres"} {
		for _, statement := range []string{
			`UPDATE audit SET person = 'somebody'`, `UPDATE audit SET hash = sequence::text::bytea`, `UPDATE audit SET sequence = NULL`,
			`DELETE FROM audit`, `TRUNCATE audit`,
			`UPDATE events SET bytes = hash`, `UPDATE events SET log_index = 7 WHERE log_index = 0`, `DELETE FROM events`, `TRUNCATE events CASCADE`,
			`UPDATE log_entries SET bytes = hash`, `DELETE FROM log_entries`, `TRUNCATE log_entries`,
		} {
			if strings.Contains(statement, "log_entries") && role == service {
				if err := postgrestest.Do(ctx, s.URL(name), `INSERT INTO log_entries VALUES (0, '', 'hash', 'bytes') ON CONFLICT DO NOTHING`); err != nil {
					t.Fatal(err)
				}
			}
			err := postgrestest.Do(ctx, postgrestest.URL(s.Socket(), role, name), statement)
			if err == nil || !strings.Contains(err.Error(), "42501") {
				t.Errorf("%s: %s: %v", role, statement, err)
			}
		}
	}
	for _, statement := range []string{`DROP TABLE audit`, `ALTER TABLE audit DISABLE TRIGGER ALL`, `CREATE TABLE mine (x int)`, `DELETE FROM licences`, `DELETE FROM sheets`, `DELETE FROM organisations`} {
		if err := postgrestest.Do(ctx, postgrestest.URL(s.Socket(), service, name), statement); err == nil {
			t.Errorf("the service may %s", statement)
		}
	}
	if broken, rows, err := db.CheckChain(ctx); broken != 0 || rows == 0 || err != nil {
		t.Errorf("after all that the chain breaks at %d of %d, %v", broken, rows, err)
	}
	// A service that finds older tables cannot bring them forward, and says who can.
	if err := s.Create(ctx, "empty"); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenPostgres(ctx, postgrestest.URL(s.Socket(), service, "empty"), Options{}); !errors.Is(err, licence.ErrUnavailable) || !strings.Contains(err.Error(), "权限不足") {
		t.Errorf("empty tables, and no right to make them: %v", err)
	}
}

func TestPostgresAddresses(t *testing.T) {
	s := shared(t)
	for what, c := range map[string]struct{ url, want string }{
		"nonsense":             {"postgres://[", "cannot be read"},
		"a password in it":     {"postgres://elicence:secret-word@localhost/elicence", "password"},
		"a password as a word": {"host=localhost password=secret-word", "password"},
		"nobody there":         {postgrestest.URL(t.TempDir(), service, migrated), "无法连接数据库"},
		"no such database":     {postgrestest.URL(s.Socket(), service, "none"), "没有这个数据库"},
		"no such role":         {postgrestest.URL(s.Socket(), "nobody_known", migrated), "拒绝登录"},
	} {
		t.Run(what, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			_, err := OpenPostgres(ctx, c.url, Options{})
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret-word") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestServerGoesAway: while births are issued the server is stopped, killed and started again. Callers get clear errors,
// ask again, and nothing is lost or doubled.
func TestServerGoesAway(t *testing.T) {
	s := prepared(t)
	recordstest.Outages(t, onPostgres(s.Socket()), 150, []func() error{
		func() error { return errors.Join(s.Down(), s.Up(context.Background())) },
		func() error { return errors.Join(s.Kill(), s.Up(context.Background())) },
		func() error { return errors.Join(s.Kill(), s.Up(context.Background())) },
		func() error { // an administrator ends every connection, wherever its transaction is
			return postgrestest.Do(context.Background(), s.URL("postgres"), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '`+service+`'`)
		},
	})
}

// TestCommitsThatAreCut: the network ends in the midst of commits, so that nobody knows whether they happened.
func TestCommitsThatAreCut(t *testing.T) {
	s := shared(t)
	cut := newCutter(t, filepath.Join(s.Socket(), ".s.PGSQL.5432"))
	e := onPostgres(s.Socket())
	e.Open = func(ctx context.Context, dir string, o recordstest.Options) (recordstest.Records, error) {
		if err := postgrestest.Create(ctx, s.Socket(), database(dir), migrated); err != nil {
			return nil, err
		}
		return OpenPostgres(ctx, postgrestest.URL(cut.folder, service, database(dir)), Options{ReadOnly: o.ReadOnly, KEK: o.KEK, Commit: o.Commit})
	}
	var cuts []func() error
	for range 12 {
		cuts = append(cuts, cut.nextCommit)
	}
	recordstest.Outages(t, e, 150, cuts)
	if n := cut.cut.Load(); n < 6 {
		t.Errorf("only %d commits were cut", n)
	}
}

// TestFailover: the primary dies with births in work, and its synchronous standby takes over. What was answered is there.
func TestFailover(t *testing.T) {
	ctx := t.Context()
	s := prepared(t)
	standby, err := s.Standby(ctx, "second")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := standby.Stop(); err != nil {
			t.Error(err)
		}
	})
	if found, err := CheckServer(ctx, s.URL(migrated)); err != nil || !strings.Contains(fmt.Sprint(found), "standby is not synchronous") || !strings.Contains(fmt.Sprint(found), "fsync") {
		t.Errorf("an asynchronous standby, on a server that waits for no disk: %+v, %v", found, err)
	}
	if err := postgrestest.Do(ctx, s.URL("postgres"), "ALTER SYSTEM SET synchronous_standby_names = 'second'", "SELECT pg_reload_conf()"); err != nil {
		t.Fatal(err)
	}
	// Before it is synchronous the pair is refused, and afterwards it is good.
	pair := fmt.Sprintf("host=%s,%s port=5432,5432 user=%s dbname=%s sslmode=disable", s.Socket(), standby.Socket(), service, migrated)
	told := func(want bool) {
		t.Helper()
		found, err := CheckServer(ctx, pair)
		if err != nil {
			t.Fatal(err)
		}
		named := false
		for _, f := range found {
			named = named || strings.Contains(f.EN, "standby is not synchronous")
		}
		if named != want {
			t.Errorf("the standby is named %v, want %v: %+v", named, want, found)
		}
	}
	told(false)
	e := onPostgres(s.Socket())
	var promoted atomic.Bool
	e.Open = func(ctx context.Context, dir string, o recordstest.Options) (recordstest.Records, error) {
		if !promoted.Load() {
			if err := postgrestest.Create(ctx, s.Socket(), database(dir), migrated); err != nil {
				return nil, err
			}
		}
		// Whichever of the two takes writes.
		url := fmt.Sprintf("host=%s,%s port=5432,5432 user=%s dbname=%s sslmode=disable target_session_attrs=read-write", s.Socket(), standby.Socket(), service, database(dir))
		return OpenPostgres(ctx, url, Options{ReadOnly: o.ReadOnly, KEK: o.KEK, Commit: o.Commit})
	}
	recordstest.Outages(t, e, 100, []func() error{
		func() error {
			err := errors.Join(s.Kill(), standby.Promote(context.Background()))
			promoted.Store(true)
			return err
		},
	})
}

// TestFrozenProcesses: processes are stopped in the midst of transactions, others go on without them, and those that wake
// find that the world has moved.
func TestFrozenProcesses(t *testing.T) {
	s := shared(t)
	t.Setenv(socketVariable, s.Socket())
	recordstest.Frozen(t, onPostgres(s.Socket()), 150, 3)
}
