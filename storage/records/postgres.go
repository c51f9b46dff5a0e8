package records

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// ErrURL says that the address of a PostgreSQL database cannot be used.
var ErrURL = errors.New("records: not a usable PostgreSQL address")

// What a database server says that somebody can do something about; every one is licence.ErrUnavailable, too.
var (
	// ErrServerFull says that the server has no room: on its disk, in its memory, or for one more connection.
	ErrServerFull = errors.New("records: the database server has no room")
	// ErrServerDisk says that the server cannot read or write its disk.
	ErrServerDisk = errors.New("records: the database server cannot read or write its disk")
	// ErrServerAway says that the server cannot be reached, or ended the connection. What was under way may have happened.
	ErrServerAway = errors.New("records: the database server cannot be reached")
)

// postgresServer is the engine of an installation with several processes. Every one of them writes.
type postgresServer struct {
	pool *pgxpool.Pool
	db   *sql.DB // over pool
}

// Bounds of a transaction, in milliseconds. A process that is frozen in the midst of one must not hold its locks for
// long: the server ends the transaction, and the process finds its connection gone when it wakes.
const (
	idleInTransaction = "10000"
	waitForLock       = "15000"
)

const (
	// postgresLanes is how many transactions of one process run side by side. While one waits for the disk, or for the
	// counters of an issuer, the others get on.
	postgresLanes = 2
	// poolConnections is for lanes and readers together.
	poolConnections = 16
)

// applicationName is how the server lists this program's connections.
const applicationName = "elicence"

// OpenPostgres opens the records in a PostgreSQL database, 15 or newer, for any number of processes. url is what libpq
// takes ("postgres://user@host/db?sslmode=verify-full" or "host=… dbname=…"); a password is not part of it, but comes from
// PGPASSWORD, PGPASSFILE or a service file. The tables are made or brought forward if the role may do that; a role that
// may not (the service's own, see Grants) needs somebody to do it before. Errors as those of Open, but never ErrLocked.
//
// Options.ReadOnly writes nothing but audit rows.
func OpenPostgres(ctx context.Context, url string, o Options) (*DB, error) {
	if o.Filling {
		url = withoutWaiting(url)
	}
	p, err := connectPostgres(ctx, url)
	if err != nil {
		return nil, err
	}
	return openOn(ctx, p, "", o)
}

// withoutWaiting is the address with commits that do not wait for the disk.
func withoutWaiting(url string) string {
	switch {
	case !strings.Contains(url, "://"):
		return url + " synchronous_commit=off"
	case strings.Contains(url, "?"):
		return url + "&synchronous_commit=off"
	}
	return url + "?synchronous_commit=off"
}

func connectPostgres(ctx context.Context, url string) (*postgresServer, error) {
	c, err := pgxpool.ParseConfig(url)
	if err != nil {
		// The parser's own words may repeat a password.
		return nil, fmt.Errorf("%w: it cannot be read", ErrURL)
	}
	if strings.Contains(url, "password") || strings.Contains(strings.SplitN(url, "@", 2)[0], "://") && strings.Count(strings.SplitN(url, "@", 2)[0], ":") > 1 {
		return nil, fmt.Errorf("%w: a password does not belong into it; give it in PGPASSWORD or PGPASSFILE", ErrURL)
	}
	set := func(name, value string) {
		if _, there := c.ConnConfig.RuntimeParams[name]; !there {
			c.ConnConfig.RuntimeParams[name] = value
		}
	}
	set("application_name", applicationName)
	// What is answered is durable, whatever the server's default is.
	set("synchronous_commit", "on")
	set("idle_in_transaction_session_timeout", idleInTransaction)
	set("lock_timeout", waitForLock)
	set("default_transaction_isolation", "read committed")
	// Every question has an index. A plan that was made while a table was empty would read it all for as long as the
	// connection lives.
	set("enable_seqscan", "off")
	set("jit", "off") // what looks dear by that setting is not worth compiling
	if c.ConnConfig.ConnectTimeout == 0 {
		c.ConnConfig.ConnectTimeout = 10 * time.Second
	}
	c.MaxConns = max(c.MaxConns, poolConnections)
	pool, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		return nil, say("connect", err)
	}
	return &postgresServer{pool: pool, db: stdlib.OpenDBFromPool(pool)}, nil
}

