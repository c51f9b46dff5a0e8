package replay_test

import (
	"testing"

	"github.com/elicence/elicence/ledger/fabric/replay"
)

func TestExportAlone(t *testing.T) {
	s := played(t)
	r, err := replay.Export(t.Context(), s.export, replay.Options{Known: s.notes, Trust: s.world.Trust()})
	if err != nil {
		t.Fatal(err)
	}
	if r.Difference != nil {
		t.Fatalf("%+v", r.Difference)
	}
	t.Logf("%+v", r)
	if r.Blocks != uint64(len(s.blocks)) || r.Entries != s.entries || r.Checkpoints != len(s.notes) || r.Invalid != 2 || r.Configurations == 0 || r.CommitHash == "" {
		t.Fatalf("%+v", r)
	}
}
