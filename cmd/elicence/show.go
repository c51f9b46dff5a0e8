package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/licence"
)

// licenceView is what show answers. Personal fields are in it only with --fields, and then the read is audited.
type licenceView struct {
	Number     string         `json:"number"`
	Identifier string         `json:"identifier"`
	Type       string         `json:"type"`
	Kind       string         `json:"kind"`
	BusinessID string         `json:"businessId"`
	Issuer     string         `json:"issuer"`
	IssuerName string         `json:"issuerName"`
	Stage      string         `json:"stage"`
	ParkReason string         `json:"parkReason,omitempty"`
	Status     string         `json:"status"`
	Replaces   string         `json:"replaces,omitempty"`
	ReplacedBy string         `json:"replacedBy,omitempty"`
	Specimen   bool           `json:"specimen"`
	SigningAt  time.Time      `json:"signingTime"`
	Clerk      string         `json:"clerk"`
	Approver   string         `json:"approver"`
	Parts      []partView     `json:"parts"`
	Events     []eventView    `json:"events"`
	Warnings   []string       `json:"warnings,omitempty"`
	Erased     *erasedView    `json:"erased,omitempty"`
	Fields     map[string]any `json:"fields,omitempty"`
}

// erasedView says when and why the personal data of a licence were destroyed.
type erasedView struct {
	At     time.Time `json:"at,omitzero"`
	Reason string    `json:"reason,omitempty"`
}

type partView struct {
	Part    string `json:"part"`
	Holder  string `json:"holder,omitempty"`
	Pending string `json:"handedOverTo,omitempty"`
	Size    int64  `json:"size"`
	SM3     string `json:"sm3"`
	Object  string `json:"object"`
}

type eventView struct {
	Kind   string    `json:"kind"`
	At     time.Time `json:"at"`
	Actor  string    `json:"actor"`
	Hash   string    `json:"hash"`
	Index  *uint64   `json:"index,omitempty"`
	Note   string    `json:"note,omitempty"`
	Reason string    `json:"reason,omitempty"`
}

func (a *app) showCommand() *cobra.Command {
	var fields bool
	var why string
	c := &cobra.Command{
		Use:     "show WHAT",
		Short:   "查看 · one licence with its parts, custody and events, by number, identifier, business id, name or id number",
		Example: "  elicence show X000000001\n  elicence show D1-000001 --json\n  elicence show 曹宸书 --fields --why 'counter enquiry'",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			i, err := a.openForReading(cmd.Context())
			if err != nil {
				return err
			}
			defer i.close()
			found, err := i.find(cmd.Context(), args[0], why)
			if err != nil {
				return err
			}
			var views []licenceView
			for _, l := range found {
				v, err := i.view(cmd.Context(), l, fields, why)
				if err != nil {
					return err
				}
				views = append(views, v)
			}
			return a.tell(views, func(w io.Writer) {
				for n, v := range views {
					if n > 0 {
						fmt.Fprintln(w)
					}
					printLicence(w, v)
				}
			})
		},
	}
	c.Flags().BoolVar(&fields, "fields", false, "show the personal fields too; the read is recorded in the audit trail")
	c.Flags().StringVar(&why, "why", "", "why the personal fields are read, or why it is searched for, for the audit trail")
	return c
}

// find looks a word up in every way that the type allows. A search by a personal value is a read of personal data.
func (i *installation) find(ctx context.Context, what, why string) ([]issuing.Licence, error) {
	for _, by := range []func(context.Context, string) (issuing.Licence, error){i.db.ByNumber, i.db.ByIdentifier} {
		l, err := by(ctx, what)
		if err == nil {
			return []issuing.Licence{l}, nil
		}
		if !errors.Is(err, licence.ErrNotFound) {
			return nil, err
		}
	}
	found, err := i.db.ByBusinessID(ctx, "", what)
	if err != nil || len(found) > 0 {
		return found, err
	}
	names, err := i.types.Types()
	if err != nil {
		return nil, err
	}
	var fields []string
	for _, name := range names {
		typ, err := i.types.Type(name)
		if err != nil {
			return nil, err
		}
		for _, f := range typ.Search {
			if !slices.Contains(fields, f.Name) {
				fields = append(fields, f.Name)
			}
		}
	}
	hits, err := i.db.SearchAny(ctx, fields, licence.Normalise(what))
	if err != nil {
		return nil, err
	}
	// Nobody is told anything, not even that there is nothing, before all rows of it are durable.
	rows := []audit.Entry{i.reading(ctx, actor{}, "search", "", cmp.Or(why, "search by a personal value"))}
	for _, h := range hits {
		found = append(found, h.Licence)
		rows = append(rows, i.reading(ctx, actor{}, "found", h.Licence.ID, why, h.Field))
	}
	if err := i.db.RecordAll(ctx, rows...); err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%w: no licence by this number, identifier, business id, name or id number", licence.ErrNotFound)
	}
	return found, nil
}

