package fabric_test

import (
	"os/exec"
	"strings"
	"testing"
)

// TestReadersDrawInNoFabric: who verifies a receipt, and whoever issues, is built without anything of Fabric.
func TestReadersDrawInNoFabric(t *testing.T) {
	for _, p := range []string{"verify/...", "ledger", "ledger/contract", "ledger/embedded", "issuing"} {
		out, err := exec.Command("go", "list", "-deps", "github.com/elicence/elicence/"+p).Output()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(out), "elicence/ledger") {
			t.Fatalf("%s: not a list of packages", p)
		}
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "hyperledger/") || strings.Contains(line, "elicence/ledger/fabric") {
				t.Errorf("%s draws in %s", p, line)
			}
		}
	}
	out, err := exec.Command("go", "list", "-deps", "github.com/elicence/elicence/verify/...").Output()
	if err != nil || strings.Contains(string(out), "google.golang.org/grpc") {
		t.Errorf("verify draws in gRPC, %v", err)
	}
}