func (p *postgresServer) dialect() dialect {
	return dialect{
		begin:       "BEGIN",
		version:     `SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version WHERE is_applied`,
		lock:        " FOR UPDATE",
		skipLocked:  " FOR UPDATE SKIP LOCKED",
		share:       " FOR SHARE",
		lockLicence: " FOR UPDATE OF l",
		actsAdopted: `SELECT setval(pg_get_serial_sequence('acts', 'ordinal'), (SELECT MAX(ordinal) FROM acts))`,
		notify:      `SELECT pg_notify('` + dueChannel + `', $1)`,
		now:         `(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::BIGINT`,
		snapshot:    sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead},
	}
}

func (p *postgresServer) prepare(ctx context.Context) error {
	var at int
	// The common case changes nothing and needs no right to.
	err := p.db.QueryRowContext(ctx, p.dialect().version).Scan(&at)
	if err == nil && at == version {
		return nil
	}
	if err != nil && state(err) != "42P01" { // no such table: an empty database
		return err
	}
	return migrate(ctx, p, p.db)
}

func (p *postgresServer) provider(db *sql.DB) (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations/postgres")
	if err != nil {
		return nil, err
	}
	// Of several processes that start at once. The others look every second, for five minutes.
	one, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectPostgres, db, files, goose.WithSessionLocker(one))
}

//go:embed grants.sql
var grants string

// Grants is the SQL that gives a database role what the service needs and no more: it adds to the trail and to the log
// and can change neither.
func Grants(role string) string {
	quoted := `"` + strings.ReplaceAll(role, `"`, `""`) + `"`
	return strings.ReplaceAll(grants, ":role", quoted)
}

func (p *postgresServer) readers(ctx context.Context) (*sql.DB, error) {
	return p.db, p.db.PingContext(ctx)
}

func (p *postgresServer) connect(ctx context.Context) (connection, error) {
	conn, err := p.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	return &postgresConnection{conn: conn, queue: &pgx.Batch{}}, nil
}

// postgresConnection sends what was left for later together with the next statement.
type postgresConnection struct {
	conn  *pgxpool.Conn
	queue *pgx.Batch
}

func (c *postgresConnection) exec(ctx context.Context, query string, args []any) (int64, error) {
	if c.queue.Len() == 0 {
		if len(args) == 0 { // COMMIT and its like: nothing to prepare
			args = []any{pgx.QueryExecModeSimpleProtocol}
		}
		tag, err := c.conn.Exec(ctx, query, args...)
		return tag.RowsAffected(), err
	}
	var changed int64
	err := c.send(ctx, query, args, func(results pgx.BatchResults) error {
		tag, err := results.Exec()
		changed = tag.RowsAffected()
		return err
	})
	return changed, err
}

func (c *postgresConnection) each(ctx context.Context, query string, args []any, scan func(row) error) error {
	if c.queue.Len() == 0 {
		rows, err := c.conn.Query(ctx, query, args...)
		if err != nil {
			return err
		}
		return collectPgx(rows, scan)
	}
	return c.send(ctx, query, args, func(results pgx.BatchResults) error {
		rows, err := results.Query()
		if err != nil {
			return err
		}
		return collectPgx(rows, scan)
	})
}

