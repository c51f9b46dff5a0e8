package verify

import (
	"fmt"
	"time"

	"github.com/elicence/elicence/verify/trust"
)

// prepareStatus checks once what does not depend on the licence: the list's signature and date. The
// certificate's right to speak for an issuer is looked up for each licence.
func (v *Verifier) prepareStatus() {
	l := v.o.Status
	if l == nil {
		v.stale = Sentence{"没有提供状态列表", "no status list was given"}
		return
	}
	e, ok := v.trust.Certificate(l.Certificate())
	if !ok {
		v.stale = Sentence{"状态列表的签名证书不在信任名录中", "the status list is signed under a certificate that the trust file does not list"}
		return
	}
	if err := l.CheckSignature(e.Certificate); err != nil {
		v.stale = Sentence{"状态列表的签名无效", "the status list's signature does not verify"}
		return
	}
	c := v.chain(l.Certificate())
	if c == nil {
		v.stale = Sentence{"状态列表的签名证书没有可信路径", "the status list's certificate has no path to a trusted root"}
		return
	}
	if j := c.judge(l.Issued(), false); !j.ok && j.sub != TryLater || c.compromised() {
		v.stale = Sentence{"状态列表的签名证书在其发布时无效或已被吊销", "the status list's certificate was not valid when the list was issued, or is revoked"}
		return
	}
	v.status = e
}

// status is the second answer. It is asked only for a credential that a listed certificate of the issuer
// has signed, and never for a file that failed: a tampered copy is not the licence, so the licence's
// state says nothing about it.
func (x *run) status() {
	s := &x.r.Status
	s.State = Unknown
	l := x.v.o.Status
	switch {
	case !x.r.Ours:
		s.Sentence = Sentence{"不是本系统的证照，状态无从查起", "not a licence of this system: it has no status here"}
		return
	case x.failed != nil:
		s.Sentence = Sentence{"签名核验未通过，不再查询状态", "the signature failed, so no status is looked up"}
		return
	case x.cred == nil || x.leaf.chain == nil || x.noStatus:
		s.Sentence = Sentence{"未能确认签发者，不再查询状态", "who issued this is not established, so no status is looked up"}
		return
	case x.v.status == nil:
		s.Sentence = x.v.stale
		return
	}
	if _, ok := x.v.trust.StatusFor(l.Certificate(), x.cred.Payload.Issuer); !ok {
		s.Sentence = Sentence{"该状态列表不适用于此签发机构", "this status list does not speak for the issuer"}
		return
	}
	asOf := l.Issued()
	age := x.now.Sub(asOf)
	if age < -clockTolerance {
		s.Sentence = Sentence{"状态列表的日期在将来", "the status list is dated in the future"}
		return
	}
	seconds := max(int64(age/time.Second), 0)
	s.AsOf, s.Age, s.List = asOf, &seconds, l.Number()
	as := stamp(asOf)
	switch word := stateWord(l.At(x.cred.Payload.StatusIndex)); word {
	case Revoked:
		// Revoked and superseded never turn back: an old list is good enough to say so.
		s.State, s.Sentence = word, Sentence{fmt.Sprintf("该证照已被撤销(截至 %s)", as), fmt.Sprintf("the licence has been revoked (as of %s)", as)}
	case Superseded:
		s.State, s.Sentence = word, Sentence{fmt.Sprintf("该证照已被换发或补发的新证取代(截至 %s)", as), fmt.Sprintf("the licence has been superseded by a newer one (as of %s)", as)}
	case InForce:
		if x.tooOld(age) {
			s.Sentence = Sentence{fmt.Sprintf("状态列表过旧(截至 %s)，需要更新的列表", as), fmt.Sprintf("the status list is too old (as of %s): a newer one is needed", as)}
			return
		}
		s.State, s.Sentence = word, Sentence{fmt.Sprintf("该证照有效(截至 %s)", as), fmt.Sprintf("the licence is in force (as of %s)", as)}
	default:
		s.Sentence = Sentence{fmt.Sprintf("状态列表未说明该证照的状态(截至 %s)", as), fmt.Sprintf("the list does not say that the licence is in force (as of %s)", as)}
	}
}

func (x *run) tooOld(age time.Duration) bool {
	if x.v.o.StatusMaxAge > 0 {
		return age > x.v.o.StatusMaxAge
	}
	return x.now.After(x.v.o.Status.Expires())
}

func issuerOf(o trust.Organisation) Issuer {
	return Issuer{Code: o.Code, Name: o.Name, Kind: o.Kind, Region: o.Region}
}
