package pki_test

import (
	"bytes"
	"encoding/pem"
	"os"
	"strings"
	"testing"

	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
)

// An authority that is not ours, OpenSSL's, takes the request, and what it certifies is a certificate of the key and the names.
func TestAnotherAuthorityCertifiesOurRequest(t *testing.T) {
	k := newKey(t, "request", purpose.Documents)
	names := pki.Template{CommonName: "上海市闵行区妇幼保健院 documents", Organisation: "上海市闵行区妇幼保健院", OrganisationCode: "12310112425016528A"}
	der, err := pki.NewRequest(t.Context(), k, k.Public(), names)
	must(t, err)
	changed := bytes.Replace(der, []byte("12310112425016528A"), []byte("12310112425016528B"), 1)
	file := files(t, map[string][]byte{"request.csr": der, "changed.csr": changed})
	out := accepts(t, "req", "-in", file("request.csr"), "-noout", "-verify", "-vfyopt", distID, "-text", "-nameopt", "utf8,sep_comma_plus")
	for _, want := range []string{"organizationIdentifier=12310112425016528A", "O=上海市闵行区妇幼保健院", "SM2-with-SM3", "verify OK"} {
		if !strings.Contains(out, want) {
			t.Errorf("the request does not show %q\n%s", want, out)
		}
	}
	must(t, os.WriteFile(file("ca.cnf"), []byte("[req]\ndistinguished_name=dn\nx509_extensions=v3\nprompt=no\n[dn]\nCN=another authority\n[v3]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n[leaf]\nbasicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature,nonRepudiation\n"), 0o600))
	accepts(t, "ecparam", "-name", "SM2", "-genkey", "-noout", "-out", file("ca.key"))
	accepts(t, "req", "-x509", "-new", "-key", file("ca.key"), "-sm3", "-sigopt", distID, "-config", file("ca.cnf"), "-days", "3650", "-out", file("ca.pem"))
	accepts(t, "x509", "-req", "-in", file("request.csr"), "-vfyopt", distID, "-CA", file("ca.pem"), "-CAkey", file("ca.key"), "-CAcreateserial", "-sm3", "-sigopt", distID,
		"-days", "365", "-extfile", file("ca.cnf"), "-extensions", "leaf", "-out", file("leaf.pem"))
	read := func(name string) *pki.Certificate {
		t.Helper()
		b, err := os.ReadFile(file(name))
		must(t, err)
		block, _ := pem.Decode(b)
		c, err := pki.ParseCertificate(block.Bytes)
		must(t, err)
		return c
	}
	ca, leaf := read("ca.pem"), read("leaf.pem")
	must(t, leaf.CheckSignedBy(ca))
	if !leaf.PublicKey().Equal(k.Public()) || leaf.OrganisationCode() != names.OrganisationCode || leaf.OrganisationName() != names.Organisation || leaf.Purpose() != "" || !leaf.MaySign() {
		t.Errorf("%s: code %q, purpose %q", leaf, leaf.OrganisationCode(), leaf.Purpose())
	}
	// The request is signed by its own key alone.
	refuses(t, "did not match", "x509", "-req", "-in", file("changed.csr"), "-vfyopt", distID, "-CA", file("ca.pem"), "-CAkey", file("ca.key"), "-sm3", "-out", file("x"))
}

func TestRequestsThatCannotBeMade(t *testing.T) {
	k, other := newKey(t, "request", purpose.Documents), newKey(t, "other", purpose.Documents)
	_, err := pki.NewRequest(t.Context(), k, k.Public(), pki.Template{})
	wantError(t, err, pki.ErrTemplate)
	_, err = pki.NewRequest(t.Context(), k, nil, pki.Template{CommonName: "a"})
	wantError(t, err, pki.ErrPublicKey)
	if der, err := pki.NewRequest(t.Context(), k, other.Public(), pki.Template{CommonName: "a"}); der != nil || err == nil {
		t.Error("a request for a key that did not sign it")
	}
}
