package records

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// goesBack takes tables back to a version and forward again, and refuses what would be no way back.
func goesBack(t *testing.T, p Place, first int, open func() error) {
	t.Helper()
	for _, no := range []int{-1, 0, first - 1, version, version + 1} {
		if _, err := Down(t.Context(), p, no); !errors.Is(err, ErrNoWayBack) {
			t.Errorf("back to %d: %v", no, err)
		}
	}
	if at, err := VersionOfTables(t.Context(), p); err != nil || at != version {
		t.Errorf("after refusals the tables have version %d, %v", at, err)
	}
	if from, err := Down(t.Context(), p, first); err != nil || from != version {
		t.Fatalf("back to %d: from %d, %v", first, from, err)
	}
	if at, err := VersionOfTables(t.Context(), p); err != nil || at != first {
		t.Errorf("the tables have version %d, %v; want %d", at, err, first)
	}
	if err := open(); err != nil {
		t.Fatalf("forward again: %v", err)
	}
	if at, err := VersionOfTables(t.Context(), p); err != nil || at != version {
		t.Errorf("forward again the tables have version %d, %v", at, err)
	}
}

func TestTablesGoBack(t *testing.T) {
	db, path := fresh(t, Options{})
	p := Place{Path: path}
	if _, err := Down(t.Context(), p, 1); !errors.Is(err, ErrLocked) {
		t.Errorf("beside a writer: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	goesBack(t, p, 1, func() error {
		db, err := Open(t.Context(), path, Options{})
		if err != nil {
			return err
		}
		return db.Close()
	})
	raw(t, path, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, 1)`)
	if _, err := Down(t.Context(), p, 1); !errors.Is(err, ErrVersion) {
		t.Errorf("tables of a newer program: %v", err)
	}
	if at, err := VersionOfTables(t.Context(), p); err != nil || at != 999 {
		t.Errorf("tables of a newer program: version %d, %v", at, err)
	}
	none := Place{Path: filepath.Join(t.TempDir(), "none.db")}
	if _, err := Down(t.Context(), none, 1); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("where nothing is: %v", err)
	}
	if _, err := os.Stat(none.Path + ".lock"); !errors.Is(err, os.ErrNotExist) {
		t.Error("something was made where nothing is")
	}
}

func TestPostgresTablesGoBack(t *testing.T) {
	s, name := ownDatabase(t)
	p := Place{URL: s.URL(name)}
	open := func() (*DB, error) { return OpenPostgres(t.Context(), p.URL, Options{}) }
	db, err := open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Down(t.Context(), p, 4); !errors.Is(err, ErrInUse) {
		t.Errorf("beside another process: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	// The server takes a moment to notice that a connection has ended.
	waitUntilAlone(t, p)
	goesBack(t, p, 4, func() error {
		db, err := open()
		if err != nil {
			return err
		}
		return db.Close()
	})
}

func waitUntilAlone(t *testing.T, p Place) {
	t.Helper()
	until := time.Now().Add(30 * time.Second)
	for {
		_, err := Down(t.Context(), p, 0)
		if errors.Is(err, ErrNoWayBack) {
			return
		}
		if !errors.Is(err, ErrInUse) {
			t.Fatal(err)
		}
		if time.Now().After(until) {
			t.Fatal("the connections never end")
		}
	}
}
