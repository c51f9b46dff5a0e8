package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/term"

	"github.com/elicence/elicence/access"
	"github.com/elicence/elicence/api"
	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/hsm/softkey"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/signer/cms"
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
	objects  objectStore
	wrapping *wrapping
	vault    *vault
	types    *lazyTypes
	service  *issuing.Service
	ledger   *log

	unasked atomic.Bool // deliveries at a command's end: nobody is asked for another organisation's passphrase

	log        *slog.Logger    // of a service; nil for none
	left       map[string]bool // licences that an earlier process left unfinished, by id
	served     bool            // by a long-running process, whose loops sequence and take unfinished licences up
	watch      *watch          // what is measured; nil for none
	publishing sync.Mutex      // one trust file or status list at a time: each has the number after the last one's
	ceremony   sync.Mutex      // one change of keys and certificates at a time

	keeping   sync.Mutex // one keeping at a time
	keptIndex []byte     // the wrapped index key as it was put among the objects last

	checking sync.Mutex
	checker  *verify.Verifier
	checked  fileState // of the trust file that checker goes by
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
	c, err := a.readConfig()
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
	i := &installation{app: a, dir: a.data, config: c, zone: zone, watch: a.watch}
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
	dirs := []string{systemFontDir, shippedFontDir(), filepath.Join(i.dir, "fonts")}
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
	if i.db, err = i.openRecords(ctx, records.Options{ReadOnly: readOnly, KEK: i.vault.wrapper, Filling: i.app.fills}); err != nil {
		return err
	}
	i.vault.index = i.db.Index()
	if i.objects, err = i.openObjects(); err != nil {
		return err
	}
	i.ledger = &log{i: i, readOnly: readOnly, duty: duty{leases: i.db, name: issuing.DutySequence}}
	profile := cms.PKCS7
	if i.config.Signature.ContentOIDs == "gmt0010" {
		profile = cms.GMT0010
	}
	i.service, err = issuing.New(i.watch.around(issuing.Needs{
		Records: i.db, Objects: i.parts(), Keys: i.keyring, Vault: i.vault, Renderer: i.types, SelfCheck: i.selfCheck,
		Directory: i.db, Now: i.app.now,
	}), issuing.Config{
		Specimen: i.config.Demonstration, Profile: profile, StatusSpace: i.config.Status.Space, Zone: i.zone,
		Patience:  i.config.Records.patience(),
		Receivers: i.config.Deliver.receivers(),
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
	if i.ledger != nil && i.db != nil {
		// Who comes next need not wait for the lease to end.
		if err := i.ledger.duty.give(context.Background()); err != nil && !errors.Is(err, records.ErrReadOnly) {
			fmt.Fprintf(i.app.stderr, "elicence: give the duty back: %v\n", err)
		}
	}
	if i.ledger != nil {
		if err := i.ledger.close(); err != nil {
			fmt.Fprintf(i.app.stderr, "elicence: close the ledger: %v\n", err)
		}
	}
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

// fileState tells one content of a file from the next.
type fileState struct {
	modified time.Time
	size     int64
}

// selfCheck verifies a part as a stranger would, with the trust file that this installation publishes.
func (i *installation) selfCheck(ctx context.Context, file []byte) error {
	v, err := i.selfChecker()
	if err != nil {
		return err
	}
	_, err = v.SelfCheck(ctx, file)
	return err
}

// selfChecker goes by the trust file as it is now: a service lives through many, and a key that the older one does not
// name would fail every part that it signs.
func (i *installation) selfChecker() (*verify.Verifier, error) {
	var now fileState
	info, err := os.Stat(filepath.Join(i.dir, "publish", "trust.json"))
	if err == nil {
		now = fileState{info.ModTime(), info.Size()}
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("trust file: %w", err)
	}
	i.checking.Lock()
	defer i.checking.Unlock()
	if i.checker != nil && i.checked == now {
		return i.checker, nil
	}
	v, err := i.newVerifier(nil)
	if err != nil {
		return nil, err
	}
	i.checker, i.checked = v, now
	return v, nil
}

// notice tells whoever asked for what is going on; of a service that nobody asked, its log.
func (i *installation) notice(ctx context.Context, format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	if i.log != nil {
		i.log.Warn("notice", "text", text)
	}
	if tell := api.CallerOf(ctx).Notice; tell != nil {
		tell(text)
		return
	}
	if i.log != nil {
		return
	}
	fmt.Fprintln(i.app.stderr, text)
}

// who begins an audit entry of whoever asks: the user of this process, or of the one at the other end of the socket.
func (i *installation) who(ctx context.Context, person string) audit.Entry {
	if from := api.CallerOf(ctx).From; from != "" {
		return audit.Entry{Person: person, From: from}
	}
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

// passphrase of a keystore: --passphrase-file, else $ELICENCE_PASSPHRASE, else what systemd hands over, else (demonstration
// only) the secrets folder, else a prompt.
func (i *installation) passphrase(_ context.Context, name string) ([]byte, error) {
	if f := i.app.passphraseFile; f != "" {
		return readPassphrase(f)
	}
	if v := i.app.environment("ELICENCE_PASSPHRASE"); v != "" {
		return []byte(v), nil
	}
	if b, err := i.app.handedPassphrase(name); b != nil || err != nil {
		return b, err
	}
	if i.config.Demonstration {
		b, err := readPassphrase(i.secretPath(name))
		if err == nil || !errors.Is(err, os.ErrNotExist) {
			return b, err
		}
	}
	if i.unasked.Load() {
		return nil, errUnasked
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
	if i.served {
		result, err := b.run(ctx, births)
		if err == nil {
			i.follow(ctx)
		}
		return result, err
	}
	if _, err := i.service.ResumeAll(ctx, i.who(ctx, "resume"), nil); err != nil {
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
			i.notice(ctx, "elicence: the ledger lags behind: %v", ferr)
		}
		i.deliverDue(ctx)
	}
	return result, err
}
