package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/verify"
	"github.com/elicence/elicence/verify/trust"
)

// firsts are the demo's licences of the births file that are still in force, in the order of their making.
func (d *demo) firsts(ctx context.Context) ([]issuing.Licence, error) {
	var found []issuing.Licence
	inForce := issuing.InForce
	after := ""
	for {
		page, err := d.i.db.List(ctx, issuing.Filter{Stage: issuing.StageIssued, Kind: licence.KindFirst, Status: &inForce}, after, 256)
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			return found, nil
		}
		for _, l := range page {
			if slices.Contains(l.Parts, "counterfoil") { // what somebody else issued here is not the demo's to hand over
				found = append(found, l)
			}
		}
		after = page[len(page)-1].ID
	}
}

// turn is a licence's place in the births file, from its business id: what happens to a child must not depend on which
// others are still in force when the demo is run again.
func turn(l issuing.Licence) int {
	n, digits := 0, l.BusinessID[strings.LastIndexByte(l.BusinessID, '-')+1:]
	for _, c := range digits {
		n = n*10 + int(c-'0')
	}
	return n
}

// took reports whether the licence has had a step of this kind already, in this run or an earlier one.
func (d *demo) took(ctx context.Context, l issuing.Licence, kinds ...contract.Kind) (bool, error) {
	events, err := d.i.db.EventsOf(ctx, l.ID)
	if err != nil {
		return false, err
	}
	for _, e := range events {
		if slices.Contains(kinds, contract.Kind(e.Kind)) {
			return true, nil
		}
	}
	return false, nil
}

// handOver offers every counterfoil: two thirds to the city archives, which verify and accept, the others to the
// district archives, which reject every fifth with a reason.
func (d *demo) handOver(ctx context.Context, _ []string) error {
	found, err := d.firsts(ctx)
	if err != nil {
		return err
	}
	receiver := func(l issuing.Licence) licence.Organisation {
		if turn(l)%3 == 2 {
			return d.cast.districtArchive
		}
		return d.cast.cityArchive
	}
	if err := d.measure("移交副页 hand over", func(item func(time.Duration)) error {
		for _, l := range found {
			if done, err := d.took(ctx, l, contract.HandedOver); err != nil || done {
				if err != nil {
					return err
				}
				continue
			}
			if err := timed(item, func() error {
				_, err := d.i.service.Take(ctx, issuing.Move{Kind: contract.HandedOver, Number: l.Number, Actor: l.Issuer,
					Part: "counterfoil", Counterparty: receiver(l).Code}, d.i.whoIs(ctx, actor{licence.Organisation{Code: l.Issuer}, "stock-1"}))
				return err
			}); err != nil {
				return err
			}
		}
		return d.i.ledger.catchUp(ctx)
	}); err != nil {
		return err
	}
	v, err := d.i.currentVerifier(ctx)
	if err != nil {
		return err
	}
	return d.measure("接收或退回 accept or reject", func(item func(time.Duration)) error {
		for _, l := range found {
			if err := d.answerOffer(ctx, v, l, receiver(l), item); err != nil {
				return err
			}
		}
		return d.i.ledger.catchUp(ctx)
	})
}

// answerOffer accepts after verifying, or rejects; the district archives miss a form in every fifth file.
func (d *demo) answerOffer(ctx context.Context, v *verify.Verifier, l issuing.Licence, to licence.Organisation, item func(time.Duration)) error {
	reject := to.Code == d.cast.districtArchive.Code && turn(l)%5 == 0
	if reject {
		d.tour.Archivist.Rejected++
		d.tour.Archivist.RejectedExample = l.Number
	} else {
		d.tour.Archivist.Accepted++
		d.tour.Archivist.Example = l.Number
	}
	if done, err := d.took(ctx, l, contract.Accepted, contract.Rejected); err != nil || done {
		return err
	}
	by := actor{to, "archivist-1"}
	move := issuing.Move{Kind: contract.Accepted, Number: l.Number, Actor: to.Code, Part: "counterfoil"}
	if reject {
		move.Kind, move.Reason = contract.Rejected, "incomplete"
		move.Note, move.NoteName = []byte("缺少《首次签发登记表》扫描件"), "rejection"
	}
	return timed(item, func() error {
		if !reject {
			if err := d.i.demandEvidenceWith(ctx, v, l.Number, "counterfoil", evidence{}, by); err != nil {
				return err
			}
		}
		_, err := d.i.service.Take(ctx, move, d.i.whoIs(ctx, by))
		return err
	})
}

