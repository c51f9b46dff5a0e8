package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/licence"
)

// historyView is what ledger history answers: every step of one licence. Nothing in it is personal.
type historyView struct {
	Number     string     `json:"number,omitempty"` // empty if it was asked for by its handle
	Handle     string     `json:"handle"`
	Replaces   string     `json:"replaces,omitempty"`
	ReplacedBy string     `json:"replacedBy,omitempty"`
	Steps      []stepView `json:"steps"`
}

// stepView is one step. It is in the log (Index), waits for it, or was refused (Refusal), and then it has not happened.
type stepView struct {
	Kind         string        `json:"kind"`
	Words        licence.Text  `json:"words"`
	At           time.Time     `json:"at"`
	Actor        string        `json:"actor"` // organisation code
	ActorName    string        `json:"actorName,omitempty"`
	Parts        []string      `json:"parts,omitempty"`
	Counterparty string        `json:"counterparty,omitempty"`
	ReceiverName string        `json:"counterpartyName,omitempty"`
	Reason       string        `json:"reason,omitempty"`
	Successor    string        `json:"successor,omitempty"` // handle
	Index        *uint64       `json:"index,omitempty"`
	Hash         string        `json:"hash"`
	Refusal      string        `json:"refusal,omitempty"`
	Refused      *licence.Text `json:"refused,omitempty"`
}

// stepWords are the steps of a licence for people.
var stepWords = map[contract.Kind]licence.Text{
	contract.Issued:     {ZH: "签发", EN: "issued"},
	contract.HandedOver: {ZH: "移交", EN: "handed over"},
	contract.Accepted:   {ZH: "接收", EN: "accepted"},
	contract.Rejected:   {ZH: "退回", EN: "sent back"},
	contract.Registered: {ZH: "户口登记", EN: "household registered"},
	contract.Superseded: {ZH: "由新证代替", EN: "superseded"},
	contract.Revoked:    {ZH: "撤销", EN: "revoked"},
}

func (a *app) ledgerHistory() *cobra.Command {
	return &cobra.Command{
		Use: "history NUMBER", Short: "历史 · every step of one licence in order, as the ledger has it",
		Long: `History shows each step of a licence: when, by which organisation, where in the log. What is recorded here is held
against the log. A step that waits for the ledger, or that it refused, is shown as such. Nothing personal is shown.

An organisation that has the log and not the licence asks with the licence's handle, 64 hexadecimal digits, in place of the
number: then the whole log is searched.`,
		Example: "  elicence ledger history X000000001\n  elicence ledger history X000000001 --json", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			i, err := a.openForReading(cmd.Context())
			if err != nil {
				return err
			}
			defer i.close()
			v, err := i.history(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.tell(v, func(w io.Writer) { printHistory(w, v) })
		},
	}
}

func (i *installation) history(ctx context.Context, what string) (historyView, error) {
	if b, err := hex.DecodeString(what); err == nil && len(b) == 32 {
		return i.historyByHandle(ctx, [32]byte(b))
	}
	l, err := i.db.ByNumber(ctx, what)
	if err != nil {
		return historyView{}, err
	}
	v := historyView{Number: l.Number, Handle: hex.EncodeToString(l.Handle[:]), Replaces: l.Replaces, ReplacedBy: l.ReplacedBy, Steps: []stepView{}}
	events, err := i.db.HistoryOf(ctx, l.ID)
	if err != nil {
		return v, err
	}
	for _, e := range events {
		if e.Index != nil {
			entries, err := i.db.Entries(ctx, *e.Index, *e.Index+1)
			if err != nil {
				return v, err
			}
			if len(entries) != 1 || !bytes.Equal(entries[0], e.Bytes) {
				return v, fmt.Errorf("%w: entry %d is not the event that is recorded for %s", embedded.ErrDamaged, *e.Index, l.Number)
			}
		}
		step, err := i.historyStep(ctx, e)
		if err != nil {
			return v, err
		}
		v.Steps = append(v.Steps, step)
	}
	return v, nil
}

// historyBatch is how many entries are looked through at a time.
const historyBatch = 1024

