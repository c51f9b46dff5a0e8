package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // dates on paper are local dates, also on a machine without zone files

	"go.yaml.in/yaml/v3"
)

// configFile stands in the data folder and names the drivers, so that commands never change when drivers do.
const configFile = "elicence.yaml"

type config struct {
	Format        int           `yaml:"format"`
	Name          words         `yaml:"name"`
	Demonstration bool          `yaml:"demonstration"`
	Zone          string        `yaml:"zone"`
	Operator      string        `yaml:"operator"`  // signs the trust file
	Registrar     string        `yaml:"registrar"` // enrols organisations on the ledger, signs checkpoints and status lists
	Records       recordsDriver `yaml:"records"`
	Objects       objectsConfig `yaml:"objects"`
	Keys          driver        `yaml:"keys"`
	Ledger        struct {
		Driver    string   `yaml:"driver"`
		Origin    string   `yaml:"origin"`
		Cosigners []string `yaml:"cosigners"`
		Needed    int      `yaml:"cosignaturesNeeded"`
		// Fabric is of the driver fabric alone.
		Fabric fabricSettings `yaml:"fabric,omitempty"`
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
	Deliver deliverConfig `yaml:"deliver,omitempty"`
	// What follows is left out of a file while it is not set, so that an older program reads the file, too.
	Serve  serveSettings `yaml:"serve,omitempty"`
	Log    logSettings   `yaml:"log,omitempty"`
	Traces traceSettings `yaml:"traces,omitempty"`
}

// serveSettings are of the long-running process.
type serveSettings struct {
	Listen     string        `yaml:"listen,omitempty"`     // of health, readiness and metrics: [ADDRESS:]PORT; "" for none
	StopWithin time.Duration `yaml:"stopWithin,omitempty"` // what is in work is finished that long
}

type logSettings struct {
	Level string `yaml:"level,omitempty"` // debug, info, warn, error
}

// traceSettings say where spans go; nowhere, as long as there is no endpoint.
type traceSettings struct {
	Endpoint string  `yaml:"endpoint,omitempty"` // OTLP over HTTP
	Ratio    float64 `yaml:"ratio,omitempty"`    // share of operations that are traced
}

type words struct {
	ZH string `yaml:"zh" json:"zh"`
	EN string `yaml:"en" json:"en"`
}

// recordsDriver names the records: a file below the data folder, or a database that other processes write, too. A password
// is no part of the address.
type recordsDriver struct {
	Driver string `yaml:"driver"` // sqlite or postgres
	Path   string `yaml:"path,omitempty"`
	URL    string `yaml:"url,omitempty"`
}

type driver struct {
	Driver string `yaml:"driver"`
	Path   string `yaml:"path"`
}

var errNoInstallation = errors.New("no installation here")

// defaultSettings hold where nobody says anything. A file that init writes says all that decides what is signed.
func defaultSettings() map[string]any {
	return map[string]any{
		"zone": "UTC", "status.validity": 24 * time.Hour, "trust.validity": 365 * 24 * time.Hour, "signature.contentOids": "pkcs7",
		"deliver.keep":     keepEnded,
		"serve.stopWithin": 30 * time.Second, "log.level": "info", "traces.ratio": 1.0,
	}
}

// knownDrivers are the drivers of each port that this program has.
func knownDrivers() map[string][]string {
	return map[string][]string{
		"records.driver": {onSQLite, onPostgres}, "objects.driver": {inFolder, inBucket}, "keys.driver": {"softkey"}, "ledger.driver": {onEmbedded, onFabric},
	}
}

// check holds every value to its range; source says where a key's value comes from.
func (c config) check(source func(key string) string) []fault {
	var faults []fault
	wrong := func(key, zh, en string) { faults = append(faults, fault{key, source(key), zh, en, ""}) }
	if c.Format != 1 {
		wrong("format", fmt.Sprintf("格式 %d；本程序读格式 1", c.Format), fmt.Sprintf("format %d; this program reads format 1", c.Format))
	}
	for _, d := range []struct{ key, have string }{
		{"records.driver", c.Records.Driver}, {"objects.driver", c.Objects.Driver}, {"keys.driver", c.Keys.Driver}, {"ledger.driver", c.Ledger.Driver},
	} {
		if known := knownDrivers()[d.key]; !slices.Contains(known, d.have) {
			has := strings.Join(known, ", ")
			wrong(d.key, fmt.Sprintf("没有驱动 %q；有 %s", d.have, has), fmt.Sprintf("there is no driver %q; this program has %s", d.have, has))
		}
	}
	for key, err := range map[string]error{"records": c.Records.check(), "objects": c.Objects.check(), "deliver": c.Deliver.check(), "ledger.fabric": c.Ledger.Fabric.check(c.Ledger.Driver)} {
		if err != nil {
			wrong(key, "设置不合用", err.Error())
		}
	}
	if _, err := time.LoadLocation(c.Zone); err != nil {
		wrong("zone", fmt.Sprintf("没有时区 %q", c.Zone), err.Error())
	}
	if c.Status.Space < 1024 || c.Status.Space > 1<<24 || c.Status.Space%1024 != 0 {
		wrong("status.space", fmt.Sprintf("应为 1024 的倍数，1024 至 %d", 1<<24), fmt.Sprintf("it must be a multiple of 1024 between 1024 and %d", 1<<24))
	}
	for key, d := range map[string]time.Duration{"status.validity": c.Status.Validity, "trust.validity": c.Trust.Validity, "serve.stopWithin": c.Serve.StopWithin} {
		if d <= 0 {
			wrong(key, "应大于 0", "it must be more than 0")
		}
	}
	if c.Ledger.Needed < 0 || c.Ledger.Needed > len(c.Ledger.Cosigners) {
		wrong("ledger.cosignaturesNeeded", fmt.Sprintf("应在 0 与共签方数 %d 之间", len(c.Ledger.Cosigners)),
			fmt.Sprintf("it must be between 0 and the number of cosigners, %d", len(c.Ledger.Cosigners)))
	}
	if oids := c.Signature.ContentOIDs; oids != "pkcs7" && oids != "gmt0010" && oids != "" {
		wrong("signature.contentOids", "应为 pkcs7 或 gmt0010", "it is pkcs7 or gmt0010")
	}
	if c.Serve.Listen != "" {
		if _, err := listenAddress(c.Serve.Listen); err != nil {
			wrong("serve.listen", "应为 [地址:]端口", "it must be [ADDRESS:]PORT")
		}
	}
	if _, err := logLevel(c.Log.Level); err != nil {
		wrong("log.level", "应为 debug、info、warn 或 error", "it is debug, info, warn or error")
	}
	if c.Traces.Endpoint != "" {
		if u, err := url.Parse(c.Traces.Endpoint); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			wrong("traces.endpoint", "应为 http(s) 地址", "it must be a URL such as http://127.0.0.1:4318")
		}
	}
	if c.Traces.Ratio < 0 || c.Traces.Ratio > 1 {
		wrong("traces.ratio", "应在 0 与 1 之间", "it must be between 0 and 1")
	}
	return faults
}

// listenAddress is where to listen: a port alone is one of this machine only.
func listenAddress(s string) (string, error) {
	if !strings.Contains(s, ":") {
		s = ":" + s
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", err
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return "", fmt.Errorf("%q is no port", port)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}

func logLevel(s string) (slog.Level, error) {
	var l slog.Level
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, s) {
		return l, fmt.Errorf("%q is no level", s)
	}
	return l, l.UnmarshalText([]byte(s))
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
