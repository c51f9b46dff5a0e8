package verify

import (
	"errors"
	"slices"
	"strconv"

	"github.com/emmansun/gmsm/sm3"

	"github.com/elicence/elicence/licence/code"
	"github.com/elicence/elicence/signer/cms"
	"github.com/elicence/elicence/signer/credential"
	"github.com/elicence/elicence/signer/pdf"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
)

// structure reads the file by the closed allow-list of signer/pdf. A file that does not claim our form
// is no failure: it is somebody else's.
func (x *run) structure(file []byte) bool {
	if len(file) > MaxFile {
		x.unsure("form", Integrity, SignedDataNotFound, "文件过大，不是本系统的证照", "the file is too large to be a licence of this system",
			"bytes", strconv.Itoa(len(file)))
		return false
	}
	doc, err := pdf.Read(file)
	switch {
	case errors.Is(err, pdf.ErrNotOurs):
		x.unsure("form", Integrity, SignedDataNotFound, "不是本系统的证照", "not a licence of this system")
		return false
	case err != nil:
		x.r.Ours = true
		x.fail("form", Integrity, FormatFailure, "文件自称本系统证照，但结构不符，已被改动或损坏",
			"the file claims to be a licence of this system and breaks the form: it was changed or damaged", "reason", err.Error())
		return false
	}
	x.r.Ours = true
	x.doc = doc
	x.pass("form", Integrity, "文件结构完整：一个版本，一个签名，无多余对象", "one revision, one signature, no byte outside of it, no unknown object")
	x.pass("carrier", Safety, "无脚本、无动作、无未声明的附件", "no script, no action, no undeclared attachment")
	x.pass("rendition", Usability, "字体全部嵌入，未加密", "all fonts are embedded, nothing is encrypted")
	return true
}

// cms checks what the PDF signature itself says: its encoding, its digest, its signature value.
func (x *run) cms() bool {
	s, err := cms.ParseKnown(x.doc.CMS, x.v.known)
	if err != nil {
		x.fail("cms", Integrity, FormatFailure, "签名数据的编码不符", "the signature's encoding breaks the form", "reason", err.Error())
		return false
	}
	x.signed = s
	x.r.SigningTime = s.SigningTime.In(zone)
	if s.Digest != x.doc.Digest {
		x.fail("digest", Integrity, HashFailure, "文件内容与签名不符：签发后被改动", "the file is not what was signed: it was changed",
			"signed", digest(s.Digest), "found", digest(x.doc.Digest))
		return false
	}
	x.pass("digest", Integrity, "文件摘要与签名一致", "the file's digest is the signed one", "sm3", digest(s.Digest))
	if err := s.Verify(); err != nil {
		x.fail("signature", Authenticity, SigCryptoFailure, "签名值无效", "the signature value does not verify")
		return false
	}
	x.leaf.cert = s.Path[0]
	x.pass("signature", Authenticity, "签名值有效", "the signature value verifies", "certificate", digest(x.leaf.cert.SM3()))
	return true
}

// disclosed reads licence.json.
func (x *run) disclosed() bool {
	d, err := credential.ParseDisclosure(x.doc.LicenceJSON)
	if err != nil {
		x.fail("disclosure", Integrity, FormatFailure, "licence.json 不符合格式", "licence.json breaks its format")
		return false
	}
	x.part = d
	x.pass("disclosure", Integrity, "licence.json 符合格式", "licence.json keeps its format")
	return true
}

// credential checks the credential inside licence.json under the certificate of the PDF signature: it
// must name that certificate and verify under it. X's credential in Y's part fails here.
func (x *run) credential(b []byte) bool {
	c, err := credential.Parse(b)
	if err != nil {
		x.fail("credential", Integrity, FormatFailure, "凭证不符合格式", "the credential breaks its format")
		return false
	}
	if c.Certificate != x.leaf.cert.SM3() {
		x.fail("same-certificate", Authenticity, FormatFailure, "凭证与文件由不同的证书签名", "credential and file are signed under different certificates",
			"credential", digest(c.Certificate), "file", digest(x.leaf.cert.SM3()))
		return false
	}
	x.pass("same-certificate", Authenticity, "凭证与文件由同一证书签名", "credential and file are signed under one certificate")
	if err := x.v.verify(c, b, x.leaf.cert); err != nil {
		x.fail("credential", Authenticity, SigCryptoFailure, "凭证的签名无效", "the credential's signature does not verify")
		return false
	}
	x.cred = c
	x.pass("credential", Authenticity, "凭证的签名有效", "the credential's signature verifies")
	return true
}

// verify checks a credential's signature once; b are its bytes, which name the certificate.
func (v *Verifier) verify(c *credential.Credential, b []byte, cert *pki.Certificate) error {
	sum := sm3.Sum(b)
	if c.Certificate == cert.SM3() && v.remembers(sum) {
		return nil
	}
	if err := c.Verify(cert); err != nil {
		return err
	}
	v.remember(sum)
	return nil
}