// historyByHandle looks through the whole log.
func (i *installation) historyByHandle(ctx context.Context, handle [32]byte) (historyView, error) {
	v := historyView{Handle: hex.EncodeToString(handle[:]), Steps: []stepView{}}
	head, err := i.db.Head(ctx)
	if err != nil {
		return v, err
	}
	for from := uint64(0); from < head.Size; from += historyBatch {
		entries, err := i.db.Entries(ctx, from, min(from+historyBatch, head.Size))
		if err != nil {
			return v, err
		}
		for n, b := range entries {
			index := from + uint64(n)
			s, err := contract.ParseEvent(b)
			if err != nil {
				return v, fmt.Errorf("%w: entry %d: %w", embedded.ErrDamaged, index, err)
			}
			if s.Event.Handle != handle || handle == [32]byte{} { // events about no licence have none
				continue
			}
			step, err := i.historyStep(ctx, issuing.Event{Hash: s.Hash, Bytes: b, Index: &index})
			if err != nil {
				return v, err
			}
			v.Steps = append(v.Steps, step)
		}
	}
	if len(v.Steps) == 0 {
		return v, fmt.Errorf("%w: the log has no licence with this handle", licence.ErrNotFound)
	}
	return v, nil
}

// historyStep reads an event for people.
func (i *installation) historyStep(ctx context.Context, e issuing.Event) (stepView, error) {
	s, err := contract.ParseEvent(e.Bytes)
	if err != nil {
		return stepView{}, fmt.Errorf("event %x: %w", e.Hash[:8], err)
	}
	v := stepView{
		Kind: string(s.Event.Kind), Words: stepWords[s.Event.Kind], At: time.UnixMicro(s.Event.Time).In(i.zone), Actor: s.Event.Actor,
		Counterparty: s.Event.Counterparty, Reason: s.Event.Reason, Index: e.Index, Hash: hex.EncodeToString(e.Hash[:]), Refusal: e.Refusal,
	}
	if v.ActorName, err = i.organisationName(ctx, v.Actor); err != nil {
		return v, err
	}
	if v.ReceiverName, err = i.organisationName(ctx, v.Counterparty); err != nil {
		return v, err
	}
	for _, p := range s.Event.Parts {
		v.Parts = append(v.Parts, p.Part)
	}
	if s.Event.Part != "" {
		v.Parts = append(v.Parts, s.Event.Part)
	}
	if s.Event.Successor != [32]byte{} {
		v.Successor = hex.EncodeToString(s.Event.Successor[:])
	}
	if e.Refusal != "" {
		v.Refused = &licence.Text{ZH: e.Refusal, EN: e.Refusal}
		for _, r := range contract.Rules() {
			if r.Rule == e.Refusal {
				v.Refused = &licence.Text{ZH: r.ZH, EN: r.EN}
			}
		}
	}
	return v, nil
}

// organisationName is "" for who is not known here.
func (i *installation) organisationName(ctx context.Context, code string) (string, error) {
	if code == "" {
		return "", nil
	}
	o, err := i.db.Organisation(ctx, code)
	if errors.Is(err, licence.ErrNotFound) {
		return "", nil
	}
	return o.Name, err
}

func printHistory(w io.Writer, v historyView) {
	if v.Number != "" {
		fmt.Fprintf(w, "编号 number %s\n", v.Number)
	}
	fmt.Fprintf(w, "句柄 handle %s\n", v.Handle)
	if v.Replaces != "" {
		fmt.Fprintf(w, "替换 replaces %s\n", v.Replaces)
	}
	if v.ReplacedBy != "" {
		fmt.Fprintf(w, "被替换 replaced by %s\n", v.ReplacedBy)
	}
	t := tabwriter.NewWriter(w, 2, 4, 2, ' ', 0)
	for _, s := range v.Steps {
		at := "未入账 not sequenced yet"
		switch {
		case s.Index != nil:
			at = fmt.Sprintf("#%d", *s.Index)
		case s.Refused != nil:
			at = fmt.Sprintf("账本拒绝，未发生 refused, has not happened: %s / %s", s.Refused.ZH, s.Refused.EN)
		}
		said := []string{strings.Join(s.Parts, "+")}
		if s.Counterparty != "" {
			said = append(said, "→ "+strings.TrimSpace(s.ReceiverName+" "+s.Counterparty))
		}
		said = append(said, s.Reason)
		fmt.Fprintf(t, "%s\t%s %s\t%s\t%s\t%s\t%s\n", s.At.Format("2006-01-02 15:04:05"), s.Words.ZH, s.Words.EN,
			strings.TrimSpace(s.ActorName+" "+s.Actor), strings.TrimSpace(strings.Join(said, " ")), at, s.Hash[:16])
	}
	t.Flush()
}
