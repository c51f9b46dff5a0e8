package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/templates"
)

func sampleErrors() []error {
	return []error{
		usage("--to is needed"), usage("%w", licence.ErrConflict), fmt.Errorf("line 3: %w", &templates.MissingGlyph{Rune: '𠮷', Pointer: "/child/name", Package: "fonts-hanazono"}),
		&failure{code: exitNo, cause: fmt.Errorf("a1: %w", errNoCertificate), do: "see them with: elicence key list --json"},
		&failure{code: exitUnavailable, cause: io.ErrUnexpectedEOF}, fmt.Errorf("X: %w: %w", licence.ErrState, licence.ErrNotFound),
		fmt.Errorf("outer: %w", &failure{code: exitUsage, cause: os.ErrNotExist}),
	}
}

// loadWith loads the configuration of a folder with variables and --set pairs.
func loadWith(t *testing.T, data string, variables []string, set ...string) *loaded {
	t.Helper()
	a := appAt(data, systemClock, io.Discard, io.Discard)
	a.variables, a.set = variables, set
	l, err := a.loadConfig()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(b, text...), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A flag comes before the environment, that before the file, that before the default; and each value says where it is from.
func TestSettingsHaveOnePrecedence(t *testing.T) {
	t.Parallel()
	data := copyOf(t, fresh)
	const variable = "ELICENCE_SERVE_STOP_WITHIN=50s"
	is := func(l *loaded, want time.Duration, source string) {
		t.Helper()
		if len(l.faults) > 0 || l.config.Serve.StopWithin != want || !strings.Contains(l.sources["serve.stopWithin"], source) {
			t.Errorf("%s from %q, want %s from %q; %v", l.config.Serve.StopWithin, l.sources["serve.stopWithin"], want, source, l.faults)
		}
	}
	is(loadWith(t, data, nil), 30*time.Second, "default")
	appendTo(t, filepath.Join(data, configFile), "serve:\n    stopWithin: 40s\n")
	is(loadWith(t, data, nil), 40*time.Second, configFile+":")
	is(loadWith(t, data, []string{"PATH=/bin", variable, "ELICENCE_DATA=x", "ELICENCE_SOAK_KILLS=1", "ELICENCE_S3_SECRET_KEY=s"}), 50*time.Second, "$ELICENCE_SERVE_STOP_WITHIN")
	is(loadWith(t, data, []string{variable}, "serve.stopWithin=1m"), time.Minute, "--set")
	l := loadWith(t, data, []string{"ELICENCE_LEDGER_COSIGNERS=" + demonstrationScheme().police.Code, "ELICENCE_LEDGER_COSIGNATURES_NEEDED=1"})
	if len(l.faults) > 0 || len(l.config.Ledger.Cosigners) != 1 || l.config.Ledger.Needed != 1 {
		t.Errorf("%+v, %v", l.config.Ledger, l.faults)
	}
	seen := map[string]bool{}
	for _, s := range settings() {
		if seen[s.environment] || otherVariable(s.environment) {
			t.Errorf("%s is ambiguous", s.environment)
		}
		seen[s.environment] = true
	}
}

// Whatever is wrong with a setting is named with its key and where it stands, all of it at once, and no command begins.
func TestWrongSettingsAreRefusedByName(t *testing.T) {
	t.Parallel()
	for what, is := range map[string]struct {
		file      string // appended to elicence.yaml
		variables []string
		set       []string
		words     []string
	}{
		"unknown in the file":                 {"colour: red\n", nil, nil, []string{configFile + ":35: colour", "no such setting"}},
		"unknown below":                       {"serve:\n    lisen: '1'\n", nil, nil, []string{":36: serve.lisen", "no such setting"}},
		"unknown in the environment":          {"", []string{"ELICENCE_COLOUR=red"}, nil, []string{"environment: ELICENCE_COLOUR", "no such setting"}},
		"unknown in a flag":                   {"", nil, []string{"colour=red"}, []string{"--set: colour"}},
		"no pair in a flag":                   {"", nil, []string{"zone"}, []string{"--set: zone", "KEY=VALUE"}},
		"a duration in the file":              {"serve:\n    stopWithin: soon\n", nil, nil, []string{":36: serve.stopWithin", "duration"}},
		"a number in the environment":         {"", []string{"ELICENCE_STATUS_SPACE=many"}, nil, []string{"$ELICENCE_STATUS_SPACE: status.space", "a number"}},
		"out of range":                        {"", []string{"ELICENCE_STATUS_SPACE=1000"}, nil, []string{"$ELICENCE_STATUS_SPACE: status.space", "multiple of 1024"}},
		"unknown driver":                      {"", []string{"ELICENCE_RECORDS_DRIVER=oracle"}, nil, []string{"$ELICENCE_RECORDS_DRIVER: records.driver", `"oracle"`, "sqlite"}},
		"two at once":                         {"colour: red\n", []string{"ELICENCE_ZONE=Mars"}, nil, []string{"colour", "$ELICENCE_ZONE: zone"}},
		"more cosignatures than there can be": {"", nil, []string{"ledger.cosignaturesNeeded=3"}, []string{"--set: ledger.cosignaturesNeeded", "number of cosigners"}},
		"listen":                              {"", nil, []string{"serve.listen=here"}, []string{"serve.listen", "PORT"}},
		"level":                               {"", nil, []string{"log.level=loud"}, []string{"log.level"}},
		"traces":                              {"", nil, []string{"traces.endpoint=collector"}, []string{"traces.endpoint"}},
		"twice":                               {"zone: Asia/Shanghai\n", nil, nil, []string{":35: zone", "twice"}},
		"a list where one value is":           {"log:\n    level: [a]\n", nil, nil, []string{":36: log.level"}},
		"no mapping":                          {"log: loud\n", nil, nil, []string{":35: log", "shape"}},
		"no YAML":                             {"\t:::\n", nil, nil, []string{configFile, "YAML"}},
	} {
		data := copyOf(t, fresh)
		appendTo(t, filepath.Join(data, configFile), is.file)
		for _, command := range [][]string{{"list"}, {"trust", "publish"}, {"serve"}, {"config", "check"}} {
			var out, errs strings.Builder
			a := appAt(data, systemClock, &out, &errs)
			a.variables = is.variables
			root := a.command()
			args := append([]string{"--data", data}, command...)
			for _, s := range is.set {
				args = append(args, "--set", s)
			}
			root.SetArgs(args)
			code, want := a.exit(root.ExecuteContext(t.Context())), exitUsage
			if command[0] == "config" {
				want = exitNo
			}
			if code != want {
				t.Errorf("%s: elicence %s: exit %d, want %d", what, command[0], code, want)
			}
			for _, w := range is.words {
				if !strings.Contains(out.String()+errs.String(), w) {
					t.Errorf("%s: elicence %s does not say %q: %s%s", what, command[0], w, out.String(), errs.String())
				}
			}
		}
	}
}

// config check finds what is away, what has ended and what others may read, says where and what to do; show tells all.
func TestConfigCheckLooksAtEverything(t *testing.T) {
	t.Parallel()
	data, s := copyOf(t, fresh), demonstrationScheme()
	says(t, "a good one", call(t.Context(), data, systemClock, "config", "check"), exitYes, "✓ keystores", "✓ certificates", "publish/trust.json: 至")
	c := call(t.Context(), data, systemClock, "config", "check", "--json")
	var good struct {
		OK       bool
		Findings []configFinding
	}
	if err := decode(c.stdout, &good); err != nil || !good.OK || len(good.Findings) < 10 {
		t.Errorf("%s %v", c.stdout, err)
	}
	says(t, "show", call(t.Context(), data, systemClock, "config", "show"), exitYes, "ledger.cosignaturesNeeded", "ELICENCE_ZONE", "default", configFile+":")
	for what, is := range map[string]struct {
		change func(data string) error
		at     func() time.Time
		code   int
		words  []string
	}{
		"a keystore away": {func(data string) error {
			return os.Remove(filepath.Join(data, "keystores", s.hospitals[0].Code+".keystore"))
		}, systemClock, exitNo, []string{"✗ keystores/" + s.hospitals[0].Code, "put it back from its backup"}},
		"a cosigner elsewhere": {func(data string) error {
			return os.Remove(filepath.Join(data, "keystores", s.police.Code+".keystore"))
		}, systemClock, exitYes, []string{"! keystores/" + s.police.Code, "cosigns elsewhere"}},
		"the storage key away": {func(data string) error { return os.Remove(filepath.Join(data, "keystores", "storage.keystore")) }, systemClock, exitNo, []string{"✗ keystores/storage"}},
		"open to others": {func(data string) error {
			return os.Chmod(filepath.Join(data, "keystores", "storage.keystore"), 0o644)
		}, systemClock, exitYes, []string{"! keystores/storage", "chmod 600"}},
		"objects away": {func(data string) error { return os.RemoveAll(filepath.Join(data, "objects")) }, systemClock, exitNo, []string{"✗ objects.path"}},
		"no trust file": {func(data string) error { return os.Remove(filepath.Join(data, "publish", "trust.json")) }, systemClock, exitNo,
			[]string{"✗ publish/trust.json", "elicence trust publish"}},
		"lists are old":           {nil, later(40 * 24 * time.Hour), exitNo, []string{"✗ ca/issuing.crl", "elicence ca crl", "! publish/status.json"}},
		"certificates end soon":   {nil, later((3*365 - 20) * 24 * time.Hour), exitNo, []string{"! certificates/" + s.hospitals[0].Code, "days left"}},
		"certificates have ended": {nil, later(4 * 365 * 24 * time.Hour), exitNo, []string{"✗ certificates/" + s.hospitals[0].Code, "elicence key generate " + s.hospitals[0].Code}},
		"a registrar who is none": {func(data string) error {
			path := filepath.Join(data, configFile)
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(path, []byte(strings.Replace(string(b), "registrar: "+s.commission.Code, "registrar: "+s.hospitals[0].Code, 1)), 0o644)
		}, systemClock, exitNo, []string{"✗ registrar", "no certificate for checkpoints"}},
	} {
		data := copyOf(t, fresh)
		if is.change != nil {
			if err := is.change(data); err != nil {
				t.Fatal(err)
			}
		}
		says(t, what, call(t.Context(), data, is.at, "config", "check"), is.code, is.words...)
	}
	says(t, "no installation", call(t.Context(), t.TempDir(), systemClock, "config", "check"), exitUnavailable, "elicence init")
}

// Secrets are not shown, whatever key or address they stand in.
func TestConfigShowsNoSecret(t *testing.T) {
	t.Parallel()
	for key, v := range map[string]string{
		"records.password": "hunter2", "objects.secretKey": "hunter2", "records.url": "postgres://elicence:hunter2@db/elicence",
		"records.dsn": "host=db password=hunter2", "keys.passphrase": "hunter2", "objects.token": "hunter2",
	} {
		if got := fmt.Sprint(shown(key, v)); strings.Contains(got, "hunter2") {
			t.Errorf("%s: %s", key, got)
		}
	}
	if got := shown("records.path", "records/elicence.db"); got != "records/elicence.db" {
		t.Errorf("%v", got)
	}
}

// FuzzConfigFile: whatever a file holds, what is loaded or refused is said without a panic, and every fault names the file.
func FuzzConfigFile(f *testing.F) {
	f.Add([]byte("format: 1\nzone: UTC\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("ledger:\n  cosigners: [a, b]\n  cosignaturesNeeded: 3\n"))
	f.Add([]byte("zone: {a: b}\nrecords: 3\n? [x]\n: y\n"))
	known := map[string]setting{}
	for _, s := range settings() {
		known[s.key] = s
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l, faults := fileLayer("elicence.yaml", b, known)
		for _, f := range faults {
			if !strings.HasPrefix(f.Source, "elicence.yaml") {
				t.Errorf("%+v", f)
			}
		}
		for key, v := range l.values {
			s, ok := known[key]
			if !ok {
				t.Errorf("%q is no setting", key)
				continue
			}
			if got, problem := convert(v, s.kind); problem == nil && got.Type() != s.kind {
				t.Errorf("%s became %s", key, got.Type())
			}
		}
	})
}
