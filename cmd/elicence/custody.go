package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/elicence/elicence/access"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/storage/records"
	"github.com/elicence/elicence/verify"
)

// actor is the person that --as names, checked for a role, with their organisation.
type actor struct {
	organisation licence.Organisation
	person       string
}

func (i *installation) actor(ctx context.Context, as string, roles ...access.Role) (actor, error) {
	if as == "" {
		return actor{}, usage("--as ORG/PERSON is needed")
	}
	code, person, err := access.ParseName(as)
	if err != nil {
		return actor{}, usage("%w", err)
	}
	o, err := i.db.Organisation(ctx, code)
	if err != nil {
		return actor{}, fmt.Errorf("organisation %s: %w", code, err)
	}
	_, err = i.personWith(ctx, code, person, roles...)
	return actor{o, person}, err
}

// stepOutcome is what a custody command answers for one number.
type stepOutcome struct {
	Number  string `json:"number"`
	Step    string `json:"step"`
	Outcome string `json:"outcome"` // done or refused
	Event   string `json:"event,omitempty"`
	Error   string `json:"error,omitempty"`
	hash    [32]byte
}

// custodyCommands are the steps that organisations take with an issued licence.
func (a *app) custodyCommands() []*cobra.Command {
	return []*cobra.Command{a.handoverCommand(), a.acceptCommand(), a.rejectCommand(), a.registerCommand(), a.revokeCommand(),
		a.reissueCommand("exchange"), a.reissueCommand("replace")}
}

func (a *app) handoverCommand() *cobra.Command {
	var as, to, part string
	c := &cobra.Command{
		Use:     "handover NUMBER…",
		Short:   "移交副页 · offer a part to an archive, which accepts or rejects it",
		Example: "  elicence handover --as 12310101DEMH000016/stock-1 --to 12310000DEMR000017 X000000001",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, numbers []string) error {
			if to == "" {
				return usage("--to ORG is needed: the code of the archive that is to take the part over")
			}
			return a.steps(cmd.Context(), steps{Kind: contract.HandedOver, As: as, Numbers: numbers, Part: part, To: to})
		},
	}
	c.Flags().StringVar(&as, "as", "", "ORG/PERSON who hands over")
	c.Flags().StringVar(&to, "to", "", "code of the receiving organisation")
	c.Flags().StringVar(&part, "part", "counterfoil", "which part")
	return c
}

func (a *app) acceptCommand() *cobra.Command {
	var as, part string
	var e evidenceFiles
	c := &cobra.Command{
		Use:     "accept NUMBER…",
		Short:   "接收 · take a handed-over part into the archive, after verifying file and receipt",
		Example: "  elicence accept --as 12310000DEMR000017/archivist-1 X000000001",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, numbers []string) error {
			received, err := e.read()
			if err != nil {
				return err
			}
			return a.steps(cmd.Context(), steps{Kind: contract.Accepted, As: as, Numbers: numbers, Part: part, Evidence: received})
		},
	}
	c.Flags().StringVar(&as, "as", "", "ORG/PERSON who accepts")
	c.Flags().StringVar(&part, "part", "counterfoil", "which part")
	e.flags(c)
	return c
}

func (a *app) rejectCommand() *cobra.Command {
	var as, part, reason, note string
	c := &cobra.Command{
		Use:     "reject NUMBER…",
		Short:   "退回 · send a handed-over part back, with the reason",
		Example: "  elicence reject --as 12310115DEMR000027/archivist-1 --reason incomplete --note '缺少首次签发登记表' X000000007",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, numbers []string) error {
			if reason == "" {
				return usage("--reason is needed: one of %s", strings.Join(contract.Reasons(contract.Rejected), ", "))
			}
			return a.steps(cmd.Context(), steps{Kind: contract.Rejected, As: as, Numbers: numbers, Part: part, Reason: reason, Note: noteOf(note)})
		},
	}
	c.Flags().StringVar(&as, "as", "", "ORG/PERSON who rejects")
	c.Flags().StringVar(&part, "part", "counterfoil", "which part")
	c.Flags().StringVar(&reason, "reason", "", "reason code; it stands on the ledger")
	c.Flags().StringVar(&note, "note", "", "words for the sender; kept encrypted, never on the ledger")
	return c
}