// reading is the audit entry of a read of personal data.
func (i *installation) reading(ctx context.Context, by actor, what, licenceID, why string, fields ...string) audit.Entry {
	e := i.who(ctx, by.person)
	e.At, e.Organisation, e.What, e.Why, e.Licence, e.Fields = i.app.now(), by.organisation.Code, what, why, licenceID, fields
	return e
}

// whoIs begins the audit entry of a step.
func (i *installation) whoIs(ctx context.Context, by actor) audit.Entry {
	e := i.who(ctx, by.person)
	e.Organisation = by.organisation.Code
	return e
}

// whoFor is whoIs with the reason of the step.
func (i *installation) whoFor(ctx context.Context, by actor, why string) audit.Entry {
	e := i.whoIs(ctx, by)
	e.Why = why
	return e
}

func (i *installation) view(ctx context.Context, l issuing.Licence, fields bool, why string) (licenceView, error) {
	v := licenceView{
		Number: l.Number, Identifier: l.Identifier, Type: l.Type, Kind: l.Kind, BusinessID: l.BusinessID, Issuer: l.Issuer,
		IssuerName: l.IssuerName, Stage: l.Stage.String(), ParkReason: l.ParkReason, Status: legalStatus(l), Replaces: l.Replaces,
		ReplacedBy: l.ReplacedBy, Specimen: l.Specimen, SigningAt: l.SigningTime.In(i.zone), Clerk: l.Clerk, Approver: l.Approver,
		Warnings: l.Warnings,
	}
	custody := contract.View{}
	if l.Stage == issuing.StageIssued {
		var events []issuing.Event
		var err error
		if custody, events, err = i.service.View(ctx, l); err != nil {
			return v, err
		}
		for _, e := range events {
			v.Events = append(v.Events, eventView{Kind: e.Kind, At: e.At.In(i.zone), Actor: i.nameOf(ctx, e.Actor),
				Hash: fmt.Sprintf("%x", e.Hash), Index: e.Index, Reason: reasonOf(e.Bytes)})
		}
	}
	for _, p := range l.Signatures.Parts {
		pv := partView{Part: p.Part, Size: p.Size, SM3: fmt.Sprintf("%x", p.SM3), Object: p.Address}
		if held, ok := custody.Part(p.Part); ok {
			pv.Holder, pv.Pending = i.nameOf(ctx, held.Holder), i.nameOf(ctx, held.Pending)
			if held.Holder == contract.Family {
				pv.Holder = "家庭 the family"
			}
		}
		v.Parts = append(v.Parts, pv)
	}
	if erased(l) {
		e, _, err := i.db.ErasureOf(ctx, l.DataKeyID)
		if err != nil {
			return v, err
		}
		v.Erased = &erasedView{Reason: e.Reason}
		if !e.At.IsZero() {
			v.Erased.At = e.At.In(i.zone)
		}
	}
	if !fields || v.Erased != nil {
		return v, nil
	}
	typ, err := i.types.Type(l.Type)
	if err != nil {
		return v, err
	}
	if err := i.db.Record(ctx, i.reading(ctx, actor{}, "show", l.ID, why, typ.Fields...)); err != nil {
		return v, fmt.Errorf("the read could not be recorded, so nothing personal is shown: %w", err)
	}
	opened, err := licence.Open(l.Request)
	if err != nil {
		return v, err
	}
	v.Fields = opened.Document
	notes, err := i.db.Notes(ctx, l.ID)
	if err != nil {
		return v, err
	}
	for n := range v.Events {
		if note, ok := notes[n]; ok {
			v.Events[n].Note = string(note.Text)
		}
	}
	return v, nil
}

func reasonOf(event []byte) string {
	signed, err := contract.ParseEvent(event)
	if err != nil {
		return ""
	}
	return signed.Event.Reason
}

func (i *installation) nameOf(ctx context.Context, code string) string {
	if code == "" {
		return ""
	}
	o, err := i.db.Organisation(ctx, code)
	if err != nil {
		return code
	}
	return o.Name + " " + code
}

