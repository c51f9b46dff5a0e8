package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/fabric/replay"
	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/elicence/elicence/verify/trust"
)

// auditReport is what ledger audit answers.
type auditReport struct {
	Clean    bool                `json:"clean"`
	Entries  uint64              `json:"entries"`
	Cosigned uint64              `json:"cosigned"` // size of the largest checkpoint that enough trusted parties cosigned
	Licences int                 `json:"licences"`
	Lag      int                 `json:"lag"`
	Trail    int                 `json:"auditRows"`
	Anchors  int                 `json:"auditAnchors"` // heads of the trail that stand on the log
	Problem  string              `json:"problem,omitempty"`
	Log      *ledger.AuditReport `json:"log,omitempty"`
	Chain    *replay.Report      `json:"chain,omitempty"` // on Fabric, if the log is clean
}

// audit replays the log, holds it against every checkpoint that anybody here has kept, then checks that each issued
// licence's events stand in it, and that the audit trail's chain is whole. The first thing that does not fit is named.
func (i *installation) audit(ctx context.Context) (auditReport, error) {
	var r auditReport
	var err error
	if r.Log, err = i.auditLog(ctx); err != nil {
		return r, err
	}
	r.Entries, r.Cosigned = r.Log.Entries, r.Log.Cosigned
	if r.Lag, err = i.db.PendingCount(ctx); err != nil {
		return r, err
	}
	if m := r.Log.Misfit; m != nil {
		r.Problem = fmt.Sprintf("条目 entry %d: %s: %s / %s", m.Index, m.Rule, m.ZH, m.EN)
		return r, nil
	}
	known := map[[32]byte]bool{}
	if r.Licences, r.Problem, err = i.auditLicences(ctx, known); err != nil || r.Problem != "" {
		return r, err
	}
	if !i.ledger.signs() {
		known = nil // who follows has the log of all, and the records of nobody else
	}
	var anchors trailAnchors
	if anchors, r.Problem, err = i.auditEntries(ctx, r.Entries, known); err != nil || r.Problem != "" {
		return r, err
	}
	if known == nil {
		anchors = trailAnchors{} // they are of the registrar's trail
	}
	broken, rows, err := i.db.CheckChain(ctx)
	if err != nil {
		return r, err
	}
	r.Trail = rows
	if broken != 0 {
		r.Problem = fmt.Sprintf("审计记录 %d 与链不符 / row %d of the audit trail does not fit its chain", broken, broken)
		return r, nil
	}
	r.Anchors = len(anchors.heads)
	if r.Problem, err = anchors.misfit(ctx, i); err != nil || r.Problem != "" {
		return r, err
	}
	r.Clean = true
	return r, nil
}

// auditLog replays the log and holds it against every checkpoint that anybody here has kept.
func (i *installation) auditLog(ctx context.Context) (*ledger.AuditReport, error) {
	if err := i.ledger.open(ctx); err != nil {
		return nil, err
	}
	in, err := i.ledger.entries.Audited(ctx)
	if err != nil {
		return nil, err
	}
	t, err := i.readTrust()
	if err != nil {
		return nil, err
	}
	in.Trust = ledgerTrust(t)
	if in.Known, err = i.knownCheckpoints(); err != nil {
		return nil, err
	}
	return ledger.Audit(ctx, in)
}

// auditLicences holds the records against the log: an event that the records call sequenced must be the entry there. The
// licences' handles are left in known.
func (i *installation) auditLicences(ctx context.Context, known map[[32]byte]bool) (count int, problem string, err error) {
	err = i.each(ctx, nil, func(l issuing.Licence) {
		count++
		known[l.Handle] = true
		if problem != "" || err != nil {
			return
		}
		var events []issuing.Event
		if events, err = i.db.EventsOf(ctx, l.ID); err != nil {
			return
		}
		if len(events) == 0 {
			problem = fmt.Sprintf("%s 没有签发事件 / %s is issued and has no event", l.Number, l.Number)
			return
		}
		if problem = statusMisfit(l, events); problem != "" {
			// A step may have come between the two readings.
			if l, err = i.db.ByID(ctx, l.ID); err != nil {
				return
			}
			if problem = statusMisfit(l, events); problem != "" {
				return
			}
		}
		for _, e := range events {
			if e.Index == nil {
				continue
			}
			index, found, ierr := i.db.IndexOf(ctx, e.Hash)
			if ierr != nil {
				err = ierr
				return
			}
			if !found || index != *e.Index {
				problem = fmt.Sprintf("%s 的事件 %s 不在账本第 %d 条 / its event %s is not entry %d of the log", l.Number, e.Kind, *e.Index, e.Kind, *e.Index)
				return
			}
		}
	})
	return count, problem, err
}

