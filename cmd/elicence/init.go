package main

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/elicence/elicence/access"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/elicence/elicence/storage/records"
)

const (
	stockHospital = 1000 // numbers of each licence type that a demonstration hospital starts with
	stockAgency   = 200
)

func (a *app) initCommand() *cobra.Command {
	var store, chain string
	c := &cobra.Command{
		Use:   "init",
		Short: "建立示范安装 · make a demonstration installation: CA, keystores, organisations, people, stock, fonts",
		Long: `Init makes a folder with everything that the commands need: a demonstration CA and the organisations
of one city (a hospital and a county agency for each district, health commission, police, two archives),
each with its own keystore, people with passphrases (in secrets/), and numbers in stock.

All that it signs is marked SPECIMEN. A production installation brings its own certificate chain.`,
		Example: "  elicence init --data ./data\n  elicence init --objects 's3://licences/city?endpoint=https://objects.example.org&retention=30y'\n  elicence init --fabric data/fabric/network.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			begun := time.Now()
			s := demonstrationScheme()
			var change []func(*config)
			if store != "" {
				where, err := objectsAt(store)
				if err != nil {
					return err
				}
				change = append(change, func(c *config) { c.Objects = where })
			}
			if chain != "" {
				where, err := networkFile(chain)
				if err != nil {
					return usage("%w", err)
				}
				change = append(change, func(c *config) { c.Ledger.Driver, c.Ledger.Fabric = onFabric, where })
			}
			if err := a.initialise(cmd.Context(), s, change...); err != nil {
				return err
			}
			return a.tell(map[string]any{"data": a.data, "organisations": len(s.all())}, func(w io.Writer) {
				fmt.Fprintf(w, "%s 已就绪 is ready: %d 个机构 organisations, %.1f s\n", a.data, len(s.all()), time.Since(begun).Seconds())
				fmt.Fprintf(w, "接着 next: elicence issue --data %s --births FILE.jsonl\n", a.data)
			})
		},
	}
	a.driverFlags(c)
	c.Flags().StringVar(&chain, "fabric", "", "file that names a Hyperledger Fabric network on which the ledger is to be, as make fabric-up writes it (default: the ledger is in the records)")
	c.Flags().StringVar(&store, "objects", "", "where the objects go, s3://BUCKET/PREFIX?endpoint=…&retention=… (default: a folder of the installation)")
	return c
}

func demonstrationConfig(s scheme) config {
	c := config{
		Format: 1, Name: words{"示范电子证照信任名录", "Demonstration electronic licence scheme"}, Demonstration: true,
		Zone: "Asia/Shanghai", Operator: s.operator.Code, Registrar: s.commission.Code,
		Records: recordsDriver{Driver: "sqlite", Path: "records/elicence.db"}, Objects: objectsConfig{Driver: "dir", Path: "objects"}, Keys: driver{"softkey", "keystores"},
	}
	c.Ledger.Driver, c.Ledger.Origin = onEmbedded, "elicence.example/demonstration"
	c.Ledger.Cosigners, c.Ledger.Needed = []string{s.police.Code, s.cityArchive.Code}, 2
	c.Status.Space, c.Status.Validity = 1<<20, 24*time.Hour
	c.Trust.Validity = 365 * 24 * time.Hour
	c.Signature.ContentOIDs = "pkcs7"
	return c
}

// initialise makes the whole installation in a folder beside the wanted one and renames it when it is complete: a
// killed init leaves no half installation. Changes are made to the configuration of a demonstration.
func (a *app) initialise(ctx context.Context, s scheme, changes ...func(*config)) error {
	if err := emptyOrNew(a.data); err != nil {
		return err
	}
	return a.inPlace(a.data, ".elicence-init-*", func(building string) error {
		b := *a
		b.data = building
		return b.build(ctx, s, changes)
	})
}

func (a *app) build(ctx context.Context, s scheme, changes []func(*config)) error {
	c := demonstrationConfig(s)
	if a.recordsURL != "" {
		c.Records = recordsDriver{Driver: onPostgres, URL: a.recordsURL}
	}
	for _, change := range changes {
		change(&c)
	}
	if err := errors.Join(c.Records.check(), c.Objects.check()); err != nil {
		return usage("%w", err)
	}
	i := &installation{app: a, dir: a.data, config: c}
	if err := i.newObjects(ctx); err != nil {
		return err
	}
	for _, d := range []string{"keystores", "certificates", "secrets", "publish", "fonts", "records"} {
		mode := os.FileMode(0o755)
		if d == "secrets" || d == "keystores" {
			mode = 0o700
		}
		if err := os.MkdirAll(filepath.Join(a.data, d), mode); err != nil {
			return err
		}
	}
	if _, err := fetchFonts(ctx, filepath.Join(a.data, "fonts")); err != nil {
		return err
	}
	var err error
	if i.zone, err = time.LoadLocation(c.Zone); err != nil {
		return err
	}
	if err := i.buildAuthority(ctx); err != nil {
		return err
	}
	if err := i.buildKeystores(ctx, s); err != nil {
		return err
	}
	i.findTypes()
	if _, err := i.types.Types(); err != nil {
		return err
	}
	taken := &failure{code: exitNo, cause: errors.New("the database has an installation already, or the beginnings of one"),
		do: "给出空数据库 · name an empty database with --records"}
	err = i.openStores(ctx, false)
	if errors.Is(err, records.ErrSealed) {
		return taken // by another wrapping key than the one that was just made
	}
	if err != nil {
		return err
	}
	defer i.close()
	if there, err := i.db.Organisations(ctx); err != nil {
		return err
	} else if len(there) > 0 {
		return taken
	}
	if err := i.buildRecords(ctx, s); err != nil {
		return err
	}
	if err := i.publishTrust(ctx); err != nil {
		return err
	}
	if err := i.publishStatus(ctx); err != nil {
		return err
	}
	if err := i.keep(ctx); err != nil {
		return err
	}
	return c.write(a.data)
}

