package fabric_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/fabric/network"
	"github.com/elicence/elicence/ledger/fabric/transaction"
	"github.com/elicence/elicence/ledger/ledgertest"
)

// nextProgram is another build of elicence-chaincode.
func nextProgram(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "next")
	c := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", path, "../../cmd/elicence-chaincode")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// contractIsUpgraded puts another program into force on a ledger that has licences under way. All three kinds must approve it; then
// one log has what both of them have judged, and who reads the chain anew comes to it as well.
func contractIsUpgraded(t *testing.T, l *laboratory, name string) {
	w := ledgertest.NewWorld(t, "upgrade")
	followers := copies(t, l, w, name)
	s := l.open(t, w, name, ledgertest.NewMemory(), ledgertest.NewMemoryTiles())
	accepted(t, s, w.Founding()...)
	var licences []*ledgertest.Licence
	var before [][]byte
	for range 5 {
		one := w.Issue(w.Hospital)
		one.HandOver(w.Hospital, w.Archive)
		before = append(before, one.Events...)
		licences = append(licences, one)
	}
	accepted(t, s, before...)
	versions := func() map[string]string {
		found := map[string]string{}
		for kind, m := range followers {
			until(t, "version", func() error {
				v, err := m.chain.Evaluate(t.Context(), "", transaction.ReadVersion)
				found[string(kind)] = string(v)
				return err
			})
		}
		return found
	}
	first := versions()

	d := network.Definition{Name: name, Label: "licence_2", Version: "2", Sequence: 2}
	program := nextProgram(t)
	all := network.Organisations()
	for _, o := range all {
		if _, err := l.Install(t.Context(), o, d.Label, program); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range all[:2] {
		if err := l.Approve(t.Context(), o, d); err != nil {
			t.Fatal(err)
		}
	}
	// The third one's peer does not endorse it, and without its endorsement it does not count.
	for says, by := range map[string][]network.Organisation{"not agreed to by this org (ArchiveMSP)": all, "ENDORSEMENT_POLICY_FAILURE": all[:2]} {
		if err := l.Commit(t.Context(), d, by...); err == nil || !strings.Contains(err.Error(), says) {
			t.Fatalf("two of three kinds put a contract into force: %v", err)
		}
	}
	during := w.Issue(w.Hospital) // the first contract is in force, and works
	accepted(t, s, during.Last())
	licences = append(licences, during)
	if got := versions(); got[string(contract.Police)] != first[string(contract.Police)] {
		t.Fatalf("%v runs before it was committed", got)
	}
	if err := l.Approve(t.Context(), all[2], d); err != nil {
		t.Fatal(err)
	}
	if err := l.Commit(t.Context(), d, all...); err != nil {
		t.Fatal(err)
	}
	// The first program's processes end: nobody asks them for this ledger any more.
	for _, o := range all {
		process := "chaincode." + o.Name
		if err := l.Kill(process); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := errors.Join(l.Start(process), l.Listening(t.Context(), process)); err != nil {
				t.Error(err)
			}
		}()
	}
	for _, one := range licences[:5] { // begun under the first contract
		one.Accept(w.Archive)
		if err := insist(s, one.Events); err != nil { // what stands already is not a second event for the new program either
			t.Fatal(err)
		}
	}
	after := w.Issue(w.Hospital)
	accepted(t, s, after.Last())
	licences = append(licences, after)
	for kind, v := range versions() {
		if v == first[kind] {
			t.Errorf("%s still runs %s", kind, v)
		}
		t.Logf("%s: %s, then %s", kind, first[kind], v)
	}
	sound(t, l, w, name, followers, s, licences)
}
