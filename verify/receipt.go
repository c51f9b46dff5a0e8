package verify

import (
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/emmansun/gmsm/sm3"

	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/signer/credential"
	"github.com/elicence/elicence/signer/purpose"
)

// vouched is what the signatures on one checkpoint are worth under the trust file, whoever's event is asked
// about. Receipts of one batch share their checkpoint, so it is worth remembering.
type vouched struct {
	log  *chain
	good []voucher // earliest first
	err  error     // why the log's own signature does not count
}

type voucher struct {
	organisation string
	at           time.Time
	issuer       Issuer
}

// maxRemembered bounds each memory of the verifier, in entries.
const maxRemembered = 4096

// receipt asks the receipt for a time: the event must be this licence's issue by its issuer, must commit to
// exactly this file, and enough organisations other than the issuer must have cosigned the log with it. A
// receipt that was given and proves nothing leaves the answer open; it cannot make a good file a bad one.
func (x *run) receipt(file, text []byte) {
	if x.self || len(text) == 0 {
		return
	}
	r, err := ledger.ParseReceipt(text)
	if err != nil {
		x.noProof("回执不符合格式", "the receipt breaks its format")
		return
	}
	signed, err := contract.ParseEvent(r.Event)
	if err != nil {
		x.noProof("回执中的事件不符合格式", "the event in the receipt breaks its format")
		return
	}
	e := &signed.Event
	whole, err := x.doc.SM3(file)
	if err != nil {
		x.noProof("文件摘要无法计算", "the digest of the file cannot be computed")
		return
	}
	commitment := credential.PartCommitment(x.part.PartSalt, whole, x.part.Identifier, x.part.Part)
	switch {
	case e.Kind != contract.Issued || e.Handle != x.part.Handle:
		x.noProof("回执属于另一份证照", "the receipt is another licence's", "event", digest(signed.Hash))
		return
	case e.Actor != x.cred.Payload.Issuer:
		x.noProof("回执中的签发事件不是该签发机构作出的", "the event in the receipt was not made by the issuer", "actor", e.Actor)
		return
	case len(e.Parts) != x.cred.Payload.Parts || !slices.ContainsFunc(e.Parts, func(p contract.PartCommitment) bool {
		return p.Part == x.part.Part && p.Commitment == commitment
	}):
		x.noProof("回执中的承诺值不是该文件的", "the commitment in the receipt is not this file's", "commitment", digest(commitment))
		return
	}
	if zh, en := x.v.actor(signed); en != "" {
		x.noProof(zh, en)
		return
	}
	if r.Included() != nil {
		x.noProof("回执中的路径不通往日志的根", "the receipt's path does not lead to the log's root")
		return
	}
	c := x.v.checkpoint(r.Note)
	if c.err != nil {
		x.noProof("回执不属于信任名录所列的日志", "the receipt is not of a log that the trust file lists", "log", r.Note.Checkpoint.Origin)
		return
	}
	x.vouch(r, signed, c)
}

// vouch counts the cosignatures. The needed one that came last is the time that is proven: by then all of
// them had seen the event.
func (x *run) vouch(r *ledger.Receipt, signed *contract.Signed, c *vouched) {
	needed := x.v.trust.CosignaturesNeeded()
	seen := map[string]bool{x.cred.Payload.Issuer: true}
	var by []Issuer
	var at time.Time
	for _, g := range c.good {
		if len(by) < needed && !seen[g.organisation] {
			seen[g.organisation] = true
			by, at = append(by, g.issuer), g.at
		}
	}
	if needed < 1 || len(by) < needed {
		x.noProof("共签的可信机构不足，时间未被证明", "too few trusted organisations have cosigned: no time is proven",
			"cosigned", strconv.Itoa(len(by)), "needed", strconv.Itoa(needed))
		return
	}
	if at.After(x.now.Add(clockTolerance)) {
		x.noProof("共签时间在将来", "the cosignatures are dated in the future", "at", stamp(at))
		return
	}
	// Log and actor are judged at the proven time; an outdated revocation list is reported with the
	// signing certificate.
	event := x.v.chain(signed.Certificate)
	for _, ch := range []*chain{event, c.log} {
		if j := ch.judge(at, true); !j.ok && j.sub != TryLater {
			x.noProof("事件或日志的证书在被证明的时间无效", "the certificate of event or log was not valid at the proven time", "at", stamp(at))
			return
		}
	}
	x.r.ProvenAt, x.r.ProvenBy = at.In(zone), by
	x.r.Anchor = &Anchor{Log: r.Note.Checkpoint.Origin, Index: r.Index, Event: digest(signed.Hash)}
	x.pass("receipt", Authenticity, "回执证明文件在此时间之前已存在", "the receipt proves that the file existed by this time",
		"at", stamp(at), "log", r.Note.Checkpoint.Origin, "index", strconv.FormatUint(r.Index, 10), "event", digest(signed.Hash))
}

func (x *run) noProof(zh, en string, evidence ...string) {
	x.unsure("receipt", Authenticity, SigConstraintsFailure, zh, en, evidence...)
}

// actor checks that the event is signed under a listed event certificate of the organisation that it names;
// both texts are empty if so.
func (v *Verifier) actor(s *contract.Signed) (zh, en string) {
	entry, listed := v.trust.Certificate(s.Certificate)
	if !listed || entry.Purpose != purpose.Events || entry.Organisation.Code != s.Event.Actor || v.chain(s.Certificate) == nil {
		return "回执中事件的签名证书不可信", "the event in the receipt is signed under a certificate that is not trusted"
	}
	if v.remembers(s.Hash) {
		return "", ""
	}
	if s.Verify(entry.Certificate) != nil {
		return "回执中事件的签名无效", "the signature of the event in the receipt does not verify"
	}
	v.remember(s.Hash)
	return "", ""
}

var errLog = errors.New("not a listed log's checkpoint")

// checkpoint says what a checkpoint's signatures are worth.
func (v *Verifier) checkpoint(n *ledger.Note) *vouched {
	key := sm3.Sum(n.Encode())
	v.mu.Lock()
	c, known := v.checkpoints[key]
	v.mu.Unlock()
	if known {
		return c
	}
	c = v.weigh(n)
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.checkpoints) >= maxRemembered {
		clear(v.checkpoints)
	}
	v.checkpoints[key] = c
	return c
}

func (v *Verifier) weigh(n *ledger.Note) *vouched {
	c := &vouched{err: errLog}
	for _, entry := range v.trust.Logs(n.Checkpoint.Origin) {
		if n.VerifyLog(entry.Certificate) == nil {
			if c.log = v.chain(entry.Certificate.SM3()); c.log != nil {
				c.err = nil
				break
			}
		}
	}
	if c.err != nil {
		return c
	}
	for _, s := range v.trust.Cosigners() {
		at, err := n.VerifyCosignature(s.Name, s.Certificate)
		if err != nil {
			continue
		}
		// Whoever has stolen a cosigner's key can write any time: such a key proves none at all.
		ch := v.chain(s.Certificate.SM3())
		if ch == nil || ch.compromised() {
			continue
		}
		if j := ch.judge(at, true); !j.ok && j.sub != TryLater {
			continue
		}
		c.good = append(c.good, voucher{organisation: s.Organisation.Code, at: at, issuer: issuerOf(s.Organisation)})
	}
	slices.SortStableFunc(c.good, func(a, b voucher) int { return a.at.Compare(b.at) })
	return c
}
