package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/licence"
)

// refusedShown is how many refusals ledger status names; a ledger that refuses more has one cause, not many.
const refusedShown = 100

// refusalRow is one step that was recorded here and that the ledger refused: it has not happened. Problem says what a
// person has to put right because of it.
type refusalRow struct {
	Number    string        `json:"number"`
	Step      string        `json:"step"`
	Rule      string        `json:"rule"`
	Words     licence.Text  `json:"words"`
	At        time.Time     `json:"at"`
	Actor     string        `json:"actor"`
	Status    string        `json:"status"` // of the licence, now
	Successor string        `json:"successor,omitempty"`
	Problem   *licence.Text `json:"problem,omitempty"`
}

// refusals names what the ledger refused, newest first.
func (i *installation) refusals(ctx context.Context) ([]refusalRow, error) {
	steps, err := i.db.Refused(ctx, refusedShown)
	if err != nil {
		return nil, err
	}
	rows := []refusalRow{}
	for _, s := range steps {
		row := refusalRow{Number: s.Number, Step: s.Kind, Rule: s.Rule, At: s.At.In(i.zone), Actor: s.Actor,
			Status: s.Status.String(), Successor: s.Successor, Problem: problemOf(s)}
		for _, r := range contract.Rules() {
			if r.Rule == s.Rule {
				row.Words = licence.Text{ZH: r.ZH, EN: r.EN}
			}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// problemOf says what does not put itself right. A hand-over or a registration that was refused is simply taken again.
func problemOf(s issuing.RefusedStep) *licence.Text {
	switch kind := contract.Kind(s.Kind); {
	case kind == contract.Issued:
		return &licence.Text{
			ZH: "账本不认这份证照，不会有回执：查明签发机构为何未登记，另行签发",
			EN: "for the ledger this licence does not exist and gets no receipt: find out why its issuer may not sign, then issue anew",
		}
	case kind == contract.Superseded && s.Status == issuing.InForce && s.Successor != "":
		return &licence.Text{
			ZH: fmt.Sprintf("它与代替它的 %s 同时有效：撤销其一，通常撤销旧证（事由 duplicate）", s.Successor),
			EN: fmt.Sprintf("it and its successor %s are both in force: revoke one of them, as a rule the old one (reason duplicate)", s.Successor),
		}
	case kind == contract.Revoked && s.Status == issuing.InForce:
		return &licence.Text{
			ZH: "撤销未生效，证照仍有效：再次撤销",
			EN: "it was not revoked and is in force: revoke it again",
		}
	}
	return nil
}

func printRefusals(w io.Writer, rows []refusalRow) {
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(w, "账本拒绝 refused by the ledger: %d\n", len(rows))
	for _, r := range rows {
		fmt.Fprintf(w, "  %s  %s  %s: %s / %s\n", r.At.Format("2006-01-02 15:04:05"), r.Number, r.Step, r.Words.ZH, r.Words.EN)
		if r.Problem != nil {
			fmt.Fprintf(w, "    ! %s / %s\n", r.Problem.ZH, r.Problem.EN)
		}
	}
}
