package pki_test

import (
	"bytes"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"

	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
)

// OpenSSL 3 is the second judge of certificates, lists and signatures: another code base with its own DER and SM2.

const distID = "distid:" + signerID

func openssl(t testing.TB, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "openssl", args...).CombinedOutput()
	return string(out), err
}

func accepts(t testing.TB, args ...string) string {
	t.Helper()
	out, err := openssl(t, args...)
	if err != nil {
		t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func refuses(t testing.TB, because string, args ...string) {
	t.Helper()
	out, err := openssl(t, args...)
	if err == nil || !strings.Contains(out, because) {
		t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// files writes PEM files into a new folder and returns the way to each.
func files(t testing.TB, blocks map[string][]byte) func(name string) string {
	t.Helper()
	folder := t.TempDir()
	for name, der := range blocks {
		kind := map[string]string{".crl": "X509 CRL", ".pub": "PUBLIC KEY", ".pem": "CERTIFICATE", ".csr": "CERTIFICATE REQUEST"}[filepath.Ext(name)]
		b := der
		if kind != "" {
			b = pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
		}
		must(t, os.WriteFile(filepath.Join(folder, name), b, 0o600))
	}
	return func(name string) string { return filepath.Join(folder, name) }
}

// link checks one step of a path: OpenSSL's command takes -vfyopt for the certificate that it is asked about only, so
// the CA above is trusted for the moment.
func link(file func(string) string, child, parent string, more ...string) []string {
	args := []string{"verify", "-x509_strict", "-partial_chain", "-vfyopt", distID, "-attime", "1793491200", "-CAfile", file(parent)}
	return append(append(args, more...), file(child))
}

func TestOpenSSLAcceptsOurChain(t *testing.T) {
	if epoch.Unix() != 1793491200 {
		t.Fatal("the test's times disagree")
	}
	s, other := newScheme(t, "openssl"), newScheme(t, "openssl other")
	file := files(t, map[string][]byte{"root.pem": s.root.Raw(), "ca.pem": s.ca.Raw(), "leaf.pem": s.leaf.Raw(), "other.pem": other.ca.Raw()})
	accepts(t, link(file, "leaf.pem", "ca.pem")...)
	accepts(t, link(file, "ca.pem", "root.pem")...)
	// A root's own signature it looks at without the id, hence over the signed bytes.
	pub, err := pki.MarshalPublicKey(s.rootKey.Public())
	must(t, err)
	must(t, os.WriteFile(file("root.pub"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub}), 0o600))
	outer := parseNodes(t, s.root.Raw())[0]
	must(t, os.WriteFile(file("tbs"), outer.kids[0].der(), 0o600))
	must(t, os.WriteFile(file("signature"), outer.kids[2].value[1:], 0o600))
	accepts(t, "dgst", "-sm3", "-verify", file("root.pub"), "-sigopt", distID, "-signature", file("signature"), file("tbs"))
	for _, c := range []string{"root.pem", "ca.pem", "leaf.pem"} {
		out := accepts(t, "x509", "-in", file(c), "-noout", "-text", "-nameopt", "utf8,sep_comma_plus")
		for _, want := range []string{"SM2-with-SM3", "DEMONSTRATION 样张", "2.999.156.1.1"} {
			if !strings.Contains(out, want) {
				t.Errorf("%s: people do not see %q\n%s", c, want, out)
			}
		}
	}
	out := accepts(t, "x509", "-in", file("leaf.pem"), "-noout", "-text", "-nameopt", "utf8,sep_comma_plus")
	for _, want := range []string{"organizationIdentifier=12310112425016528A", "O=上海市闵行区妇幼保健院", "2.999.156.2.1", "Digital Signature", "CA:FALSE"} {
		if !strings.Contains(out, want) {
			t.Errorf("the leaf does not show %q\n%s", want, out)
		}
	}
	refuses(t, "unable to get local issuer", link(file, "leaf.pem", "other.pem")...)
	refuses(t, "unable to get local issuer", link(file, "ca.pem", "leaf.pem")...)
	refuses(t, "expired", link(file, "leaf.pem", "ca.pem", "-attime", "4000000000")...)
	refuses(t, "signature", link(file, "leaf.pem", "ca.pem", "-vfyopt", "distid:8765432187654321")...)
}

func TestOpenSSLRefusesAChangedCertificate(t *testing.T) {
	s := newScheme(t, "openssl")
	changed := bytes.Replace(s.leaf.Raw(), []byte("12310112425016528A"), []byte("12310112425016528B"), 1)
	c, err := pki.ParseCertificate(changed)
	must(t, err) // the change is one of content, not of form
	wantError(t, c.CheckSignedBy(s.ca), pki.ErrSignature)
	file := files(t, map[string][]byte{"ca.pem": s.ca.Raw(), "leaf.pem": changed})
	refuses(t, "signature", link(file, "leaf.pem", "ca.pem")...)
}

// OpenSSL's command knows no way to give a revocation list the signer's id. So the signature is judged over the signed
// bytes alone, and what the list says by giving those bytes a signature under the id that OpenSSL falls back to.
func TestOpenSSLFollowsOurLists(t *testing.T) {
	s := newScheme(t, "openssl")
	pub, err := pki.MarshalPublicKey(s.caKey.Public())
	must(t, err)
	private, err := smx509.MarshalPKCS8PrivateKey(s.caKey.private)
	must(t, err)
	file := files(t, map[string][]byte{"ca.pem": s.ca.Raw(), "leaf.pem": s.leaf.Raw(), "ca.pub": pub, "ca.key": private})
	for _, c := range []struct {
		serial  int64
		revoked bool
	}{{4, false}, {3, true}} {
		der := issueCRL(t, s, []pki.Revoked{{Serial: big.NewInt(c.serial), At: epoch.AddDate(0, 0, -1), Reason: pki.KeyCompromise}})
		outer := parseNodes(t, der)[0]
		must(t, os.WriteFile(file("tbs"), outer.kids[0].der(), 0o600))
		must(t, os.WriteFile(file("signature"), outer.kids[2].value[1:], 0o600))
		accepts(t, "dgst", "-sm3", "-verify", file("ca.pub"), "-sigopt", distID, "-signature", file("signature"), file("tbs"))

		must(t, os.WriteFile(file("our.crl"), der, 0o600))
		out := accepts(t, "crl", "-inform", "DER", "-in", file("our.crl"), "-noout", "-text")
		for _, want := range []string{"Key Compromise", fmt.Sprintf("Serial Number: %02X", c.serial), "SM2-with-SM3", "X509v3 CRL Number"} {
			if !strings.Contains(out, want) {
				t.Errorf("the list does not show %q\n%s", want, out)
			}
		}

		accepts(t, "dgst", "-sm3", "-sign", file("ca.key"), "-keyform", "DER", "-out", file("signature"), file("tbs"))
		sig, err := os.ReadFile(file("signature"))
		must(t, err)
		outer.kids[2] = prim(3, "\x00"+string(sig))
		must(t, os.WriteFile(file("x.crl"), pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: outer.der()}), 0o600))
		if args := link(file, "leaf.pem", "ca.pem", "-crl_check", "-CRLfile", file("x.crl")); c.revoked {
			refuses(t, "certificate revoked", args...)
		} else {
			accepts(t, args...)
		}
	}
}

// dgst in both directions, at the sizes that the padding of SM3 turns on.
func TestOpenSSLAndWeVerifyEachOthersSignatures(t *testing.T) {
	k := newKey(t, "openssl", purpose.Events)
	der, err := pki.MarshalPublicKey(k.Public())
	must(t, err)
	file := files(t, map[string][]byte{"ours.pub": der})
	theirs := file("theirs.key")
	accepts(t, "genpkey", "-algorithm", "SM2", "-out", theirs)
	accepts(t, "pkey", "-in", theirs, "-pubout", "-outform", "DER", "-out", file("theirs.der"))
	b, err := os.ReadFile(file("theirs.der"))
	must(t, err)
	pub, err := pki.ParsePublicKey(b)
	must(t, err)
	for _, size := range []int{1, 55, 56, 64, 119, 120, 5000} {
		message := bytes.Repeat([]byte{0xe5}, size)
		must(t, os.WriteFile(file("message"), message, 0o600))
		rs, err := k.sign(message)
		must(t, err)
		sig, err := pki.SignatureDER(rs)
		must(t, err)
		must(t, os.WriteFile(file("signature"), sig, 0o600))
		accepts(t, "dgst", "-sm3", "-verify", file("ours.pub"), "-sigopt", distID, "-signature", file("signature"), file("message"))
		refuses(t, "", "dgst", "-sm3", "-verify", file("ours.pub"), "-sigopt", "distid:1", "-signature", file("signature"), file("message"))

		accepts(t, "dgst", "-sm3", "-sign", theirs, "-sigopt", distID, "-out", file("signature"), file("message"))
		sig, err = os.ReadFile(file("signature"))
		must(t, err)
		rs, err = pki.SignatureRS(sig)
		must(t, err)
		must(t, pki.VerifyRS(pub, message, rs))
		wantError(t, pki.VerifyRS(pub, append(message, 0), rs), pki.ErrSignature)
	}
}

// A chain that OpenSSL made, as a stranger's authority would: we read it, and know what it does not say.
func TestWeReadChainsOfOpenSSL(t *testing.T) {
	file := files(t, map[string][]byte{"x.cnf": []byte(strings.Join([]string{
		"[ca]", "basicConstraints=critical,CA:TRUE,pathlen:0", "keyUsage=critical,keyCertSign,cRLSign", "subjectKeyIdentifier=hash",
		"[leaf]", "basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature,nonRepudiation", "subjectKeyIdentifier=hash",
		"authorityKeyIdentifier=keyid", "certificatePolicies=1.2.3", "crlDistributionPoints=URI:http://crl.example/x.crl", ""}, "\n"))})
	for _, name := range []string{"ca", "leaf"} {
		accepts(t, "genpkey", "-algorithm", "SM2", "-out", file(name+".key"))
	}
	subject := "/C=CN/O=医院/organizationIdentifier=12310112425016528A/CN="
	accepts(t, "req", "-utf8", "-new", "-x509", "-config", "/dev/null", "-key", file("ca.key"), "-sm3", "-sigopt", distID, "-subj", "/C=CN/CN=权威",
		"-days", "30", "-extensions", "ca", "-config", opensslConfig(t, file), "-outform", "DER", "-out", file("ca.der"))
	accepts(t, "req", "-utf8", "-new", "-config", opensslConfig(t, file), "-key", file("leaf.key"), "-sm3", "-sigopt", distID, "-subj", subject+"文件", "-out", file("leaf.csr"))
	accepts(t, "x509", "-req", "-in", file("leaf.csr"), "-vfyopt", distID, "-CA", file("ca.der"), "-CAkey", file("ca.key"), "-sm3", "-sigopt", distID, "-days", "30",
		"-set_serial", "77", "-extfile", file("x.cnf"), "-extensions", "leaf", "-outform", "DER", "-out", file("leaf.der"))
	var certs []*pki.Certificate
	for _, name := range []string{"leaf.der", "ca.der"} {
		b, err := os.ReadFile(file(name))
		must(t, err)
		c, err := pki.ParseCertificate(b)
		must(t, err)
		certs = append(certs, c)
	}
	leaf, ca := certs[0], certs[1]
	path, err := pki.Path(leaf, nil, list(ca), leaf.NotBefore().Add(time.Hour))
	must(t, err)
	samePath(t, path, leaf)
	if leaf.OrganisationCode() != "12310112425016528A" || leaf.OrganisationName() != "医院" || leaf.Purpose() != "" || leaf.Demonstration() ||
		!leaf.MaySign() || leaf.SerialNumber().Int64() != 77 || !ca.IsCA() {
		t.Error("the certificate is misread")
	}
}

// opensslConfig is the sections plus what `openssl req` insists on.
func opensslConfig(t testing.TB, file func(string) string) string {
	t.Helper()
	b, err := os.ReadFile(file("x.cnf"))
	must(t, err)
	must(t, os.WriteFile(file("req.cnf"), append([]byte("[req]\ndistinguished_name=dn\n[dn]\n"), b...), 0o600))
	return file("req.cnf")
}

// A third reader: the structures of encoding/asn1 alone.
func TestEncodingASN1ReadsTheSameCertificate(t *testing.T) {
	s := newScheme(t, "asn1")
	var v struct {
		TBS struct {
			Raw       asn1.RawContent
			Version   int `asn1:"explicit,tag:0"`
			Serial    *big.Int
			Algorithm struct{ ID asn1.ObjectIdentifier }
			Issuer    asn1.RawValue
			Validity  struct{ From, To time.Time }
			Subject   asn1.RawValue
			Key       struct {
				Algorithm struct{ ID, Curve asn1.ObjectIdentifier }
				Point     asn1.BitString
			}
			Extensions []asn1.RawValue `asn1:"explicit,tag:3"`
		}
		Algorithm struct{ ID asn1.ObjectIdentifier }
		Signature asn1.BitString
	}
	rest, err := asn1.Unmarshal(s.leaf.Raw(), &v)
	must(t, err)
	var sig struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(v.Signature.Bytes, &sig); err != nil || len(rest) != 0 {
		t.Fatal(err, len(rest))
	}
	rs := append(sig.R.FillBytes(make([]byte, 32)), sig.S.FillBytes(make([]byte, 32))...)
	must(t, pki.VerifyRS(s.caKey.Public(), v.TBS.Raw, rs))
	point := v.TBS.Key.Point.Bytes
	pub, err := sm2.NewPublicKey(point)
	must(t, err)
	if !pub.Equal(s.leaf.PublicKey()) || !bytes.Equal(v.TBS.Issuer.FullBytes, s.ca.SubjectDN()) || v.TBS.Serial.Cmp(s.leaf.SerialNumber()) != 0 ||
		!v.TBS.Validity.From.Equal(s.leaf.NotBefore()) || !v.TBS.Validity.To.Equal(s.leaf.NotAfter()) || v.TBS.Version != 2 {
		t.Error("two readers read two certificates")
	}
}
