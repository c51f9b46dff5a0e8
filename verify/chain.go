package verify

import (
	"slices"
	"time"

	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/elicence/elicence/verify/trust"
)

// chain is what does not change with time about one listed certificate: its way to a root.
type chain struct {
	entry      *trust.Entry
	path       []*pki.Certificate // leaf first, without root
	lists      []*pki.CRL         // for each of path, the list of its CA; nil if there is none
	production bool
}

// chain returns the chain of a listed certificate or cosigner, nil if it is not listed or has no path.
// Paths are built when first asked for: a trust file may list thousands.
func (v *Verifier) chain(sum [32]byte) *chain {
	v.mu.Lock()
	defer v.mu.Unlock()
	c, known := v.chains[sum]
	if known {
		return c
	}
	entry, listed := v.trust.Certificate(sum)
	if !listed {
		for _, s := range v.trust.Cosigners() {
			if s.Certificate.SM3() == sum {
				entry = &trust.Entry{Certificate: s.Certificate, Organisation: s.Organisation, Purpose: purpose.Checkpoints}
			}
		}
	}
	if entry == nil {
		// Not remembered: a stranger's certificates must not fill the memory.
		return nil
	}
	if c = buildChain(v.trust, entry.Certificate); c != nil {
		c.entry = entry
	}
	v.chains[sum] = c
	return c
}

// buildChain finds a path; judge looks at the times. A renewed CA has two certificates of one name and
// key: the one that was valid when the leaf was issued goes first, then the one that is when the leaf ends.
func buildChain(t *trust.File, cert *pki.Certificate) *chain {
	var path []*pki.Certificate
	for _, at := range []time.Time{cert.NotBefore(), cert.NotAfter()} {
		valid := slices.DeleteFunc(slices.Clone(t.Intermediates()), func(ca *pki.Certificate) bool {
			return at.Before(ca.NotBefore()) || at.After(ca.NotAfter())
		})
		var err error
		if path, err = pki.Path(cert, valid, t.Roots(), at); err == nil {
			break
		}
	}
	if len(path) == 0 {
		return nil
	}
	c := &chain{path: path, lists: make([]*pki.CRL, len(path))}
	for i, member := range path {
		ca := (*pki.Certificate)(nil)
		if i+1 < len(path) {
			ca = path[i+1]
		} else {
			for _, root := range t.Roots() {
				if member.CheckSignedBy(root) == nil {
					ca = root
					break
				}
			}
		}
		if ca == nil {
			return nil
		}
		if i+1 == len(path) {
			c.production = t.Production(ca.SM3())
		}
		for _, list := range t.CRLs() {
			// Of two lists of one CA the newer counts.
			if list.CheckSignedBy(ca) == nil && (c.lists[i] == nil || list.ThisUpdate().After(c.lists[i].ThisUpdate())) {
				c.lists[i] = list
			}
		}
	}
	return c
}

// verdict of judge.
type verdict struct {
	ok     bool
	failed bool // TOTAL-FAILED rather than INDETERMINATE
	sub    SubIndication
	Sentence
}

// judge says whether the chain holds at the time at. proven means that the file is proven to have
// existed by then; otherwise at is the reader's now, and a certificate that no longer holds leaves open
// whether the file is older (ETSI EN 319 102-1, 5.2.6 and 5.6.2.2: proof of existence).
func (c *chain) judge(at time.Time, proven bool) verdict {
	for i, member := range c.path {
		ca := i > 0
		switch {
		case at.Before(member.NotBefore()) && proven && !ca:
			// It existed before the certificate did: no honest order of events makes such a file.
			return verdict{failed: true, sub: NotYetValid, Sentence: Sentence{"文件被证明的时间早于证书生效时间", "the file is proven to be older than the certificate"}}
		case at.Before(member.NotBefore()):
			return verdict{sub: OutOfBoundsNoPOE, Sentence: Sentence{"证书尚未生效", "the certificate is not valid yet"}}
		case at.After(member.NotAfter()):
			return verdict{sub: OutOfBoundsNoPOE, Sentence: Sentence{"证书已过期，且无法证明签名早于其过期", "the certificate has expired, and nothing proves that the signature is older"}}
		}
		list := c.lists[i]
		if list == nil {
			return verdict{sub: TryLater, Sentence: Sentence{"信任名录中缺少签发该证书的机构的吊销列表", "the trust file has no revocation list of the certificate's CA"}}
		}
		if revoked, yes := list.Revoked(member.SerialNumber()); yes && (!proven || !revoked.At.After(at)) {
			switch {
			case proven && compromise(revoked.Reason):
				return verdict{failed: true, sub: CertificateRevoked, Sentence: Sentence{"密钥泄露被吊销之后才证明存在的签名", "the signature is proven to exist only after the key was revoked as compromised"}}
			case ca:
				return verdict{sub: RevokedCANoPOE, Sentence: Sentence{"签发机构的证书已被吊销，且无法证明签名早于吊销", "the CA's certificate is revoked, and nothing proves that the signature is older"}}
			}
			return verdict{sub: RevokedNoPOE, Sentence: Sentence{"证书已被吊销，且无法证明签名早于吊销", "the certificate is revoked, and nothing proves that the signature is older"}}
		}
		// Looked at last: a stale list that names the certificate is still a list that names it.
		if list.NextUpdate().Before(at) {
			return verdict{sub: TryLater, Sentence: Sentence{"吊销列表已过期，需要更新的信任名录", "the revocation list is out of date: a newer trust file is needed"}}
		}
	}
	if e := c.entry; !e.In(at) {
		return verdict{sub: OutOfBoundsNoPOE, Sentence: Sentence{"信任名录规定的该证书使用期限之外", "outside of the time for which the trust file vouches for the certificate"}}
	}
	return verdict{ok: true}
}

// compromise: the reasons that mean that somebody else may have the key (RFC 5280, 5.3.1).
func compromise(r pki.Reason) bool { return r == pki.KeyCompromise || r == pki.CACompromise }

// known finds certificates that were parsed already: those of the trust file.
func (v *Verifier) known(sum [32]byte) *pki.Certificate {
	if e, ok := v.trust.Certificate(sum); ok {
		return e.Certificate
	}
	for _, ca := range v.trust.Intermediates() {
		if ca.SM3() == sum {
			return ca
		}
	}
	return nil
}

// compromised reports whether a certificate of the path is revoked as compromised, at any time: whoever
// has such a key can write any time into a cosignature.
func (c *chain) compromised() bool {
	for i, member := range c.path {
		if c.lists[i] == nil {
			continue
		}
		if revoked, yes := c.lists[i].Revoked(member.SerialNumber()); yes && compromise(revoked.Reason) {
			return true
		}
	}
	return false
}
