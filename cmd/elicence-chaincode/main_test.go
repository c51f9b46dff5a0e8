package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBadFlags(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.pem")
	if err := os.WriteFile(file, []byte("not a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		says string
	}{
		{"nothing", nil, "required"},
		{"an argument", []string{"x", "--id", "a", "--listen", "127.0.0.1:0"}, "unknown command"},
		{"everybody can reach it", []string{"--id", "a", "--listen", ":9999"}, "loopback"},
		{"an outer address", []string{"--id", "a", "--listen", "192.0.2.1:9999"}, "loopback"},
		{"not an address", []string{"--id", "a", "--listen", "9999"}, "loopback"},
		{"half of TLS", []string{"--id", "a", "--listen", "127.0.0.1:0", "--cert", file}, "go together"},
		{"no such file", []string{"--id", "a", "--listen", "127.0.0.1:0", "--cert", "nowhere", "--key", file, "--client-ca", file}, "nowhere"},
		{"no certificate", []string{"--id", "a", "--listen", "127.0.0.1:0", "--cert", file, "--key", file, "--client-ca", file}, "PEM"},
	} {
		var out bytes.Buffer
		if err := run(t.Context(), c.args, &out, &out); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestHelpHasAnExample(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"--help"}, &out, &out); err != nil || !strings.Contains(out.String(), "elicence-chaincode --id licence_1:") {
		t.Fatalf("%v\n%s", err, out.String())
	}
}