// noteOf is nil for no words: an erased licence takes none.
func noteOf(words string) []byte {
	if words == "" {
		return nil
	}
	return []byte(words)
}

// registration is what the police return about a registered child; it is sealed at rest and never on the ledger.
type registration struct {
	Name      string `json:"name,omitempty"`
	CitizenID string `json:"citizenId,omitempty"`
	Address   string `json:"address,omitempty"`
	Station   string `json:"station,omitempty"`
}

func (a *app) registerCommand() *cobra.Command {
	var as, file string
	var e evidenceFiles
	c := &cobra.Command{
		Use:   "register NUMBER",
		Short: "户口登记 · register the household from a verified main page and its receipt",
		Long: `Register verifies the main page with its receipt against the pinned trust file first and refuses
anything but a passed signature, a status in force and a good receipt.

--registration FILE holds {"name","citizenId","address","station"} as registered; it is kept encrypted.`,
		Example: "  elicence register --as 12310000DEMP000012/officer-1 --registration registration.json X000000001",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, numbers []string) error {
			note, err := readRegistration(file, numbers)
			if err != nil {
				return err
			}
			received, err := e.read()
			if err != nil {
				return err
			}
			return a.steps(cmd.Context(), steps{Kind: contract.Registered, As: as, Numbers: numbers, Evidence: received, Note: note})
		},
	}
	c.Flags().StringVar(&as, "as", "", "ORG/PERSON who registers")
	c.Flags().StringVar(&file, "registration", "", "file with what was registered")
	e.flags(c)
	return c
}

// readRegistration holds the file to the fields of a registration; "" is no file.
func readRegistration(file string, numbers []string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	if len(numbers) > 1 {
		return nil, usage("--registration belongs to one child: register one number at a time")
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("registration: %w", err)
	}
	var r registration
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return nil, usage("registration file: not the fields name, citizenId, address, station")
	}
	return json.Marshal(r)
}

func (i *installation) register(ctx context.Context, v *verify.Verifier, number string, by actor, e evidence, note []byte) (issuing.Event, error) {
	if err := i.demandEvidenceWith(ctx, v, number, "main", e, by); err != nil {
		return issuing.Event{}, err
	}
	return i.service.Take(ctx, issuing.Move{Kind: contract.Registered, Number: number, Actor: by.organisation.Code,
		Note: note, NoteName: "registration"}, i.whoIs(ctx, by))
}

func (a *app) revokeCommand() *cobra.Command {
	var as, reason, note string
	c := &cobra.Command{
		Use:     "revoke NUMBER…",
		Short:   "撤销 · end a licence that was wrongly issued",
		Example: "  elicence revoke --as 12310000DEMC00001M/supervisor-1 --reason wrongly-issued X000000009",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, numbers []string) error {
			if reason == "" {
				return usage("--reason is needed: one of %s", strings.Join(contract.Reasons(contract.Revoked), ", "))
			}
			return a.steps(cmd.Context(), steps{Kind: contract.Revoked, As: as, Numbers: numbers, Reason: reason, Note: noteOf(note)})
		},
	}
	c.Flags().StringVar(&as, "as", "", "ORG/PERSON who revokes")
	c.Flags().StringVar(&reason, "reason", "", "reason code; it stands on the ledger")
	c.Flags().StringVar(&note, "note", "", "words for the file; kept encrypted, never on the ledger")
	return c
}

// steps asks for one step of custody or status with each of the numbers.
type steps struct {
	Kind     contract.Kind `json:"kind"`
	As       string        `json:"as"`
	Numbers  []string      `json:"numbers"`
	Part     string        `json:"part"`
	To       string        `json:"to"`
	Reason   string        `json:"reason"`
	Note     []byte        `json:"note"`
	Evidence evidence      `json:"evidence"`
}