// registerHouseholds: the police verify the main page with its receipt and register three of four.
func (d *demo) registerHouseholds(ctx context.Context, _ []string) error {
	found, err := d.firsts(ctx)
	if err != nil {
		return err
	}
	v, err := d.i.currentVerifier(ctx)
	if err != nil {
		return err
	}
	by := actor{d.cast.police, "officer-1"}
	return d.measure("户口登记 register", func(item func(time.Duration)) error {
		for _, l := range found {
			if turn(l)%4 == 3 {
				continue
			}
			d.tour.Police.Registered++
			d.tour.Police.Example = l.Number
			if done, err := d.took(ctx, l, contract.Registered); err != nil || done {
				if err != nil {
					return err
				}
				continue
			}
			if err := timed(item, func() error {
				note, err := json.Marshal(registration{Station: "示范派出所"})
				if err != nil {
					return err
				}
				_, err = d.i.register(ctx, v, l.Number, by, evidence{}, note)
				return err
			}); err != nil {
				return err
			}
		}
		return d.i.ledger.catchUp(ctx)
	})
}

// changes: one exchange (the child's name is corrected), one replacement (the family lost it), one revocation.
func (d *demo) changes(ctx context.Context, _ []string) error {
	if found, err := d.i.db.ByBusinessID(ctx, "", "D-EXCHANGE-1"); err != nil || len(found) > 0 {
		return err
	}
	found, err := d.firsts(ctx)
	if err != nil {
		return err
	}
	if len(found) < 12 {
		return nil // a short births file has nobody to spare
	}
	return d.measure("换发补发撤销 exchange, replace, revoke", func(item func(time.Duration)) error {
		exchanged, replaced, revoked := found[3], found[7], found[11]
		if err := timed(item, func() error {
			return d.reissue(ctx, exchanged, "D-EXCHANGE-1", licence.KindExchange, "wrong-content", []byte(`{"child":{"lengthCentimetres":49}}`))
		}); err != nil {
			return fmt.Errorf("exchange: %w", err)
		}
		if err := timed(item, func() error {
			return d.reissue(ctx, replaced, "D-REPLACE-1", licence.KindReplacement, "lost", nil)
		}); err != nil {
			return fmt.Errorf("replace: %w", err)
		}
		if err := timed(item, func() error {
			_, err := d.i.service.Take(ctx, issuing.Move{Kind: contract.Revoked, Number: revoked.Number, Actor: d.cast.commission.Code,
				Reason: "wrongly-issued", NoteName: "revocation"}, d.i.whoIs(ctx, actor{d.cast.commission, "supervisor-1"}))
			return err
		}); err != nil {
			return fmt.Errorf("revoke: %w", err)
		}
		d.tour.Commission.Exchanged, d.tour.Commission.Replaced, d.tour.Commission.Revoked = exchanged.Number, replaced.Number, revoked.Number
		if err := d.i.ledger.catchUp(ctx); err != nil {
			return err
		}
		return d.i.publishStatus(ctx)
	})
}

// reissue exchanges or replaces one licence; for an exchange every part that the family still holds has come back.
func (d *demo) reissue(ctx context.Context, old issuing.Licence, business, kind, grounds string, changes []byte) error {
	issuer, err := d.i.db.Organisation(ctx, old.Issuer)
	if err != nil {
		return err
	}
	var returned []string
	if kind == licence.KindExchange {
		returned = []string{"main", "counterfoil"}
	}
	request, err := d.i.reissueRequest(ctx, old.Number, changes, reissueFields(kind, old.Number, business, grounds, returned))
	if err != nil {
		return err
	}
	_, err = d.issueOne(ctx, request, issuer)
	return err
}