// binding holds the certificate's organisation against every place that names the issuer, and the parts
// of the file against each other.
func (x *run) binding() {
	p, d := &x.cred.Payload, x.part
	x.issuer(p, d.Issuer == p.Issuer)
	disagree := credential.Agree(d, p)
	if disagree != nil {
		x.fail("agreement", Integrity, FormatFailure, "licence.json 与凭证不一致", "licence.json and the credential disagree", "on", disagree.Error())
	} else {
		x.pass("agreement", Integrity, "类型、号码、标识与各明示项一致", "type, number, identifier and every clear field agree")
	}
	switch {
	case x.doc.Part != d.Part || x.doc.Identifier != d.Identifier:
		x.fail("part", Integrity, FormatFailure, "文件的标识或部分名称不一致", "the file names itself or its part in two ways")
	case !x.doc.SignedAt.Equal(x.signed.SigningTime):
		x.fail("part", Integrity, FormatFailure, "文件所载签名时间不一致", "the file gives its signing time in two ways")
	default:
		x.pass("part", Integrity, "文件属于所称的部分", "the file is the part that it says", "part", d.Part)
	}
}

// issuer is the part of binding that files and codes share.
func (x *run) issuer(p *credential.Payload, same bool) {
	org := x.leaf.cert.OrganisationCode()
	id, err := code.ParseIdentifier(p.Identifier)
	switch {
	case err != nil:
		x.fail("identifier", Authenticity, FormatFailure, "证照标识不符合 GB/T 36904", "the identifier breaks GB/T 36904")
	case org == "" || id.Issuer != org || p.Issuer != org || !same:
		x.fail("issuer", Authenticity, FormatFailure, "证书所属机构与证照所称签发机构不是同一家", "the certificate belongs to another organisation than the issuer that the licence names",
			"certificate", org, "identifier", id.Issuer, "credential", p.Issuer)
	default:
		x.pass("identifier", Authenticity, "证照标识及校验码正确", "the identifier and its check character are right")
		x.pass("issuer", Authenticity, "证书所属机构即所称签发机构", "the certificate belongs to the issuer that the licence names", "code", org)
	}
	// A production CA's certificate may not say what it is for; the trust file does, see path.
	if p := x.leaf.cert.Purpose(); p != purpose.Documents && p != "" || x.leaf.cert.IsCA() {
		x.fail("purpose", Authenticity, FormatFailure, "证书不是用于签发证照的", "the certificate is not one for documents", "purpose", string(x.leaf.cert.Purpose()))
	} else {
		x.pass("purpose", Authenticity, "证书用途为签发证照", "the certificate is one for documents")
	}
}

// fields recomputes the root of the field tree from the values in licence.json.
func (x *run) fields() {
	root, err := x.part.Root()
	if err != nil || root != x.cred.Payload.TreeRoot || len(x.part.Fields) != x.cred.Payload.TreeSize {
		x.fail("fields", Integrity, HashFailure, "licence.json 中的内容与凭证中的摘要不符", "the values in licence.json are not those that the credential commits to")
		return
	}
	x.pass("fields", Integrity, "各项内容与凭证中的摘要一致", "the values are those that the credential commits to",
		"root", digest(root), "fields", strconv.Itoa(len(x.part.Fields)))
	for _, f := range x.part.Fields {
		x.r.Fields = append(x.r.Fields, Field{f.Pointer, f.Value})
	}
}

// path asks the trust file for the certificate. What it does not list may be genuine, so the answer is
// open, not no.
func (x *run) path() bool {
	sum := x.leaf.cert.SM3()
	entry, listed := x.v.trust.Certificate(sum)
	if !listed {
		x.mustSpecimen = true
		x.unsure("path", Authenticity, NoCertificateChainFound, "签名证书不在信任名录中：无法确认签发者", "the trust file does not list the signing certificate: who signed is not established",
			"certificate", digest(sum))
		return false
	}
	x.leaf.chain = x.v.chain(sum)
	if x.leaf.chain == nil || entry.Purpose != purpose.Documents {
		x.leaf.chain, x.mustSpecimen = nil, true
		x.unsure("path", Authenticity, NoCertificateChainFound, "签名证书没有通往可信根的路径", "the signing certificate has no path to a trusted root",
			"certificate", digest(sum))
		return false
	}
	if x.signed != nil && !x.v.linked(x.signed.Path, x.leaf.chain.path) {
		x.fail("path", Authenticity, FormatFailure, "文件所附证书不构成一条路径", "the certificates embedded in the file are no path")
		return false
	}
	x.mustSpecimen = !x.leaf.chain.production || x.leaf.cert.Demonstration()
	x.pass("path", Authenticity, "签名证书可追溯至可信根", "the certificate's path ends at a trusted root", "certificate", digest(sum))
	return true
}

