package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The order of passphrases: flag, environment, credential of this keystore, credential of all, demonstration's folder.
func TestPassphraseComesFromTheFirstWhoHasIt(t *testing.T) {
	t.Parallel()
	data, handed := t.TempDir(), t.TempDir()
	write := func(path, text string) string {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o440); err != nil {
			t.Fatal(err)
		}
		return path
	}
	flag := write(filepath.Join(t.TempDir(), "flag"), "flag's\n")
	environment := map[string]string{"ELICENCE_PASSPHRASE": "environment's", "CREDENTIALS_DIRECTORY": handed}
	i := &installation{dir: data, config: config{Demonstration: true},
		app: &app{stdin: strings.NewReader(""), passphraseFile: flag, environment: func(name string) string { return environment[name] }}}
	own, every := write(filepath.Join(handed, "elicence-storage"), "own\n"), write(filepath.Join(handed, "elicence-passphrase"), "everybody's\n")
	write(i.secretPath("storage"), "demonstration's\n")
	for _, step := range []struct {
		want string
		then func()
	}{
		{"flag's", func() { i.app.passphraseFile = "" }},
		{"environment's", func() { delete(environment, "ELICENCE_PASSPHRASE") }},
		{"own", func() { os.Remove(own) }},
		{"everybody's", func() { os.Remove(every) }},
		{"demonstration's", func() { i.config.Demonstration = false }},
	} {
		if got, err := i.passphrase(t.Context(), "storage"); err != nil || string(got) != step.want {
			t.Errorf("got %q, %v; want %s", got, err, step.want)
		}
		step.then()
	}
	if got, err := i.passphrase(t.Context(), "storage"); err == nil {
		t.Errorf("nobody has one, and it is %q", got)
	}
	// One that cannot be used is not passed over.
	write(own, "\n")
	write(every, "everybody's\n")
	if got, err := i.passphrase(t.Context(), "storage"); err == nil || !strings.Contains(err.Error(), "elicence-storage") {
		t.Errorf("an empty credential: %q, %v", got, err)
	}
}