// steps has it done and says what became of each number.
func (a *app) steps(ctx context.Context, q steps) error {
	if q.As == "" {
		return usage("--as ORG/PERSON is needed")
	}
	outcomes, err := perform(ctx, a, stepping(), q)
	if err != nil {
		return err
	}
	refused := 0
	err = a.tell(outcomes, func(w io.Writer) {
		for _, o := range outcomes {
			if o.Outcome == "done" {
				fmt.Fprintf(w, "%s  %s\n", o.Number, o.Step)
			} else {
				fmt.Fprintf(a.stderr, "%s  拒绝 refused: %s\n", o.Number, o.Error)
			}
		}
	})
	for _, o := range outcomes {
		if o.Outcome != "done" {
			refused++
		}
	}
	if err == nil && refused > 0 {
		return answer(exitBatch)
	}
	return err
}

func stepping() operation[steps, []stepOutcome] {
	return operation[steps, []stepOutcome]{"step", func(ctx context.Context, i *installation, q steps) ([]stepOutcome, error) {
		return i.steps(ctx, q)
	}}
}

// rolesFor says whose step it is.
func rolesFor(kind contract.Kind) []access.Role {
	switch kind {
	case contract.HandedOver:
		return []access.Role{access.StockKeeper, access.Clerk}
	case contract.Accepted, contract.Rejected:
		return []access.Role{access.Archivist}
	case contract.Registered:
		return []access.Role{access.Officer}
	case contract.Revoked:
		return []access.Role{access.Supervisor, access.SealKeeper}
	}
	return nil
}

// noteNames say what the words beside a step are.
func noteName(kind contract.Kind) string {
	switch kind {
	case contract.Rejected:
		return "rejection"
	case contract.Registered:
		return "registration"
	case contract.Revoked:
		return "revocation"
	}
	return ""
}

// steps runs one step for each number, goes on past refused ones, then anchors what was done.
func (i *installation) steps(ctx context.Context, q steps) ([]stepOutcome, error) {
	roles := rolesFor(q.Kind)
	if roles == nil {
		return nil, usage("%q is no step that a person takes", q.Kind)
	}
	by, err := i.actor(ctx, q.As, roles...)
	if err != nil {
		return nil, err
	}
	// A step is judged by what is known here, so events that wait must be known to the ledger first.
	if err := i.ledger.catchUp(ctx); err != nil {
		return nil, err
	}
	var outcomes []stepOutcome
	for _, number := range q.Numbers {
		o := stepOutcome{Number: number, Outcome: "done"}
		event, err := i.step(ctx, q, by, number)
		if err != nil {
			if classify(err).code != exitNo || len(q.Numbers) == 1 {
				return nil, fmt.Errorf("%s: %w", number, err)
			}
			o.Outcome, o.Error = "refused", err.Error()
		} else {
			o.Step, o.Event, o.hash = event.Kind, fmt.Sprintf("%x", event.Hash), event.Hash
		}
		outcomes = append(outcomes, o)
	}
	if err := i.ledger.catchUp(ctx); err != nil {
		i.notice(ctx, "elicence: recorded; the ledger lags behind: %v", err)
	} else {
		// The ledger judges again and knows more: what it refused has not happened.
		for n := range outcomes {
			o := &outcomes[n]
			if _, sequenced, err := i.db.IndexOf(ctx, o.hash); err != nil {
				return nil, err
			} else if o.Outcome == "done" && !sequenced {
				o.Outcome, o.Error = "refused", "账本拒绝了这一步 / the ledger refused it"
			}
		}
	}
	err = nil
	if q.Kind == contract.Revoked {
		err = i.publishStatus(ctx)
	}
	i.deliverDue(ctx)
	return outcomes, err
}

