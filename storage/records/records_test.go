package records

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/elicence/elicence/storage/records/recordstest"
)

var onSQLite = recordstest.Engine{
	Open: func(ctx context.Context, dir string, o recordstest.Options) (recordstest.Records, error) {
		db, err := Open(ctx, filepath.Join(dir, "records.db"), Options{ReadOnly: o.ReadOnly, KEK: o.KEK, Commit: o.Commit})
		if err != nil {
			return nil, err
		}
		return db, nil
	},
	Locked: ErrLocked, ReadOnly: ErrReadOnly, Sealed: ErrSealed, Erased: ErrErased,
}

func TestMain(m *testing.M) {
	code := recordstest.Main(m, mainEngine())
	if err := endPeaceful(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func TestSuite(t *testing.T) { recordstest.Run(t, onSQLite) }

func TestKilledProcesses(t *testing.T) { recordstest.Kill(t, onSQLite, 200, 8) }

// TestAtOnce is the part of the suite that the race detector sees.
func TestAtOnce(t *testing.T) { recordstest.RunAtOnce(t, onSQLite) }