// papers writes what the tour shows beside the licence itself: the mother's slip and the verdict that the police saw.
func (d *demo) papers(ctx context.Context, l issuing.Licence) error {
	folder := filepath.Join(d.app.data, "tour")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	if err := d.i.db.Record(ctx, d.i.reading(ctx, actor{}, "slip", l.ID, "demonstration")); err != nil {
		return err
	}
	slip, err := d.i.service.Slip(l)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, "slip.pdf"), slip, 0o644); err != nil {
		return err
	}
	v, err := d.app.offlineVerifier(filepath.Join(d.app.data, "export", "trust.json"), d.tour.Pin, "", 7*24*time.Hour)
	if err != nil {
		return err
	}
	r, err := verifyFile(ctx, v, d.tour.Example, "")
	if err != nil {
		return err
	}
	var verdict bytes.Buffer
	if err := r.WriteText(&verdict, true); err != nil {
		return err
	}
	d.tour.Verdict = verdict.String()
	d.tour.Picture = picture(ctx, d.tour.Example, folder)
	return os.WriteFile(filepath.Join(folder, "verdict.txt"), verdict.Bytes(), 0o644)
}

// picture draws the first page with poppler, where that is installed: a page is quicker to look at than to open. Without
// it the tour shows the PDF itself.
func picture(ctx context.Context, pdf, folder string) string {
	if exec.CommandContext(ctx, "pdftoppm", "-singlefile", "-r", "110", "-png", pdf, filepath.Join(folder, "page")).Run() != nil {
		return ""
	}
	return "page.png"
}

// forgery is one attempt and what the verifier said.
type forgery struct {
	Name, NameEN string
	File         string // relative to the tour
	Refused      bool
	Verdict      string
	VerdictEN    string
}

// forgeries: a tampered copy, a stranger's signature, a self-made trust file. Each must be refused, or the demo fails.
func (d *demo) forgeries(ctx context.Context, lines []string) error {
	export := filepath.Join(d.app.data, "export")
	found, err := d.firsts(ctx)
	if err != nil {
		return err
	}
	numbers := make([]string, 0, len(found))
	for _, l := range found {
		numbers = append(numbers, l.Number)
	}
	if _, err := d.i.export(ctx, nil, export, "demonstration", nil); err != nil { // with the changed statuses
		return err
	}
	pin, err := d.i.pin()
	if err != nil {
		return err
	}
	d.tour.Pin, d.tour.ExampleNumber = pin.String(), numbers[0]
	d.tour.Example = filepath.Join(export, numbers[0]+"-main.pdf")
	good, err := os.ReadFile(d.tour.Example)
	if err != nil {
		return err
	}
	if err := d.papers(ctx, found[0]); err != nil {
		return err
	}
	folder := filepath.Join(d.app.data, "tour", "forged")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	return d.measure("拒绝伪造 forgeries refused", func(item func(time.Duration)) error {
		v, err := d.app.offlineVerifier(filepath.Join(export, "trust.json"), pin.String(), "", 7*24*time.Hour)
		if err != nil {
			return err
		}
		tampered := bytes.Clone(good)
		tampered[len(tampered)/3] ^= 1
		if err := d.forged(ctx, item, v, folder, "tampered.pdf", "改动一个比特的副本", "a copy with one bit changed", tampered); err != nil {
			return err
		}
		stranger, trustFile, err := d.stranger(ctx, lines[0], d.cast.hospitals[0])
		if err != nil {
			return err
		}
		if err := d.forged(ctx, item, v, folder, "stranger.pdf", "陌生人签名的证照", "a licence signed by a stranger", stranger); err != nil {
			return err
		}
		path := filepath.Join(folder, "self-made-trust.json")
		if err := os.WriteFile(path, trustFile, 0o644); err != nil {
			return err
		}
		return timed(item, func() error {
			_, err := d.app.offlineVerifier(path, pin.String(), "", 7*24*time.Hour)
			if err == nil {
				return errors.New("a self-made trust file was not refused")
			}
			if !errors.Is(err, trust.ErrPin) {
				return fmt.Errorf("a self-made trust file was refused for another reason: %w", err)
			}
			d.tour.Forgeries = append(d.tour.Forgeries, forgery{Name: "自制的信任名录", NameEN: "a self-made trust file", File: "forged/self-made-trust.json",
				Refused: true, Verdict: "不是所认定的运营方签发，拒绝使用", VerdictEN: err.Error()})
			return nil
		})
	})
}

