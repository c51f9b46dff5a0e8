package issuing_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/elicence/elicence/hsm/softkey"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/licence/code"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/elicence/elicence/templates"
	"github.com/elicence/elicence/verify/trust"
)

// begun is when every test begins: 2027-01-05, 08:00 in Shanghai.
var begun = time.Date(2027, 1, 5, 0, 0, 0, 0, time.UTC)

// The cast. No name or code is anybody's.
var (
	hospital   = organisation("样张妇产医院", licence.Hospital, 'H', 1)
	other      = organisation("样张第二妇产医院", licence.Hospital, 'H', 2)
	agency     = organisation("样张妇幼保健所", licence.Agency, 'A', 3)
	commission = organisation("样张卫生健康委员会", licence.Commission, 'C', 4)
	police     = organisation("样张公安局", licence.Police, 'P', 5)
	archive    = organisation("样张档案馆", licence.Archive, 'R', 6)
	archive2   = organisation("样张第二档案馆", licence.Archive, 'R', 7)
	stranger   = organisation("样张未登记医院", licence.Hospital, 'H', 8) // has keys, and no place on the ledger
	beginner   = organisation("样张新建医院", licence.Hospital, 'H', 9)  // has no stock yet
)

func cast() []licence.Organisation {
	return []licence.Organisation{hospital, other, agency, commission, police, archive, archive2, stranger, beginner}
}

func organisation(name, kind string, letter byte, n int) licence.Organisation {
	first := fmt.Sprintf("12310112DEM%c%05d", letter, n)
	check, err := code.SocialCreditCheck(first)
	if err != nil {
		panic(err) // the parts are written above
	}
	return licence.Organisation{Code: first + string(check), Name: name, NameEN: "Specimen", Kind: kind, Region: "310112"}
}

// world is what all tests share: one keystore with every key, the certificates and the trust file over them, and the
// licence types. Nobody changes it.
type world struct {
	keystore *softkey.Keystore
	ca       *pki.Certificate
	certs    map[string]map[purpose.Purpose]*pki.Certificate // by organisation
	trust    *trust.File
	types    *templates.Set
}

const wrappingLabel = "data-wrapping"

var theWorld struct {
	sync.Once
	*world
	err error
}

// TestMain gives the keystore a folder that outlives the test that opens it.
func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	folder, err := os.MkdirTemp("", "issuing")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	keystoreFolder = folder
	result := m.Run()
	if err := os.RemoveAll(folder); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return result
}

var keystoreFolder string

func shared(t testing.TB) *world {
	t.Helper()
	theWorld.Do(func() { theWorld.world, theWorld.err = newWorld(context.Background()) })
	if theWorld.err != nil {
		t.Fatal(theWorld.err)
	}
	return theWorld.world
}

func newWorld(ctx context.Context) (*world, error) {
	w := &world{certs: map[string]map[purpose.Purpose]*pki.Certificate{}}
	var err error
	w.keystore, err = softkey.Create(filepath.Join(keystoreFolder, "test.keystore"), []byte("样张"), rand.Reader, softkey.WithTestCost(16))
	if err != nil {
		return nil, err
	}
	if err := w.keystore.Generate(wrappingLabel, purpose.DataWrapping, begun, rand.Reader); err != nil {
		return nil, err
	}
	root, rootKey, err := w.certify(ctx, "root", nil, nil, pki.Template{CommonName: "样张 root", CA: true, MaxPathLen: 1, Purpose: purpose.CertificateAuthority})
	if err != nil {
		return nil, err
	}
	ca, caKey, err := w.certify(ctx, "issuing-ca", rootKey, root, pki.Template{CommonName: "样张 issuing CA", CA: true, Purpose: purpose.CertificateAuthority})
	if err != nil {
		return nil, err
	}
	w.ca = ca
	content := trust.Content{
		Name: trust.Name{ZH: "样张信任域", EN: "specimen scheme"}, Specimen: true, Sequence: 1, Issued: begun, Expires: begun.AddDate(1, 0, 0),
		Roots: [][]byte{root.Raw()}, Intermediates: [][]byte{ca.Raw()},
	}
	for i, o := range cast() {
		w.certs[o.Code] = map[purpose.Purpose]*pki.Certificate{}
		content.Organisations = append(content.Organisations, trust.Organisation{Code: o.Code, Kind: o.Kind, Name: o.Name, Region: o.Region})
		for _, p := range []purpose.Purpose{purpose.Documents, purpose.Events, purpose.Checkpoints} {
			c, _, err := w.certify(ctx, label(o.Code, p), caKey, ca, pki.Template{
				CommonName: fmt.Sprint(o.Name, " ", p), Organisation: o.Name, OrganisationCode: o.Code, Purpose: p,
				SerialNumber: big.NewInt(int64(1000 + 10*i + len(w.certs[o.Code]))),
			})
			if err != nil {
				return nil, err
			}
			w.certs[o.Code][p] = c
			if p == purpose.Checkpoints {
				continue
			}
			content.Certificates = append(content.Certificates, trust.Certificate{Certificate: c.Raw(), Organisation: o.Code, Purpose: string(p)})
		}
	}
	for _, l := range []struct {
		key *softkey.Key
		ca  *pki.Certificate
	}{{rootKey, root}, {caKey, ca}} {
		crl, err := pki.IssueCRL(ctx, l.key, l.ca, nil, big.NewInt(1), begun, begun.AddDate(1, 0, 0))
		if err != nil {
			return nil, err
		}
		content.CRLs = append(content.CRLs, crl)
	}
	if err := w.keystore.Generate("trust", purpose.TrustFiles, begun, rand.Reader); err != nil {
		return nil, err
	}
	operator, err := w.keystore.Key("trust")
	if err != nil {
		return nil, err
	}
	b, err := trust.Sign(ctx, operator, operator.Public(), content)
	if err != nil {
		return nil, err
	}
	if w.trust, err = trust.Parse(b); err != nil {
		return nil, err
	}
	w.types, err = templates.Load(templates.Options{})
	return w, err
}

// certify makes a key and a certificate for it; parent nil: of itself.
func (w *world) certify(ctx context.Context, label string, by *softkey.Key, parent *pki.Certificate, t pki.Template) (*pki.Certificate, *softkey.Key, error) {
	if err := w.keystore.Generate(label, t.Purpose, begun, rand.Reader); err != nil {
		return nil, nil, err
	}
	key, err := w.keystore.Key(label)
	if err != nil {
		return nil, nil, err
	}
	if by == nil {
		by = key
	}
	t.NotBefore, t.NotAfter, t.Demonstration = begun.AddDate(0, 0, -1), begun.AddDate(5, 0, 0), true
	c, err := pki.Issue(ctx, by, parent, key.Public(), t, rand.Reader)
	return c, key, err
}

func label(organisation string, p purpose.Purpose) string {
	return "k" + fmt.Sprintf("%x", organisation[10:]) + "-" + string(p)
}

// signing is the organisation's key for a purpose, straight from the keystore.
func (w *world) signing(organisation string, p purpose.Purpose) (issuing.Signing, error) {
	c, ok := w.certs[organisation][p]
	if !ok {
		return issuing.Signing{}, fmt.Errorf("%w: %s has no key for %s", issuing.ErrKey, organisation, p)
	}
	key, err := w.keystore.Key(label(organisation, p))
	if err != nil {
		return issuing.Signing{}, fmt.Errorf("%w: %w", issuing.ErrKey, err)
	}
	return issuing.Signing{Key: key, Path: []*pki.Certificate{c, w.ca}}, nil
}

// clock goes on by a millisecond whenever somebody looks, unless it is set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(time.Millisecond)
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
