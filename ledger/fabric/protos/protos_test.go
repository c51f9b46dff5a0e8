package protos_test

import (
	"os/exec"
	"strings"
	"testing"
)

// TestOneSetOfMessagesInABinary: a program that held both modules would end when it begins.
func TestOneSetOfMessagesInABinary(t *testing.T) {
	const apiv2, gateway, old, sdk = "github.com/hyperledger/fabric-protos-go-apiv2/", "github.com/hyperledger/fabric-gateway/pkg/client",
		"github.com/hyperledger/fabric-protos-go/", "github.com/hyperledger/fabric-sdk-go/"
	for _, p := range []string{"ledger/fabric", "ledger/fabric/network/lab"} {
		for _, build := range []struct {
			tags      string
			has, none []string
		}{
			{"", []string{apiv2, gateway}, []string{old, sdk}},
			{"fabricsdk", []string{old, sdk}, []string{apiv2, gateway}},
		} {
			out, err := exec.Command("go", "list", "-deps", "-test", "-tags", build.tags, "github.com/elicence/elicence/"+p).Output()
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range build.has {
				if !strings.Contains(string(out), m) {
					t.Errorf("%s with tags %q does not have %s", p, build.tags, m)
				}
			}
			for _, m := range build.none {
				if strings.Contains(string(out), m) {
					t.Errorf("%s with tags %q has %s", p, build.tags, m)
				}
			}
		}
	}
	for _, p := range []string{"cmd/elicence", "cmd/elicence-chaincode"} {
		for _, tags := range []string{"", "fabricsdk"} {
			out, err := exec.Command("go", "list", "-deps", "-tags", tags, "github.com/elicence/elicence/"+p).Output()
			if err != nil || len(out) == 0 {
				t.Fatal(err)
			}
			if strings.Contains(string(out), apiv2) && strings.Contains(string(out), old) {
				t.Errorf("%s with tags %q has both", p, tags)
			}
		}
	}
}