// step takes one step with one number.
func (i *installation) step(ctx context.Context, q steps, by actor, number string) (issuing.Event, error) {
	switch q.Kind {
	case contract.Registered:
		v, err := i.currentVerifier(ctx)
		if err != nil {
			return issuing.Event{}, err
		}
		return i.register(ctx, v, number, by, q.Evidence, q.Note)
	case contract.Accepted:
		if err := i.demandEvidence(ctx, number, q.Part, q.Evidence, by); err != nil {
			return issuing.Event{}, err
		}
	}
	why := q.Reason
	if q.Kind == contract.HandedOver {
		why = "to " + q.To
	}
	return i.service.Take(ctx, issuing.Move{Kind: q.Kind, Number: number, Actor: by.organisation.Code, Part: q.Part,
		Counterparty: q.To, Reason: q.Reason, Note: q.Note, NoteName: noteName(q.Kind)}, i.whoFor(ctx, by, why))
}

// evidence is what an archive or a police station received from elsewhere; nil: what this installation has.
type evidence struct {
	File    []byte `json:"file"`
	Receipt []byte `json:"receipt"`
}

// evidenceFiles names it.
type evidenceFiles struct{ file, receipt string }

func (e *evidenceFiles) flags(c *cobra.Command) {
	c.Flags().StringVar(&e.file, "file", "", "the part as received, PDF (default: the one in this installation)")
	c.Flags().StringVar(&e.receipt, "receipt", "", "its receipt as received (default: the one of this installation's log)")
}

func (e *evidenceFiles) read() (received evidence, err error) {
	for _, f := range []struct {
		name, path string
		into       *[]byte
	}{{"part", e.file, &received.File}, {"receipt", e.receipt, &received.Receipt}} {
		if f.path == "" {
			continue
		}
		b, err := readBounded(f.path)
		if err != nil {
			return received, fmt.Errorf("%s: %w", f.name, err)
		}
		*f.into = append([]byte{}, b...) // an empty file is one, too
	}
	return received, nil
}

// demandEvidence verifies part and receipt with the pinned trust file and the status of this moment.
func (i *installation) demandEvidence(ctx context.Context, number, part string, e evidence, by actor) error {
	v, err := i.currentVerifier(ctx)
	if err != nil {
		return err
	}
	return i.demandEvidenceWith(ctx, v, number, part, e, by)
}

// demandEvidenceWith verifies part and receipt; only then may custody move or a household be registered. A file without
// a good receipt is refused: a stolen key can sign, not backdate.
func (i *installation) demandEvidenceWith(ctx context.Context, v *verify.Verifier, number, part string, e evidence, by actor) error {
	l, err := i.db.ByNumber(ctx, number)
	if err != nil {
		return err
	}
	if err := i.db.Record(ctx, i.reading(ctx, by, "verify", l.ID, "part "+part)); err != nil {
		return err
	}
	file, receipt := e.File, e.Receipt
	if file == nil {
		if erased(l) {
			return fmt.Errorf("part: %w: give the file that was received with --file", records.ErrErased)
		}
		if file, err = i.service.Part(ctx, l, part); err != nil {
			return err
		}
	}
	if receipt == nil {
		if receipt, err = i.receiptOf(ctx, l); err != nil {
			return fmt.Errorf("receipt: %w", err)
		}
	}
	report := v.File(ctx, file, receipt)
	switch {
	case !report.Good():
		return fmt.Errorf("%w: %s %s, %s: %s / %s", issuing.ErrEvidence, report.Signature.Indication,
			report.Signature.SubIndication, report.Status.State, report.Signature.ZH, report.Signature.EN)
	case report.Number != number:
		return fmt.Errorf("%w: the file is another licence", issuing.ErrEvidence)
	case report.Part != part:
		return fmt.Errorf("%w: the file is the %s, not the %s", issuing.ErrEvidence, report.Part, part)
	case report.ProvenAt.IsZero():
		return fmt.Errorf("%w: 没有可信的入账回执 / there is no good receipt", issuing.ErrEvidence)
	}
	return nil
}
