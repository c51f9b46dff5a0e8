package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/elicence/elicence/access"
	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/hsm/softkey"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/signer/cms"
	"github.com/elicence/elicence/storage/objects/dir"
	"github.com/elicence/elicence/storage/records"
	"github.com/elicence/elicence/verify"
)

// installation is one data folder, opened and wired. It is the only place that knows which driver stands behind a port.
type installation struct {
	app      *app
	dir      string
	config   config
	zone     *time.Location
	keyring  *keyring
	chain    *authority
	db       *records.DB
	objects  *dir.Store
	wrapping *wrapping
	vault    *vault
	types    *lazyTypes
	service  *issuing.Service
	ledger   *log

	checkOnce sync.Once
	checker   *verify.Verifier
	checkErr  error
}

// Names of the keystores that are no organisation's: the authority's and the one with the wrapping key.
const storageName = "storage"

// openForWriting takes the folder's write lock; a second writer gets records.ErrLocked. Unfinished licences are finished
// by issueAll, so that opening stays quick.
func (a *app) openForWriting(ctx context.Context) (*installation, error) {
	return a.open(ctx, false)
}

// openForReading never changes a record; the audit rows of what it reads go to a spool that the next writer takes in.
func (a *app) openForReading(ctx context.Context) (*installation, error) {
	return a.open(ctx, true)
}

func (a *app) open(ctx context.Context, readOnly bool) (*installation, error) {
	c, err := readConfig(a.data)
	if err != nil {
		return nil, err
	}
	i, err := a.openBase(c)
	if err != nil {
		return nil, err
	}
	err = i.openStores(ctx, readOnly)
	if err == nil && !readOnly {
		err = i.mayWrite(ctx)
	}
	if err != nil {
		i.close()
		return nil, err
	}
	return i, nil
}

// openBase opens what needs no secret: chain, certificates, types.
func (a *app) openBase(c config) (*installation, error) {
	zone, err := time.LoadLocation(c.Zone)
	if err != nil {
		return nil, err
	}
	i := &installation{app: a, dir: a.data, config: c, zone: zone}
	i.chain, err = openAuthority(a.data, c.Demonstration, a.now, func(ctx context.Context) (*softkey.Keystore, error) {
		return i.keyring.keystore(ctx, authorityName)
	})
	if err != nil {
		return nil, err
	}
	if i.keyring, err = openKeyring(a.data, i.keystores(), i.chain, i.passphrase); err != nil {
		return nil, err
	}
	i.findTypes()
	return i, nil
}

func (i *installation) findTypes() {
	dirs := []string{systemFontDir, filepath.Join(i.dir, "fonts")}
	for _, d := range i.config.Fonts.Dirs {
		if !filepath.IsAbs(d) {
			d = filepath.Join(i.dir, d)
		}
		dirs = append(dirs, d)
	}
	i.types = typesIn(dirs)
}

// openStores opens records and objects and wires the service.
func (i *installation) openStores(ctx context.Context, readOnly bool) (err error) {
	if i.wrapping, err = openWrapping(ctx, i.keyring); err != nil {
		return err
	}
	i.vault = &vault{wrapper: i.wrapping}
	if i.db, err = records.Open(ctx, i.path(i.config.Records.Path), records.Options{ReadOnly: readOnly, KEK: i.vault.wrapper}); err != nil {
		return err
	}
	i.vault.index = i.db.Index()
	if i.objects, err = dir.Open(i.path(i.config.Objects.Path)); err != nil {
		return err
	}
	i.ledger = &log{i: i, readOnly: readOnly}
	profile := cms.PKCS7
	if i.config.Signature.ContentOIDs == "gmt0010" {
		profile = cms.GMT0010
	}
	i.service, err = issuing.New(issuing.Needs{
		Records: i.db, Objects: i.parts(), Keys: i.keyring, Vault: i.vault, Renderer: i.types, SelfCheck: i.selfCheck,
		Directory: i.db, Now: i.app.now,
	}, issuing.Config{
		Specimen: i.config.Demonstration, Profile: profile, StatusSpace: i.config.Status.Space, Zone: i.zone,
	})
	return err
}

// parts are the objects as issuing sees them.
func (i *installation) parts() parts { return parts{i.objects, i.wrapping} }

func (i *installation) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(i.dir, p)
}

func (i *installation) close() {
	if i.objects != nil {
		if err := i.objects.Close(); err != nil {
			fmt.Fprintf(i.app.stderr, "elicence: close the objects: %v\n", err)
		}
	}
	if i.db != nil {
		if err := i.db.Close(); err != nil {
			fmt.Fprintf(i.app.stderr, "elicence: close the records: %v\n", err)
		}
	}
	if i.keyring != nil && i.app.shared == nil {
		i.keyring.opened.close()
	}
}

