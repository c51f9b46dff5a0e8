package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
	_ "time/tzdata" // dates on paper are local dates, also on a machine without zone files

	"go.yaml.in/yaml/v3"
)

// configFile stands in the data folder and names the drivers, so that commands never change when drivers do.
const configFile = "elicence.yaml"

type config struct {
	Format        int    `yaml:"format"`
	Name          words  `yaml:"name"`
	Demonstration bool   `yaml:"demonstration"`
	Zone          string `yaml:"zone"`
	Operator      string `yaml:"operator"`  // signs the trust file
	Registrar     string `yaml:"registrar"` // enrols organisations on the ledger, signs checkpoints and status lists
	Records       driver `yaml:"records"`
	Objects       driver `yaml:"objects"`
	Keys          driver `yaml:"keys"`
	Ledger        struct {
		Driver    string   `yaml:"driver"`
		Origin    string   `yaml:"origin"`
		Cosigners []string `yaml:"cosigners"`
		Needed    int      `yaml:"cosignaturesNeeded"`
	} `yaml:"ledger"`
	Fonts struct {
		Dirs []string `yaml:"dirs"`
	} `yaml:"fonts"`
	Status struct {
		Space    uint64        `yaml:"space"`
		Validity time.Duration `yaml:"validity"`
	} `yaml:"status"`
	Trust struct {
		Validity time.Duration `yaml:"validity"`
	} `yaml:"trust"`
	Signature struct {
		ContentOIDs string `yaml:"contentOids"` // pkcs7 or gmt0010
	} `yaml:"signature"`
}

type words struct {
	ZH string `yaml:"zh" json:"zh"`
	EN string `yaml:"en" json:"en"`
}

type driver struct {
	Driver string `yaml:"driver"`
	Path   string `yaml:"path"`
}

var errNoInstallation = errors.New("no installation here")

// readConfig refuses unknown keys: a misspelt setting must not silently be the default.
func readConfig(dir string) (config, error) {
	path := filepath.Join(dir, configFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return config{}, &failure{code: exitUnavailable, cause: fmt.Errorf("%s: %w", dir, errNoInstallation),
			do: "make one with: elicence init --data " + dir + ", or see everything at once with: elicence demo"}
	}
	if err != nil {
		return config{}, err
	}
	var c config
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&c); err != nil {
		return config{}, &failure{code: exitUsage, cause: fmt.Errorf("%s: %w", path, err)}
	}
	return c, c.check(path)
}

func (c config) check(path string) error {
	for _, d := range []struct{ what, have, want string }{
		{"records.driver", c.Records.Driver, "sqlite"}, {"objects.driver", c.Objects.Driver, "dir"},
		{"keys.driver", c.Keys.Driver, "softkey"}, {"ledger.driver", c.Ledger.Driver, "embedded"},
	} {
		if d.have != d.want {
			return usage("%s: %s is %q; this program has the driver %q", path, d.what, d.have, d.want)
		}
	}
	if c.Format != 1 {
		return usage("%s: format %d; this program reads format 1", path, c.Format)
	}
	if _, err := time.LoadLocation(c.Zone); err != nil {
		return usage("%s: zone: %w", path, err)
	}
	if c.Status.Space < 1024 || c.Status.Space > 1<<24 || c.Status.Space%1024 != 0 {
		return usage("%s: status.space must be a multiple of 1024 between 1024 and %d", path, 1<<24)
	}
	return nil
}

func (c config) write(dir string) error {
	b, err := yaml.Marshal(c)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	head := "# An elicence installation. Commands read the drivers from here and never change when drivers do.\n"
	return writeFile(filepath.Join(dir, configFile), append([]byte(head), b...), 0o644)
}

// parentOf is the folder in which a path lies, for what is written beside it first.
func parentOf(path string) string { return filepath.Dir(filepath.Clean(path)) }

// writeFile replaces a file so that a crash leaves the old or the new one, never half.
func writeFile(path string, b []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err = f.Write(b); err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
