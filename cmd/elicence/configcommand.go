package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/elicence/elicence/storage/records"
	"github.com/elicence/elicence/verify/status"
)

func (a *app) configCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "config", Short: "配置 · the settings: check them, show where each comes from",
		Long: `A setting comes from --set KEY=VALUE (some commands have a flag of its own), else from the environment
(serve.stopWithin is ELICENCE_SERVE_STOP_WITHIN), else from elicence.yaml, else it has a default. What no
setting is called is refused, wherever it stands.`,
		Example: "  elicence config check\n  elicence config show --set log.level=debug",
	}
	show := &cobra.Command{
		Use: "show", Short: "查看 · every setting, its value and where that comes from; never a secret", Args: cobra.NoArgs,
		Example: "  elicence config show --json",
		RunE: func(*cobra.Command, []string) error {
			l, err := a.loadConfig()
			if err != nil {
				return err
			}
			rows := l.rows()
			if err := a.tell(rows, func(w io.Writer) {
				t := tabwriter.NewWriter(w, 2, 4, 2, ' ', 0)
				fmt.Fprintln(t, "设置 setting\t值 value\t来源 source\t变量 variable")
				for _, r := range rows {
					fmt.Fprintf(t, "%s\t%v\t%s\t%s\n", r.Key, r.Value, r.Source, r.Variable)
				}
				t.Flush()
			}); err != nil {
				return err
			}
			if len(l.faults) > 0 {
				_, err = a.readConfig()
			}
			return err
		},
	}
	check := &cobra.Command{
		Use: "check", Short: "检查 · settings, folders, keystores, certificates and published lists: what is wrong, where, what to do", Args: cobra.NoArgs,
		Long: `Check looks at everything that can be looked at without a passphrase and without changing anything.

Exit codes: 0 nothing is wrong (there may be warnings), 1 something is.`,
		Example: "  elicence config check --data ./data",
		RunE: func(cmd *cobra.Command, _ []string) error {
			found, err := a.checkConfig(cmd.Context())
			if err != nil {
				return err
			}
			wrong := 0
			for _, f := range found {
				if f.Level == levelError {
					wrong++
				}
			}
			if err := a.tell(map[string]any{"ok": wrong == 0, "findings": found}, func(w io.Writer) { printFindings(w, found) }); err != nil {
				return err
			}
			if wrong > 0 {
				return answer(exitNo)
			}
			return nil
		},
	}
	c.AddCommand(check, show)
	return c
}

// settingRow is one line of config show.
type settingRow struct {
	Key      string `json:"key"`
	Value    any    `json:"value"`
	Source   string `json:"source"`
	Variable string `json:"variable"`
}

func (l *loaded) rows() []settingRow {
	rows := []settingRow{}
	for _, s := range settings() {
		row := settingRow{s.key, shown(s.key, l.values[s.key]), l.sources[s.key], s.environment}
		if row.Value == nil {
			row.Value = ""
		}
		rows = append(rows, row)
	}
	return rows
}

// Levels of what config check finds.
const (
	levelOK      = "ok"
	levelWarning = "warning"
	levelError   = "error"
)

// configFinding is one line of config check.
type configFinding struct {
	Level string `json:"level"`
	Where string `json:"where"`
	ZH    string `json:"zh"`
	EN    string `json:"en"`
	Do    string `json:"do,omitempty"`
}

func printFindings(w io.Writer, found []configFinding) {
	marks := map[string]string{levelOK: "✓", levelWarning: "!", levelError: "✗"}
	for _, f := range found {
		fmt.Fprintf(w, "%s %s: %s / %s\n", marks[f.Level], f.Where, f.ZH, f.EN)
		if f.Do != "" {
			fmt.Fprintf(w, "  → %s\n", f.Do)
		}
	}
}

// checker gathers what it finds.
type checker struct {
	i     *installation
	now   time.Time
	found []configFinding
}

func (c *checker) add(level, where, zh, en, do string) {
	c.found = append(c.found, configFinding{level, where, zh, en, do})
}