func (i *installation) buildAuthority(ctx context.Context) (err error) {
	if i.keyring, err = openKeyring(i.dir, i.keystores(), nil, i.passphrase); err != nil {
		return err
	}
	i.keyring.creation = i.app.keystores
	if err := i.newSecret(authorityName); err != nil {
		return err
	}
	store, err := i.keyring.create(ctx, authorityName)
	if err != nil {
		return err
	}
	if i.chain, err = createAuthority(ctx, i.dir, store, i.app.now()); err != nil {
		return err
	}
	i.keyring.chain = i.chain
	return i.newStorageKey(ctx)
}

// newStorageKey makes the keystore with the key that wraps data keys.
func (i *installation) newStorageKey(ctx context.Context) error {
	if err := i.newSecret(storageName); err != nil {
		return err
	}
	store, err := i.keyring.create(ctx, storageName)
	if err != nil {
		return err
	}
	if err := store.Generate(wrappingLabel(1), purpose.DataWrapping, i.app.now(), rand.Reader); err != nil {
		return err
	}
	return store.Save()
}

// purposesOf says which keys an organisation of this kind holds in the demonstration.
func purposesOf(kind string) []purpose.Purpose {
	switch kind {
	case licence.Hospital, licence.Agency:
		return []purpose.Purpose{purpose.Documents, purpose.Events}
	case licence.Commission:
		return []purpose.Purpose{purpose.Events, purpose.Checkpoints, purpose.StatusLists}
	case licence.Police, licence.Archive:
		return []purpose.Purpose{purpose.Events, purpose.Checkpoints}
	}
	return []purpose.Purpose{purpose.TrustFiles}
}

// buildKeystores makes one keystore an organisation. Each costs one scrypt, so all cores work.
func (i *installation) buildKeystores(ctx context.Context, s scheme) error {
	all := s.all()
	bar := i.app.progress(len(all), "密钥库 keystores")
	err := onAllCores(all, func(o licence.Organisation) error {
		defer func() { _ = bar.Add(1) }()
		if err := i.buildKeystore(ctx, o); err != nil {
			return fmt.Errorf("keystore of %s: %w", o.Code, err)
		}
		return nil
	})
	_ = bar.Finish()
	if err != nil {
		return err
	}
	return i.keyring.reload()
}

// buildPeople makes the demo people with their passphrases.
func (i *installation) buildPeople(ctx context.Context, s scheme) ([]access.Person, error) {
	var mu sync.Mutex
	var people []access.Person
	err := onAllCores(s.all(), func(o licence.Organisation) error {
		for _, p := range demoPeople(o.Kind) {
			if err := i.newSecret(o.Code, p.id); err != nil {
				return err
			}
			secret, err := i.personPassphrase(o.Code, p.id, "")
			if err != nil {
				return err
			}
			person, err := access.NewPerson(o.Code, p.id, secret, rand.Reader, p.role)
			if err != nil {
				return err
			}
			mu.Lock()
			people = append(people, person)
			mu.Unlock()
		}
		return ctx.Err()
	})
	return people, err
}

// onAllCores runs do for each item and returns the first error; the others are finished first.
func onAllCores[T any](items []T, do func(T) error) error {
	jobs := make(chan T)
	var group sync.WaitGroup
	var mu sync.Mutex
	var first error
	for range runtime.NumCPU() {
		group.Add(1)
		go func() {
			defer group.Done()
			for item := range jobs {
				err := do(item)
				mu.Lock()
				if err != nil && first == nil {
					first = err
				}
				mu.Unlock()
			}
		}()
	}
	for _, item := range items {
		jobs <- item
	}
	close(jobs)
	group.Wait()
	return first
}