// auditEntries holds the log against the records: what the log says was issued must be there, unless known is nil.
// The anchors of the audit trail that it meets are returned.
func (i *installation) auditEntries(ctx context.Context, size uint64, known map[[32]byte]bool) (anchors trailAnchors, problem string, err error) {
	for from := uint64(0); from < size; from += sequenceBatch {
		entries, err := i.db.Entries(ctx, from, min(from+sequenceBatch, size))
		if err != nil {
			return anchors, "", err
		}
		for n, b := range entries {
			signed, err := contract.ParseEvent(b)
			if err != nil {
				return anchors, "", err
			}
			index, e := from+uint64(n), signed.Event
			switch {
			case e.Kind == contract.Issued && known != nil && !known[e.Handle]:
				return anchors, fmt.Sprintf("条目 entry %d: 记录中没有这份已签发的证照 / the records lack the licence that was issued there", index), nil
			case e.Kind == contract.AuditAnchored && e.Actor == i.config.Registrar:
				anchors.entries, anchors.heads = append(anchors.entries, index), append(anchors.heads, e.Anchor)
			}
		}
	}
	return anchors, "", nil
}

// anchorsOnLog are the heads of this installation's audit trail that the first size entries of the log have.
func (i *installation) anchorsOnLog(ctx context.Context, size uint64) (trailAnchors, error) {
	anchors, _, err := i.auditEntries(ctx, size, nil)
	return anchors, err
}

// statusMisfit holds the status that the records give, and the status list publishes, to what the licence's own signed
// events say. It returns "" when they agree.
func statusMisfit(l issuing.Licence, events []issuing.Event) string {
	raw := make([][]byte, len(events))
	for n := range events {
		raw[n] = events[n].Bytes
	}
	view, err := contract.Replay(raw)
	if err != nil {
		return fmt.Sprintf("%s 的事件前后不连 / the events of %s form no history: %v", l.Number, l.Number, err)
	}
	said := issuing.InForce
	switch {
	case view.Revoked != "":
		said = issuing.Revoked
	case view.Superseded != "":
		said = issuing.Superseded
	}
	if said != l.Status {
		return fmt.Sprintf("%s 的状态与其事件不符 / %s is %s by its records and %s by its signed events", l.Number, l.Number, l.Status, said)
	}
	return ""
}

// knownCheckpoints are what the cosigners here have kept. Reading needs their certificates and no key.
func (i *installation) knownCheckpoints() ([][]byte, error) {
	var known [][]byte
	for _, code := range i.config.Ledger.Cosigners {
		note, err := i.lastCosigned(code)
		if err != nil {
			return nil, err
		}
		if note != nil {
			known = append(known, note.Encode())
		}
	}
	return known, nil
}

func (i *installation) cosignerState(code string) string {
	return filepath.Join(i.dir, "cosigners", code+".checkpoint")
}

func (i *installation) checkpointCertificate(organisation string) (*pki.Certificate, error) {
	for _, e := range i.keyring.all() {
		if e.organisation == organisation && e.certificate.Purpose() == purpose.Checkpoints {
			return e.certificate, nil
		}
	}
	return nil, fmt.Errorf("%w: %s has no certificate for checkpoints", issuing.ErrKey, organisation)
}

// ledgerTrust is the ledger's view of a trust file.
func ledgerTrust(t *trust.File) ledger.Trust {
	out := ledger.Trust{Needed: t.CosignaturesNeeded()}
	for _, l := range t.Content().Logs {
		if e, ok := t.Certificate(l.Certificate); ok {
			out.Logs = append(out.Logs, ledger.Party{Name: l.Origin, Certificate: e.Certificate})
		}
	}
	for _, c := range t.Cosigners() {
		out.Cosigners = append(out.Cosigners, ledger.Party{Name: c.Name, Certificate: c.Certificate})
	}
	return out
}
