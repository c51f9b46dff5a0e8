package verify_test

import (
	"os/exec"
	"strings"
	"testing"
)

// The reader's side works where nothing of ours runs: no network, no database, no key device, no renderer.
func TestReaderNeedsNeitherNetworkNorDatabaseNorKeys(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".", "./trust", "./status").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	const own = "github.com/elicence/elicence/"
	allowed := []string{"licence/code", "signer", "ledger", "ledger/contract", "verify"}
	for _, dep := range strings.Fields(string(out)) {
		for _, refused := range []string{"net/http", "crypto/tls", "database/sql", "modernc.org/", "github.com/jackc/", "plugin", "github.com/go-pdf", "codeberg.org/go-pdf"} {
			if dep == refused || strings.HasSuffix(refused, "/") && strings.HasPrefix(dep, refused) {
				t.Errorf("verify depends on %s", dep)
			}
		}
		ours, ok := strings.CutPrefix(dep, own)
		if !ok {
			continue
		}
		fine := strings.HasPrefix(ours, "signer/") || strings.HasPrefix(ours, "verify/")
		for _, a := range allowed {
			fine = fine || ours == a
		}
		if !fine {
			t.Errorf("verify depends on %s", ours)
		}
	}
}