func (d *demo) forged(ctx context.Context, item func(time.Duration), v *verify.Verifier, folder, file, name, english string, b []byte) error {
	if err := os.WriteFile(filepath.Join(folder, file), b, 0o644); err != nil {
		return err
	}
	return timed(item, func() error {
		r := v.File(ctx, b, nil)
		if r.Good() {
			return fmt.Errorf("%s was not refused", file)
		}
		d.tour.Forgeries = append(d.tour.Forgeries, forgery{Name: name, NameEN: english, File: "forged/" + file, Refused: true,
			Verdict:   fmt.Sprintf("%s %s：%s", r.Signature.Indication, r.Signature.SubIndication, r.Signature.ZH),
			VerdictEN: r.Signature.EN})
		return nil
	})
}

// stranger builds what a forger with our whole program could build: an installation of the same names with its own
// authority, the same birth signed there, and a trust file that says all this is good.
func (d *demo) stranger(ctx context.Context, line string, hospital licence.Organisation) (file, trustFile []byte, err error) {
	dir, err := os.MkdirTemp("", "elicence-stranger-*")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	forger := *d.app
	forger.data, forger.stderr, forger.passphraseFile = filepath.Join(dir, "data"), io.Discard, ""
	forger.recordsURL = ""
	forger.shared = newKeystores()
	defer forger.shared.close()
	cast := d.cast
	cast.hospitals, cast.agencies = []licence.Organisation{hospital}, nil
	if err := forger.initialise(ctx, cast); err != nil {
		return nil, nil, err
	}
	theirs := &demo{app: &forger, cast: cast}
	if err := theirs.open(ctx); err != nil {
		return nil, nil, err
	}
	defer theirs.close()
	request, err := withBusinessID(line, "FORGED-1", hospital)
	if err != nil {
		return nil, nil, err
	}
	l, err := theirs.issueOne(ctx, request, hospital)
	if err != nil {
		return nil, nil, err
	}
	if file, err = theirs.i.service.Part(ctx, l, "main"); err != nil {
		return nil, nil, err
	}
	trustFile, err = os.ReadFile(filepath.Join(forger.data, "publish", "trust.json"))
	return file, trustFile, err
}

// books prints nothing; it fails the demo unless the year table of every issuer balances and the ledger replays.
func (d *demo) books(ctx context.Context, _ []string) error {
	types, err := d.i.stockTypes()
	if err != nil {
		return err
	}
	var rows []yearRow
	for _, typ := range types {
		table, err := d.i.yearTables(ctx, typ, d.app.now().In(d.i.zone).Year(), "")
		if err != nil {
			return err
		}
		for _, r := range table {
			if !r.Balanced {
				return fmt.Errorf("%s: %s", r.Name, r.Problem)
			}
		}
		if typ == nationalType {
			rows = table
		}
	}
	d.tour.Commission.Rows = rows
	return d.measure("账本审计 ledger audit", func(item func(time.Duration)) error {
		return timed(item, func() error {
			report, err := d.i.audit(ctx)
			if err != nil {
				return err
			}
			if !report.Clean {
				return errors.New(report.Problem)
			}
			d.tour.Entries = report.Entries
			return nil
		})
	})
}