// checkConfig looks at everything that needs no secret. A fault in the settings themselves ends it: what they point at is
// not known then.
func (a *app) checkConfig(ctx context.Context) ([]configFinding, error) {
	l, err := a.loadConfig()
	if err != nil {
		return nil, err
	}
	c := &checker{i: &installation{app: a, dir: a.data, config: l.config}, now: a.now()}
	for _, f := range l.faults {
		where := f.Source
		if f.Key != "" {
			where += ": " + f.Key
		}
		c.add(levelError, where, f.ZH, f.EN, f.Do)
	}
	if len(l.faults) > 0 {
		return c.found, nil
	}
	c.add(levelOK, filepath.Join(a.data, configFile), fmt.Sprintf("%d 项设置", len(l.values)), fmt.Sprintf("%d settings", len(l.values)), "")
	if f := a.passphraseFile; f != "" {
		c.readable("--passphrase-file", f)
	}
	c.folders()
	c.database(ctx)
	c.bucket(ctx)
	c.keystores()
	c.certificates()
	c.published()
	return c.found, nil
}

const putBack = "从备份放回 · put it back from its backup"

// folders must be there, and this user must be able to write to them.
func (c *checker) folders() {
	i := c.i
	all := []struct{ key, path string }{
		{"data", i.dir}, {"publish", filepath.Join(i.dir, "publish")},
	}
	if i.config.Records.Driver == onSQLite {
		all = append(all, struct{ key, path string }{"records.path", filepath.Dir(i.path(i.config.Records.Path))})
	}
	if i.config.Objects.Driver == inFolder {
		all = append(all, struct{ key, path string }{"objects.path", i.path(i.config.Objects.Path)})
	}
	for _, f := range all {
		switch info, err := os.Stat(f.path); {
		case err != nil:
			c.add(levelError, f.key, f.path+" 打不开", err.Error(), putBack)
		case !info.IsDir():
			c.add(levelError, f.key, f.path+" 不是目录", f.path+" is no folder", "")
		case syscall.Access(f.path, 2) != nil: // W_OK
			c.add(levelError, f.key, f.path+" 不可写", f.path+" cannot be written to by this user", "使其可写，或以其属主运行 · make it writable, or run as its owner")
		default:
			c.add(levelOK, f.key, f.path+" 可写", f.path+" can be written to", "")
		}
	}
	for _, d := range i.config.Fonts.Dirs {
		if !filepath.IsAbs(d) {
			d = filepath.Join(i.dir, d)
		}
		if info, err := os.Stat(d); err != nil || !info.IsDir() {
			c.add(levelError, "fonts.dirs", d+" 不是目录", d+" is no folder", "")
		}
	}
}

// database must answer, and lose nothing that was answered when its power fails or its standby takes over.
func (c *checker) database(ctx context.Context) {
	if c.i.config.Records.Driver != onPostgres {
		return
	}
	faults, err := records.CheckServer(ctx, c.i.config.Records.URL)
	switch {
	case err != nil:
		c.add(levelError, "records.url", "数据库不可用", err.Error(), "")
	case len(faults) == 0:
		c.add(levelOK, "records.url", "数据库应答，提交不会丢失", "the database answers, and its commits are durable", "")
	}
	for _, f := range faults {
		c.add(levelError, "records.url", f.ZH, f.EN, f.Do)
	}
}

// bucket must answer and be what it has to be.
func (c *checker) bucket(ctx context.Context) {
	if c.i.config.Objects.Driver != inBucket {
		return
	}
	store, err := c.i.app.openS3(c.i.config.Objects.S3, c.i.dir)
	if err == nil {
		err = errors.Join(store.Probe(ctx), store.Close())
	}
	if err != nil {
		c.add(levelError, "objects.s3", "对象存储不可用", err.Error(), "elicence storage check")
		return
	}
	c.add(levelOK, "objects.s3", "对象存储应答", "the object store answers", "")
}