func collectPgx(rows pgx.Rows, scan func(row) error) error {
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (c *postgresConnection) later(_ context.Context, query string, args []any) error {
	c.queue.Queue(query, args...)
	return nil
}

func (c *postgresConnection) flush(ctx context.Context) error {
	if c.queue.Len() == 0 {
		return nil
	}
	return c.send(ctx, "", nil, nil)
}

// send sends the queue and one statement behind it, whose result last takes; nil sends the queue alone.
func (c *postgresConnection) send(ctx context.Context, query string, args []any, last func(pgx.BatchResults) error) error {
	queue, waiting := c.queue, c.queue.Len()
	c.queue = &pgx.Batch{}
	if last != nil {
		queue.Queue(query, args...)
	}
	results := c.conn.SendBatch(ctx, queue)
	var err error
	for range waiting {
		if _, err = results.Exec(); err != nil {
			break
		}
	}
	if err == nil && last != nil {
		err = last(results)
	}
	// Closing says the first error again, or the one of a result that was not read to its end.
	if closing := results.Close(); err == nil {
		err = closing
	}
	return err
}

func (c *postgresConnection) drop() { c.queue = &pgx.Batch{} }

// end closes the connection: it may be in the midst of anything, and does not go back to the pool.
func (c *postgresConnection) end() error {
	ctx, cancel := context.WithTimeout(context.Background(), rollbackTime)
	defer cancel()
	// Closing one that is broken fails, and it is gone all the same.
	_ = c.conn.Hijack().Close(ctx)
	return nil
}

func (p *postgresServer) lanes() int { return postgresLanes }

// contended: a key that another transaction has taken meanwhile, two that waited for each other, one that waited too long.
func (p *postgresServer) contended(err error) bool {
	switch state(err) {
	case "23505", "40001", "40P01", "55P03":
		return true
	}
	return false
}

// state is the SQLSTATE of an error, "" for one that the server did not send.
func state(err error) string {
	var failed *pgconn.PgError
	if errors.As(err, &failed) {
		return failed.Code
	}
	return ""
}

// postgresHint names what a person can do something about, "" for all else, and the sentinel that the advice goes by.
func postgresHint(err error) (string, error) {
	var refused *pgconn.ConnectError
	var line *net.OpError
	switch code := state(err); {
	case code == "53100":
		return ": 数据库磁盘已满 / the disk of the database is full", ErrServerFull
	case code == "53300":
		return ": 数据库连接已满 / the database has no connection left", ErrServerFull
	case strings.HasPrefix(code, "53"):
		return ": 数据库资源不足 / the database has not enough of what it needs", ErrServerFull
	case strings.HasPrefix(code, "58"):
		return ": 数据库读写磁盘出错 / the database cannot read or write its disk", ErrServerDisk
	case code == "25006":
		return ": 数据库只读 / the database takes no writes: it may be a standby", nil
	case code == "42501":
		return ": 数据库角色权限不足 / the database role may not do this", nil
	case strings.HasPrefix(code, "28"):
		return ": 数据库拒绝登录 / the database refuses the log-in", nil
	case code == "3D000":
		return ": 没有这个数据库 / there is no such database", nil
	case code == "57P01" || code == "57P02" || code == "57P03":
		return ": 数据库正在停止或启动 / the database is stopping or starting", ErrServerAway
	case errors.As(err, &refused):
		return ": 无法连接数据库 / the database cannot be reached", ErrServerAway
	case code == "" && (errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &line)):
		return ": 与数据库的连接中断 / the connection to the database was cut", ErrServerAway
	}
	return "", nil
}

// forget takes the dead versions of what was overwritten out of the tables. The write-ahead log and its archive keep them
// for as long as they are kept; docs/operations.md says what that means for an erasure.
func (p *postgresServer) forget(ctx context.Context) error {
	for _, table := range []string{"licences", "contents", "signatures", "notes", "search_tags"} {
		if _, err := p.db.ExecContext(ctx, "VACUUM "+table); err != nil {
			return err
		}
	}
	return nil
}

func (p *postgresServer) tidy(ctx context.Context) error {
	_, err := p.db.ExecContext(ctx, "VACUUM ANALYZE")
	return err
}

func (p *postgresServer) diskUse(ctx context.Context) (n int64, err error) {
	err = p.db.QueryRowContext(ctx, `SELECT pg_database_size(current_database())`).Scan(&n)
	return n, err
}

func (p *postgresServer) close() error {
	err := p.db.Close()
	p.pool.Close()
	return err
}