// linked: the embedded certificates are the whole path to a root and nothing else, so a file has no room
// for certificates nobody looks at. It need not be the path that the trust file gives today: CAs are
// renewed, files stay.
func (v *Verifier) linked(embedded, path []*pki.Certificate) bool {
	if slices.EqualFunc(embedded, path, func(a, b *pki.Certificate) bool { return a.SM3() == b.SM3() }) {
		return true // checked when the chain was built
	}
	last := len(embedded) - 1
	for i := range last {
		if embedded[i].CheckSignedBy(embedded[i+1]) != nil {
			return false
		}
	}
	return slices.ContainsFunc(v.trust.Roots(), func(root *pki.Certificate) bool { return embedded[last].CheckSignedBy(root) == nil })
}

// specimen holds the mark in the signed data against the chain: a licence that is no specimen needs a
// production root.
func (x *run) specimen() {
	marked := x.cred.Payload.Specimen && (x.part == nil || x.part.Specimen)
	switch {
	case x.leaf.chain == nil:
		return // who signed is open already
	case x.mustSpecimen && !marked:
		x.fail("specimen", Authenticity, FormatFailure, "演示链签发的证照缺少样张标记", "signed under a demonstration chain without the SPECIMEN mark")
	case marked:
		x.pass("specimen", Authenticity, "样张，不具效力", "a specimen, without effect")
	default:
		x.pass("specimen", Authenticity, "由生产证书链签发", "signed under a production chain")
	}
}

// trustFile judges the file that everything rests on.
func (x *run) trustFile() {
	f := x.v.trust
	evidence := []string{"fingerprint", x.v.head.Fingerprint, "sequence", strconv.FormatUint(f.Sequence(), 10)}
	switch {
	case x.now.After(f.Expires()) && !x.self:
		x.unsure("trust-file", Authenticity, TryLater, "信任名录已过期，需要更新的信任名录", "the trust file has expired: a newer one is needed", evidence...)
	case x.now.Add(clockTolerance).Before(f.Issued()) && !x.self:
		x.unsure("trust-file", Authenticity, TryLater, "信任名录的日期在将来", "the trust file is dated in the future", evidence...)
	default:
		x.pass("trust-file", Authenticity, "信任名录签名有效且在有效期内", "the trust file is signed and has not expired", evidence...)
	}
}

// identify fills in what the report says the thing is.
func (x *run) identify() {
	p := &x.cred.Payload
	x.r.Type, x.r.Number, x.r.Identifier, x.r.IssueDate, x.r.Parts = p.Type, p.Number, p.Identifier, p.IssueDate, p.Parts
	x.r.Issuer = Issuer{Code: p.Issuer}
	if x.leaf.chain != nil {
		x.r.Issuer = issuerOf(x.leaf.chain.entry.Organisation)
	}
	x.r.Certificate = digest(x.leaf.cert.SM3())
	if x.part != nil {
		x.r.Part, x.r.PartIndex = x.part.Part, x.part.PartIndex
	}
}

// text reads a code and finds the certificate that it names in the trust file.
func (x *run) text(text string) bool {
	if len(text) > MaxCode {
		x.unsure("code", Integrity, SignedDataNotFound, "不是本系统的证照码", "not a code of this system")
		return false
	}
	b, err := credential.DecodeText(text)
	if err != nil {
		if x.r.Ours = credential.ClaimsText(text); x.r.Ours {
			x.fail("code", Integrity, FormatFailure, "证照码已损坏或被改动", "the code is damaged or was changed")
		} else {
			x.unsure("code", Integrity, SignedDataNotFound, "不是本系统的证照码", "not a code of this system")
		}
		return false
	}
	x.r.Ours = true
	c, err := credential.Parse(b)
	if err != nil {
		x.fail("code", Integrity, FormatFailure, "证照码中的凭证不符合格式", "the credential in the code breaks its format")
		return false
	}
	x.pass("code", Integrity, "证照码符合格式", "the code keeps its format")
	entry, ok := x.v.trust.Certificate(c.Certificate)
	if !ok {
		x.mustSpecimen = true
		x.unsure("path", Authenticity, NoSigningCertificateFound, "签名证书不在信任名录中：无法确认签发者", "the trust file does not list the signing certificate: who signed is not established",
			"certificate", digest(c.Certificate))
		return false
	}
	if err := x.v.verify(c, b, entry.Certificate); err != nil {
		x.fail("credential", Authenticity, SigCryptoFailure, "凭证的签名无效", "the credential's signature does not verify")
		return false
	}
	x.cred, x.leaf.cert = c, entry.Certificate
	x.pass("credential", Authenticity, "凭证的签名有效", "the credential's signature verifies", "certificate", digest(c.Certificate))
	return true
}

func (x *run) issuerOfCode() {
	p := &x.cred.Payload
	x.issuer(p, true)
	for _, c := range p.Clear {
		x.r.Fields = append(x.r.Fields, Field{c.Key, c.Value})
	}
}
