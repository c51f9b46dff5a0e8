package records

import (
	"context"
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

func TestMain(m *testing.M) { os.Exit(recordstest.Main(m, mainEngine())) }

func TestSuite(t *testing.T) { recordstest.Run(t, onSQLite) }

func TestKilledProcesses(t *testing.T) { recordstest.Kill(t, onSQLite, 200, 8) }
