package records

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/storage/records/postgrestest"
	"github.com/elicence/elicence/storage/records/recordstest"
)

// asked is one statement with arguments, as a command has sent it.
type asked struct {
	query string
	args  []any
}

// listener hears every statement that goes to the database.
type listener struct {
	mu    sync.Mutex
	heard map[string]asked
}

func (l *listener) hear(query string, args []any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.heard[query]; !ok {
		l.heard[query] = asked{query, slices.Clone(args)}
	}
}

// everyQuestion asks everything that a page or a command asks about the licences that are there, and takes one step more
// of every kind.
func everyQuestion(t *testing.T, db *DB, l issuing.Licence, at time.Time) {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	who := audit.Entry{At: at, Organisation: l.Issuer, Person: "p", What: "x", Licence: l.ID}
	pile := issuing.Pile{Issuer: l.Issuer, Type: l.Type}
	_, err := db.ByID(ctx, l.ID)
	must(err)
	_, err = db.ByNumber(ctx, l.Number)
	must(err)
	_, err = db.ByIdentifier(ctx, l.Identifier)
	must(err)
	_, err = db.ByBusinessID(ctx, "", l.BusinessID)
	must(err)
	_, err = db.ByBusinessID(ctx, l.Issuer, l.BusinessID)
	must(err)
	_, err = db.Search(ctx, "business", l.BusinessID)
	must(err)
	hits, err := db.SearchAny(ctx, []string{"name", "business", "child.name"}, "business"+strings.TrimPrefix(l.BusinessID, "B"))
	must(err)
	if len(hits) != 1 || hits[0].Field != "business" || hits[0].Licence.ID != l.ID {
		t.Fatalf("a search in several fields found %d", len(hits))
	}
	revoked := issuing.Revoked
	for _, f := range []issuing.Filter{{}, {Issuer: l.Issuer}, {Issuer: "nobody"}, {Stage: issuing.StageParked}, {Stage: issuing.StageIntent}, {Status: &revoked}} {
		_, err = db.List(ctx, f, l.ID, 50)
		must(err)
	}
	_, err = db.Unfinished(ctx, at, 10)
	must(err)
	_, err = db.EventsOf(ctx, l.ID)
	must(err)
	_, err = db.Notes(ctx, l.ID)
	must(err)
	_, err = db.Pending(ctx, 10)
	must(err)
	_, err = db.PendingCount(ctx)
	must(err)
	_, err = db.Refused(ctx, 10)
	must(err)
	_, err = db.LastEventTime(ctx)
	must(err)
	_, err = db.OfLicence(ctx, l.ID)
	must(err)
	_, err = db.NotInForce(ctx)
	must(err)
	_, err = db.Sheet(ctx, l.Number)
	must(err)
	_, err = db.NextFree(ctx, pile)
	must(err)
	_, err = db.FreeCounts(ctx)
	must(err)
	_, err = db.YearTable(ctx, pile, 2026, time.UTC)
	must(err)
	_, err = db.Head(ctx)
	must(err)
	_, err = db.StateGet(ctx, []string{"a", "b"})
	must(err)
	_, err = db.Entries(ctx, 10, 20)
	must(err)
	_, _, err = db.IndexOf(ctx, [32]byte{1})
	must(err)
	_, err = db.LastSigned(ctx)
	must(err)
	_, err = db.Signed(ctx, 5)
	must(err)
	_, err = db.SignedAfter(ctx, 5, 5)
	must(err)
	_, err = db.People(ctx, l.Issuer)
	must(err)
	must(db.Record(ctx, who))
	_, _, err = db.Seal(ctx)
	must(err)
	events, err := db.EventsOf(ctx, l.ID)
	must(err)
	last := events[len(events)-1]
	must(db.MarkSequenced(ctx, []issuing.Answer{{Hash: last.Hash, Index: 1 << 40}}))
	st := issuing.Step{Licence: l.ID, Previous: last.Hash, Event: issuing.Event{
		Licence: l.ID, Sequence: last.Sequence + 1, Kind: "revoked", Hash: [32]byte{9}, Bytes: []byte("e"), At: at, Actor: l.Issuer,
	}, Status: &revoked, Note: []byte("n"), NoteName: "revocation", Audit: who}
	must(db.AppendStep(ctx, st))
	must(db.MarkSequenced(ctx, []issuing.Answer{{Hash: st.Event.Hash, Refusal: "custody", At: at}}))
	head, err := db.Head(ctx)
	must(err)
	must(db.Append(ctx, embedded.Batch{ExpectedSize: head.Size, Entries: []embedded.Entry{{Index: head.Size, Hash: [32]byte{8}, Bytes: []byte("e")}}, Body: []byte("b"), Writes: map[string][]byte{"k": nil}}))
	number, err := db.NextFree(ctx, pile)
	must(err)
	must(db.Bind(ctx, pile, number, "paper", at, who))
	must(db.Spoil(ctx, l.Issuer, number, "lost", at, who))
	must(db.Allot(ctx, pile, "B000000001", 2, at, who))
	_, err = recordstest.Again(t, db, l)
	must(err)
	_, err = db.Claim(ctx, l.ID, who)
	must(err)
	_, err = db.Erase(ctx, l.ID, who)
	must(err)
}