func printLicence(w io.Writer, v licenceView) {
	t := tabwriter.NewWriter(w, 2, 4, 2, ' ', 0)
	row := func(zh, en, value string) {
		if value != "" {
			fmt.Fprintf(t, "%s %s\t%s\n", zh, en, value)
		}
	}
	row("编号", "number", v.Number)
	row("标识", "identifier", v.Identifier)
	row("种类", "type, kind", v.Type+", "+v.Kind)
	row("业务号", "business id", v.BusinessID)
	row("签发机构", "issuer", v.IssuerName+" "+v.Issuer)
	row("状态", "status", v.Stage+", "+v.Status)
	row("搁置原因", "parked for", v.ParkReason)
	if v.Erased != nil {
		row("个人数据", "personal data", "已销毁 erased "+v.Erased.At.Format("2006-01-02 15:04:05")+" "+v.Erased.Reason)
	}
	row("替换", "replaces", v.Replaces)
	row("被替换", "replaced by", v.ReplacedBy)
	row("签名时间", "signing time", v.SigningAt.Format("2006-01-02 15:04:05 -07:00"))
	row("经办/审核", "clerk, approver", v.Clerk+", "+v.Approver)
	if v.Specimen {
		row("样张", "SPECIMEN", "无法律效力 no legal force")
	}
	for _, p := range v.Parts {
		held := p.Holder
		if p.Pending != "" {
			held += " → 待接收 offered to " + p.Pending
		}
		row("联", "part", fmt.Sprintf("%s, %d bytes, %s", p.Part, p.Size, held))
	}
	for _, e := range v.Events {
		index := "未入账 not sequenced yet"
		if e.Index != nil {
			index = fmt.Sprintf("#%d", *e.Index)
		}
		row("事件", "event", fmt.Sprintf("%s %s %s %s %s %s", e.At.Format("2006-01-02 15:04:05"), e.Kind, e.Reason, e.Actor, index, e.Note))
	}
	t.Flush()
	if v.Fields != nil {
		printFields(w, "", v.Fields)
	}
}

func printFields(w io.Writer, prefix string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range sortedKeys(v) {
			printFields(w, prefix+"/"+k, v[k])
		}
	default:
		fmt.Fprintf(w, "  %s: %v\n", prefix, v)
	}
}

func (a *app) listCommand() *cobra.Command {
	var issuer, kind, stage, state string
	var limit int
	c := &cobra.Command{
		Use:     "list",
		Short:   "列表 · licences in the order of their making, without personal fields",
		Example: "  elicence list --status revoked\n  elicence list --issuer 12310101DEMH000016 --limit 20 --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f := issuing.Filter{Issuer: issuer, Kind: kind}
			var err error
			if f.Stage, err = parseStage(stage); err != nil {
				return err
			}
			if f.Status, err = parseStatus(state); err != nil {
				return err
			}
			i, err := a.openForReading(cmd.Context())
			if err != nil {
				return err
			}
			defer i.close()
			found, err := i.db.List(cmd.Context(), f, "", limit)
			if err != nil {
				return err
			}
			type row struct {
				Number     string    `json:"number"`
				BusinessID string    `json:"businessId"`
				Kind       string    `json:"kind"`
				Stage      string    `json:"stage"`
				ParkReason string    `json:"parkReason,omitempty"`
				Status     string    `json:"status"`
				Erased     bool      `json:"erased,omitempty"`
				Issuer     string    `json:"issuer"`
				IssuerName string    `json:"issuerName"`
				At         time.Time `json:"signingTime"`
			}
			rows := []row{}
			for _, l := range found {
				rows = append(rows, row{l.Number, l.BusinessID, l.Kind, l.Stage.String(), l.ParkReason, legalStatus(l), erased(l), l.Issuer, l.IssuerName, l.SigningTime.In(i.zone)})
			}
			return a.tell(rows, func(w io.Writer) {
				t := tabwriter.NewWriter(w, 2, 4, 2, ' ', 0)
				fmt.Fprintln(t, "编号 number\t业务号 business id\t类别 kind\t进度 stage\t状态 status\t签名时间 signed\t机构 issuer")
				for _, r := range rows {
					if r.Erased {
						r.Status += "，已销毁 erased"
					}
					fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Number, r.BusinessID, r.Kind, r.Stage, r.Status, r.At.Format("2006-01-02 15:04"), r.IssuerName)
				}
				t.Flush()
			})
		},
	}
	f := c.Flags()
	f.StringVar(&issuer, "issuer", "", "code of the issuer")
	f.StringVar(&kind, "kind", "", "first, exchange, replacement or backfile")
	f.StringVar(&stage, "stage", "", "intent, signed, issued or parked")
	f.StringVar(&state, "status", "", "in-force, revoked or superseded")
	f.IntVar(&limit, "limit", 100, "at most this many")
	return c
}

// legalStatus is for people and programs alike: what is not issued yet holds in no sense.
func legalStatus(l issuing.Licence) string {
	if l.Stage != issuing.StageIssued {
		return "not issued"
	}
	return l.Status.String()
}

func parseStage(s string) (issuing.Stage, error) {
	if s == "" {
		return 0, nil
	}
	for _, st := range []issuing.Stage{issuing.StageIntent, issuing.StageSigned, issuing.StageIssued, issuing.StageParked} {
		if st.String() == s {
			return st, nil
		}
	}
	return 0, usage("--stage is intent, signed, issued or parked")
}

func parseStatus(s string) (*issuing.Status, error) {
	var st issuing.Status
	switch s {
	case "":
		return nil, nil
	case "in-force":
		st = issuing.InForce
	case "revoked":
		st = issuing.Revoked
	case "superseded":
		st = issuing.Superseded
	default:
		return nil, usage("--status is in-force, revoked or superseded")
	}
	return &st, nil
}