func (c *checker) readable(where, path string) {
	f, err := os.Open(path)
	if err != nil {
		c.add(levelError, where, path+" 打不开", err.Error(), "")
		return
	}
	f.Close()
}

// keystores must be there for everybody whose certificates are, and closed to others.
func (c *checker) keystores() {
	i := c.i
	names := map[string]bool{storageName: true, i.config.Operator: true, i.config.Registrar: true}
	for _, code := range i.config.Ledger.Cosigners {
		names[code] = true
	}
	folders, err := filepath.Glob(filepath.Join(i.dir, "certificates", "*"))
	if err != nil {
		c.add(levelError, "certificates", "读不出", err.Error(), "")
	}
	for _, f := range folders {
		names[filepath.Base(f)] = true
	}
	good := 0
	for _, name := range sortedKeys(names) {
		path := filepath.Join(i.dir, "keystores", name+".keystore")
		cosigner := false
		for _, code := range i.config.Ledger.Cosigners {
			cosigner = cosigner || code == name
		}
		switch info, err := os.Stat(path); {
		case err != nil && cosigner:
			c.add(levelWarning, "keystores/"+name, "共签方的密钥库不在此处", "the keystore of this cosigner is not here", "由该机构自行共签 · it cosigns elsewhere, or "+putBack)
		case err != nil:
			c.add(levelError, "keystores/"+name, "密钥库不在", "the keystore is not there", putBack)
		case info.Mode().Perm()&0o077 != 0:
			c.add(levelWarning, "keystores/"+name, "他人可读", "others can read it", "chmod 600 "+path+" · chmod 600 "+path)
		default:
			good++
		}
	}
	c.add(levelOK, "keystores", fmt.Sprintf("%d 个密钥库", good), fmt.Sprintf("%d keystores are there", good), "")
}

// soon is when the end of something is worth a warning.
const soon = 30 * 24 * time.Hour

// end says how long something is still valid.
func (c *checker) end(where string, until time.Time, do string) {
	day := until.Format("2006-01-02 15:04")
	switch left := until.Sub(c.now); {
	case left <= 0:
		c.add(levelError, where, "已于 "+day+" 失效", "it ended on "+day, do)
	case left < soon:
		c.add(levelWarning, where, fmt.Sprintf("还有 %d 天，至 %s", int(left.Hours()/24), day), fmt.Sprintf("%d days left, until %s", int(left.Hours()/24), day), do)
	default:
		c.add(levelOK, where, "至 "+day, "until "+day, "")
	}
}

// certificates: of each organisation and purpose the newest counts, which is the one that signs.
func (c *checker) certificates() {
	chain, err := openAuthority(c.i.dir, c.i.config.Demonstration, c.i.app.now, nil)
	if err != nil {
		c.add(levelError, "ca", "证书链读不出", err.Error(), putBack)
		return
	}
	c.end("ca/root.der", chain.root.NotAfter(), "更换根证书 · bring a new root")
	for _, k := range chain.intermediates {
		c.end("ca/issuing.der", k.NotAfter(), "更换签发证书 · bring a new issuing certificate")
	}
	ring, err := openKeyring(c.i.dir, newKeystores(), chain, nil)
	if err != nil {
		c.add(levelError, "certificates", "证书读不出", err.Error(), putBack)
		return
	}
	c.i.keyring = ring
	newest := map[string]certified{}
	for _, e := range ring.all() {
		newest[e.organisation+"/"+string(e.certificate.Purpose())] = e
	}
	first := time.Time{}
	for _, name := range sortedKeys(newest) {
		e := newest[name]
		until := e.certificate.NotAfter()
		if first.IsZero() || until.Before(first) {
			first = until
		}
		if until.Sub(c.now) < soon {
			c.end("certificates/"+e.organisation+"/"+e.label, until, "elicence key generate "+e.organisation+" "+string(e.certificate.Purpose())+
				" · elicence key generate "+e.organisation+" "+string(e.certificate.Purpose()))
		} else if c.now.Before(e.certificate.NotBefore()) {
			c.add(levelError, "certificates/"+e.organisation+"/"+e.label, "尚未生效：时钟不对？", "it is not valid yet: is the clock right?", "")
		}
	}
	if len(newest) > 0 {
		c.add(levelOK, "certificates", fmt.Sprintf("%d 个用途的证书，最早 %s 失效", len(newest), first.Format("2006-01-02")),
			fmt.Sprintf("certificates for %d purposes, the first ends on %s", len(newest), first.Format("2006-01-02")), "")
	}
	roles := []struct {
		key, code string
		p         purpose.Purpose
	}{
		{"operator", c.i.config.Operator, purpose.TrustFiles}, {"registrar", c.i.config.Registrar, purpose.Checkpoints},
		{"registrar", c.i.config.Registrar, purpose.Events}, {"registrar", c.i.config.Registrar, purpose.StatusLists},
	}
	for _, code := range c.i.config.Ledger.Cosigners {
		roles = append(roles, struct {
			key, code string
			p         purpose.Purpose
		}{"ledger.cosigners", code, purpose.Checkpoints})
	}
	for _, r := range roles {
		if _, ok := newest[r.code+"/"+string(r.p)]; !ok {
			c.add(levelError, r.key, fmt.Sprintf("%s 没有用途为 %s 的证书", r.code, r.p), fmt.Sprintf("%s has no certificate for %s", r.code, r.p), "")
		}
	}
}