func (i *installation) buildKeystore(ctx context.Context, o licence.Organisation) error {
	if err := i.newSecret(o.Code); err != nil {
		return err
	}
	store, err := i.keyring.create(ctx, o.Code)
	if err != nil {
		return err
	}
	for _, p := range purposesOf(o.Kind) {
		if _, err := i.keyring.add(ctx, store, o.Code, o.Name, p, i.app.now(), 3); err != nil {
			return err
		}
	}
	return nil
}

// newSecret writes a random passphrase that only the owner of the folder can read.
func (i *installation) newSecret(elem ...string) error {
	path := i.secretPath(elem...)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	b := make([]byte, 20)
	if _, err := io.ReadFull(rand.Reader, b); err != nil {
		return err
	}
	return writeFile(path, []byte(base32.StdEncoding.EncodeToString(b)+"\n"), 0o600)
}

// buildRecords registers organisations, people and stock, and enrols everybody who acts on the ledger.
func (i *installation) buildRecords(ctx context.Context, s scheme) error {
	people, err := i.buildPeople(ctx, s)
	if err != nil {
		return err
	}
	for _, o := range s.all() {
		if err := i.db.PutOrganisation(ctx, o); err != nil {
			return err
		}
	}
	for _, p := range people {
		if err := i.db.PutPerson(ctx, p); err != nil {
			return err
		}
	}
	if err := i.buildStock(ctx, s); err != nil {
		return err
	}
	return i.enrol(ctx, s)
}

// buildStock gives every issuer numbers of each licence type that takes them from stock.
func (i *installation) buildStock(ctx context.Context, s scheme) error {
	types, err := i.stockTypes()
	if err != nil {
		return err
	}
	who := i.who(ctx, "init")
	who.At, who.Organisation, who.What = i.app.now(), s.commission.Code, "allot"
	issuers := append(append([]licence.Organisation(nil), s.hospitals...), s.agencies...)
	for k, typ := range types {
		for n, o := range issuers {
			count := stockHospital
			if o.Kind == licence.Agency {
				count = stockAgency
			}
			if err := i.db.Allot(ctx, issuing.Pile{Issuer: o.Code, Type: typ}, numberRange(k, n), count, i.app.now(), who); err != nil {
				return err
			}
		}
	}
	return nil
}

// enrol writes the log's first entries: the registrar enrols itself, then everybody else who will sign events.
func (i *installation) enrol(ctx context.Context, s scheme) error {
	if err := i.ledger.open(ctx); err != nil {
		return err
	}
	registrar, err := i.keyring.Current(ctx, s.commission.Code, purpose.Events)
	if err != nil {
		return err
	}
	var events [][]byte
	for _, o := range append([]licence.Organisation{s.commission}, s.all()...) {
		if o.Kind == "operator" || (o.Code == s.commission.Code && len(events) > 0) {
			continue
		}
		signing, err := i.keyring.Current(ctx, o.Code, purpose.Events)
		if err != nil {
			return err
		}
		b, err := i.enrolment(ctx, registrar, o.Code, o.Kind, signing.Leaf())
		if err != nil {
			return err
		}
		events = append(events, b)
	}
	return i.submitEnrolments(ctx, events)
}

func (i *installation) enrolment(ctx context.Context, registrar issuing.Signing, code, kind string, certificate *pki.Certificate) ([]byte, error) {
	return contract.SignEvent(ctx, registrar.Key, registrar.Leaf(), contract.Event{
		Version: contract.Version, Kind: contract.Enrolled, Time: i.app.now().UnixMicro(), Actor: i.config.Registrar,
		Enrolment: &contract.Enrolment{Code: code, Kind: contract.OrganisationKind(kind), Certificate: certificate.Raw()},
	})
}

// enrolKey tells the ledger of a further event key; before that, nothing signed with it is taken.
func (i *installation) enrolKey(ctx context.Context, code, kind string, certificate *pki.Certificate) error {
	if err := i.ledger.catchUp(ctx); err != nil {
		return err
	}
	registrar, err := i.keyring.Current(ctx, i.config.Registrar, purpose.Events)
	if err != nil {
		return err
	}
	b, err := i.enrolment(ctx, registrar, code, kind, certificate)
	if err != nil {
		return err
	}
	return i.submitEnrolments(ctx, [][]byte{b})
}

func (i *installation) submitEnrolments(ctx context.Context, events [][]byte) error {
	enrol := func(ctx context.Context) error {
		answers, err := i.ledger.Submit(ctx, events)
		if err != nil {
			return err
		}
		if len(answers) < len(events) {
			return fmt.Errorf("enrol: the ledger answered %d of %d events: %w", len(answers), len(events), i.ledger.waits())
		}
		for _, a := range answers {
			if a.Refusal != "" {
				return fmt.Errorf("enrol: the contract refused an organisation: %s", a.Refusal)
			}
		}
		return i.ledger.cosign(ctx)
	}
	i.ledger.mu.Lock()
	defer i.ledger.mu.Unlock()
	return errors.Join(i.ledger.duty.work(ctx, enrol), i.ledger.give(ctx))
}