func (i *installation) keystores() *keystores {
	if i.app.shared != nil {
		return i.app.shared
	}
	return newKeystores()
}

// selfCheck verifies a part as a stranger would, with the trust file that this installation publishes.
func (i *installation) selfCheck(ctx context.Context, file []byte) error {
	i.checkOnce.Do(func() { i.checker, i.checkErr = i.newVerifier(nil) })
	if i.checkErr != nil {
		return i.checkErr
	}
	_, err := i.checker.SelfCheck(ctx, file)
	return err
}

// who begins an audit entry of this process.
func (i *installation) who(person string) audit.Entry {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	// Commands that only read ask nobody's name: the system's account is then all that tells who it was.
	account := strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil {
		account = u.Username
	}
	return audit.Entry{Person: person, From: "cli:" + account + "@" + host}
}

// personWith finds a person and holds them to a role.
func (i *installation) personWith(ctx context.Context, organisation, id string, roles ...access.Role) (access.Person, error) {
	p, err := i.db.Person(ctx, organisation, id)
	if err != nil {
		return p, err
	}
	return p, p.May(roles...)
}

// secretPath is where a demonstration installation keeps the passphrases of its demo people and keystores.
func (i *installation) secretPath(elem ...string) string {
	return filepath.Join(append([]string{i.dir, "secrets"}, elem...)...) + ".passphrase"
}

// passphrase of a keystore: --passphrase-file, else $ELICENCE_PASSPHRASE, else (demonstration only) the secrets folder,
// else a prompt.
func (i *installation) passphrase(_ context.Context, name string) ([]byte, error) {
	if f := i.app.passphraseFile; f != "" {
		return readPassphrase(f)
	}
	if v := i.app.environment("ELICENCE_PASSPHRASE"); v != "" {
		return []byte(v), nil
	}
	if i.config.Demonstration {
		b, err := readPassphrase(i.secretPath(name))
		if err == nil || !errors.Is(err, os.ErrNotExist) {
			return b, err
		}
	}
	return i.app.prompt("passphrase of the keystore of " + name)
}

// personPassphrase proves a person: their own file, or in a demonstration the secrets folder.
func (i *installation) personPassphrase(organisation, person, file string) ([]byte, error) {
	if file != "" {
		return readPassphrase(file)
	}
	if i.config.Demonstration {
		return readPassphrase(i.secretPath(organisation, person))
	}
	return i.app.prompt("passphrase of " + person)
}

func readPassphrase(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("passphrase file: %w", err)
	}
	if b = bytes.TrimRight(b, "\r\n"); len(b) == 0 {
		return nil, fmt.Errorf("passphrase file %s is empty", path)
	}
	return b, nil
}

func (a *app) prompt(what string) ([]byte, error) {
	f, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, &failure{code: exitUsage, cause: fmt.Errorf("%s is needed, and there is no terminal to ask", what),
			do: "give it with --passphrase-file or $ELICENCE_PASSPHRASE"}
	}
	fmt.Fprintf(a.stderr, "%s: ", what)
	b, err := term.ReadPassword(int(f.Fd()))
	fmt.Fprintln(a.stderr)
	return b, err
}

// issueAll runs a batch while the ledger follows, then sequences and cosigns what is left.
func (i *installation) issueAll(ctx context.Context, b *batch, births io.Reader) (batchResult, error) {
	if err := i.guardLog(ctx); err != nil {
		return batchResult{}, err
	}
	// A font that cannot be read is no fault of any line.
	if _, err := i.types.Types(); err != nil {
		return batchResult{}, err
	}
	if _, err := i.service.ResumeAll(ctx, i.who("resume"), nil); err != nil {
		return batchResult{}, fmt.Errorf("finish what an earlier run left: %w", err)
	}
	followed := make(chan error, 1)
	following, stop := context.WithCancel(ctx)
	go func() { followed <- i.ledger.follow(following) }()
	result, err := b.run(ctx, births)
	stop()
	ferr := <-followed
	if err == nil {
		// The ledger being down never fails a birth; what it has not seen is shown as lag and follows later.
		if ferr == nil {
			ferr = i.ledger.catchUp(ctx)
		}
		if ferr != nil {
			fmt.Fprintf(i.app.stderr, "elicence: the ledger lags behind: %v\n", ferr)
		}
	}
	return result, err
}