// published are the lists that readers go by.
func (c *checker) published() {
	t, err := c.i.readTrust()
	if err != nil {
		c.add(levelError, "publish/trust.json", "读不出", err.Error(), "elicence trust publish · elicence trust publish")
	} else {
		c.end("publish/trust.json", t.Content().Expires, "elicence trust publish · elicence trust publish")
		if pin, err := c.i.pin(); err != nil {
			c.add(levelError, "trust.pin", "读不出", err.Error(), putBack)
		} else if err := t.CheckPin(pin); err != nil {
			c.add(levelError, "publish/trust.json", "不是本安装的运营方所签", err.Error(), putBack)
		}
	}
	if b, err := os.ReadFile(filepath.Join(c.i.dir, "publish", "status.json")); err != nil {
		c.add(levelWarning, "publish/status.json", "读不出", err.Error(), "elicence trust publish · elicence trust publish")
	} else if list, err := status.Parse(b); err != nil {
		c.add(levelWarning, "publish/status.json", "读不出", err.Error(), "elicence trust publish · elicence trust publish")
	} else if left := list.Expires().Sub(c.now); left <= 0 {
		c.add(levelWarning, "publish/status.json", "已过期", "it has expired", "elicence trust publish，或运行 elicence serve · elicence trust publish, or run elicence serve")
	} else {
		c.add(levelOK, "publish/status.json", "至 "+list.Expires().Format("2006-01-02 15:04"), "until "+list.Expires().Format("2006-01-02 15:04"), "")
	}
	for _, name := range []string{"root.crl", "issuing.crl"} {
		b, err := os.ReadFile(filepath.Join(c.i.dir, "ca", name))
		if err != nil {
			c.add(levelWarning, "ca/"+name, "没有吊销列表", err.Error(), "elicence ca crl · elicence ca crl")
			continue
		}
		list, err := pki.ParseCRL(b)
		if err != nil {
			c.add(levelError, "ca/"+name, "读不出", err.Error(), "elicence ca crl · elicence ca crl")
			continue
		}
		if left := list.NextUpdate().Sub(c.now); left < soon/4 {
			c.end("ca/"+name, list.NextUpdate(), "elicence ca crl · elicence ca crl")
		} else {
			c.add(levelOK, "ca/"+name, "至 "+list.NextUpdate().Format("2006-01-02"), "until "+list.NextUpdate().Format("2006-01-02"), "")
		}
	}
	sort.SliceStable(c.found, func(a, b int) bool {
		order := strings.Index("error warning ok", c.found[a].Level)
		return order < strings.Index("error warning ok", c.found[b].Level)
	})
}