// walks are the statements that go through a table by their nature, each with the reason. Nothing else may.
var walks = []string{
	"SELECT issuer, name, name_en, kind, region FROM organisations", // all of them are shown, and there are hundreds
	"UPDATE leases SET until = 0 WHERE until <> 0",                  // two rows
	"SELECT issuer, type, COUNT(*) FROM sheets",                     // through the free sheets alone, by their index
}

// grown are the tables that have a row for every licence or step.
var grown = regexp.MustCompile(`\b(licences|contents|signatures|parts|search_tags|events|notes|sheets|audit|log_entries|log_state)\b`)

// TestEveryQuestionHasAnIndex holds every statement of a page or a command to its plan on 10,000 licences: none reads a
// table that grows from one end to the other, and none sorts what it reads.
func TestEveryQuestionHasAnIndex(t *testing.T) {
	const many = 10_000
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "records.db")
	db, err := Open(ctx, path, Options{KEK: recordstest.KEK()})
	if err != nil {
		t.Fatal(err)
	}
	made := recordstest.Many(t, db, many)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s, name := ownDatabase(t)
	if rows := pour(t, path, s.URL(name)); rows < 10*many {
		t.Fatalf("only %d rows were copied", rows)
	}
	t.Run("sqlite", func(t *testing.T) {
		heard := questions(t, made, func(o Options) (*DB, error) { return Open(ctx, path, o) })
		plain, err := sql.Open("sqlite", dsn(path, "rw"))
		if err != nil {
			t.Fatal(err)
		}
		defer plain.Close()
		for _, q := range heard {
			rows, err := plain.Query("EXPLAIN QUERY PLAN "+q.query, q.args...)
			if err != nil {
				t.Errorf("%s: %v", q.query, err)
				continue
			}
			made := map[string]bool{} // what the statement itself has found before
			err = collect(rows, func(r row) error {
				var id, parent, unused int
				var detail string
				if err := r.Scan(&id, &parent, &unused, &detail); err != nil {
					return err
				}
				for _, maker := range []string{"CO-ROUTINE ", "MATERIALIZE "} {
					if name, ok := strings.CutPrefix(detail, maker); ok {
						made[name] = true
					}
				}
				name, scan := strings.CutPrefix(detail, "SCAN ")
				scan = scan && !strings.Contains(detail, " USING ") && name != "CONSTANT ROW" && !strings.HasSuffix(name, "VALUES CLAUSE") && !made[name]
				// A sort of the few rows that a licence has is none; one before a LIMIT reads everything for a page.
				sort := strings.HasSuffix(detail, "TEMP B-TREE FOR ORDER BY") && strings.Contains(q.query, "LIMIT")
				if (scan || sort) && grown.MatchString(q.query) {
					t.Errorf("%s\n\t%s", detail, q.query)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("postgres", func(t *testing.T) {
		heard := questions(t, made, func(o Options) (*DB, error) { return OpenPostgres(ctx, s.URL(name), o) })
		if err := postgrestest.Do(ctx, s.URL(name), "VACUUM ANALYZE"); err != nil {
			t.Fatal(err)
		}
		// Without the choice of reading a whole table, which is right for a small one: where the planner reads it all the same
		// it has no index to go by.
		plain, err := sql.Open("pgx", s.URL(name)+" options='-c enable_seqscan=off'")
		if err != nil {
			t.Fatal(err)
		}
		defer plain.Close()
		partial := map[string]bool{}
		rows, err := plain.Query("SELECT indexname FROM pg_indexes WHERE indexdef LIKE '% WHERE %'")
		if err != nil {
			t.Fatal(err)
		}
		err = collect(rows, func(r row) error {
			var name string
			err := r.Scan(&name)
			partial[name] = true
			return err
		})
		if err != nil || len(partial) < 5 {
			t.Fatal(partial, err)
		}
		for _, q := range heard {
			if !slices.Contains([]string{"SELECT", "INSERT", "UPDATE", "DELETE"}, strings.SplitN(q.query, " ", 2)[0]) {
				continue
			}
			var plan []byte
			if err := plain.QueryRow("EXPLAIN (FORMAT JSON) "+q.query, q.args...).Scan(&plan); err != nil {
				t.Errorf("%s: %v", q.query, err)
				continue
			}
			var nodes any
			if err := json.Unmarshal(plan, &nodes); err != nil {
				t.Fatal(err)
			}
			eachNode(nodes, func(node map[string]any) {
				kind, _ := node["Node Type"].(string)
				table, _ := node["Relation Name"].(string)
				index, _ := node["Index Name"].(string)
				_, bounded := node["Index Cond"]
				switch {
				case kind == "Seq Scan" && grown.MatchString(table):
					t.Errorf("%s on %s\n\t%s", kind, table, q.query)
				case index != "" && !bounded && !partial[index] && grown.MatchString(q.query):
					t.Errorf("all of %s\n\t%s", index, q.query)
				}
			})
		}
	})
}

func eachNode(plan any, each func(map[string]any)) {
	switch p := plan.(type) {
	case []any:
		for _, one := range p {
			eachNode(one, each)
		}
	case map[string]any:
		if _, ok := p["Node Type"]; ok {
			each(p)
		}
		for _, one := range p {
			eachNode(one, each)
		}
	}
}

// pour copies all rows of a file into a database without any, as both have the same tables. That takes a tenth of the time
// in which they are issued again.
func pour(t *testing.T, path, url string) (rows int64) {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	file, err := sql.Open("sqlite", dsn(path, "ro"))
	must(err)
	defer file.Close()
	server, err := pgx.Connect(ctx, url+" options='-c session_replication_role=replica'") // in any order, and by no trigger
	must(err)
	defer server.Close(ctx)
	found, err := server.Query(ctx, `SELECT table_name, array_agg(column_name::text ORDER BY ordinal_position) FROM information_schema.columns
		WHERE table_schema = 'public' AND table_name NOT LIKE 'goose%' GROUP BY table_name`)
	must(err)
	tables := map[string][]string{}
	must(collectPgx(found, func(r row) error {
		var table string
		var columns []string
		err := r.Scan(&table, &columns)
		tables[table] = columns
		return err
	}))
	for table, columns := range tables {
		_, err := server.Exec(ctx, "DELETE FROM "+table) // what was written when the tables were made
		must(err)
		read, err := file.QueryContext(ctx, "SELECT "+strings.Join(columns, ", ")+" FROM "+table)
		must(err)
		n, err := server.CopyFrom(ctx, pgx.Identifier{table}, columns, pgx.CopyFromFunc(func() ([]any, error) {
			if !read.Next() {
				return nil, read.Err()
			}
			values, into := make([]any, len(columns)), make([]any, len(columns))
			for i := range values {
				into[i] = &values[i]
			}
			return values, read.Scan(into...)
		}))
		must(errors.Join(err, read.Close()))
		rows += n
		if slices.Contains(columns, "ordinal") {
			_, err := server.Exec(ctx, fmt.Sprintf(`SELECT setval(pg_get_serial_sequence('%[1]s', 'ordinal'), (SELECT COALESCE(MAX(ordinal), 0) + 1 FROM %[1]s), false)`, table))
			must(err)
		}
	}
	return rows
}

// questions returns every statement that everyQuestion has sent to records that are filled, but those that walk.
func questions(t *testing.T, made issuing.Licence, open func(Options) (*DB, error)) []asked {
	t.Helper()
	ears := &listener{heard: map[string]asked{}}
	db, err := open(Options{KEK: recordstest.KEK(), hear: ears.hear})
	if err != nil {
		t.Fatal(err)
	}
	everyQuestion(t, db, made, made.IssueTime.Add(time.Hour))
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	var found []asked
	for _, q := range ears.heard {
		if !slices.ContainsFunc(walks, func(w string) bool { return strings.HasPrefix(q.query, w) }) {
			found = append(found, q)
		}
	}
	if len(found) < 60 {
		t.Errorf("only %d statements were heard", len(found))
	}
	slices.SortFunc(found, func(a, b asked) int { return strings.Compare(a.query, b.query) })
	return found
}
