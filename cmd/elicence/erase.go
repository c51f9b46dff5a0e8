package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/elicence/elicence/access"
	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/storage/objects"
)

// eraseReasons are the codes of why personal data are destroyed (PIPL art. 47; the last for what was never lawful).
var eraseReasons = []string{"court-decision", "request", "retention-ended", "unlawful"}

// eraseRequest is what erase is asked for.
type eraseRequest struct {
	Numbers  []string `json:"numbers"`
	As       string   `json:"as"`       // ORG/PERSON
	Approver string   `json:"approver"` // ORG/PERSON, or a PERSON of the same organisation
	Secret   []byte   `json:"secret"`   // the approver's own passphrase; nil: as the installation has it
	Reason   string   `json:"reason"`
	Why      string   `json:"why"`
}

// erasedOutcome is what erase answers for one number.
type erasedOutcome struct {
	Number  string `json:"number"`
	Outcome string `json:"outcome"` // erased, or stands if it was erased before
	KeyID   string `json:"keyId"`   // of the data key that is no more; the name of the note among the objects
}

func (a *app) eraseCommand() *cobra.Command {
	var r eraseRequest
	var approverFile string
	c := &cobra.Command{
		Use: "erase NUMBER… --as ORG/PERSON --approver ORG/PERSON --reason CODE", Short: "销毁 · destroy the personal data of licences for ever: data key, salts, search tags and notes",
		Long: `Erase destroys what makes a licence personal: its data key in the records and among the objects, its salts,
search tags and notes. Its stored parts can never be read again, and nobody can test a guess against the
log. Deliveries of it that still wait are cancelled. Number, events, status and custody stay; the books balance, the log replays, other licences and files
that were given out verify as before.

Two people do it, one asking (supervisor or seal keeper), one approving with their own passphrase, each of
the licence's issuer or of the commission. The note below erased/ among the objects names nobody and stays
for ever: after any restore "elicence reconcile" erases again by it. What cannot be reached from here are
copies: backups made before still hold the data key, see docs/operations.md.

Reasons: ` + strings.Join(eraseReasons, ", ") + ".",
		Example: "  elicence erase X000000007 --as 12310000DEMC00001M/supervisor-1 --approver 12310101DEMH000016/seal-1 --reason court-decision --why '(2026)沪0101民初1号'",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, numbers []string) error {
			r.Numbers = numbers
			var err error
			if r.Secret, err = a.secretOf(r.As, r.Approver, approverFile); err != nil {
				return err
			}
			outcomes, err := perform(cmd.Context(), a, erasing(), r)
			if err != nil {
				return err
			}
			return a.tell(outcomes, func(w io.Writer) {
				for _, o := range outcomes {
					fmt.Fprintf(w, "%s 个人数据已销毁 erased\n", o.Number)
				}
			})
		},
	}
	f := c.Flags()
	f.StringVar(&r.As, "as", "", "ORG/PERSON who asks")
	f.StringVar(&r.Approver, "approver", "", "ORG/PERSON who approves, or a PERSON of the same organisation")
	f.StringVar(&approverFile, "approver-passphrase-file", "", "file with the approver's own passphrase")
	f.StringVar(&r.Reason, "reason", "", "reason code; it stands in the audit trail and in the note among the objects")
	f.StringVar(&r.Why, "why", "", "words for the audit trail: no personal value")
	return c
}

// secretOf reads the approver's passphrase where the person is: in this process.
func (a *app) secretOf(as, approver, file string) ([]byte, error) {
	organisation, person, both := strings.Cut(approver, "/")
	if !both {
		organisation, _, _ = strings.Cut(as, "/")
		person = approver
	}
	if approver == "" || organisation == "" {
		return nil, nil // what is missing is said by who checks the request
	}
	c, err := a.readConfig()
	if err != nil {
		return nil, err
	}
	i := &installation{app: a, dir: a.data, config: c}
	secret, err := i.personPassphrase(organisation, person, file)
	if errors.Is(err, os.ErrNotExist) && file == "" {
		return nil, nil // a demonstration has none of somebody who is not there: that they are not is what will be said
	}
	return secret, err
}

func erasing() operation[eraseRequest, []erasedOutcome] {
	return operation[eraseRequest, []erasedOutcome]{"erase", func(ctx context.Context, i *installation, r eraseRequest) ([]erasedOutcome, error) {
		return i.erase(ctx, r)
	}}
}

// erase checks every number before it destroys anything.
func (i *installation) erase(ctx context.Context, r eraseRequest) ([]erasedOutcome, error) {
	if !slices.Contains(eraseReasons, r.Reason) {
		return nil, usage("--reason is needed: one of %s", strings.Join(eraseReasons, ", "))
	}
	asks, approves, err := i.twoPeople(ctx, r)
	if err != nil {
		return nil, err
	}
	var chosen []issuing.Licence
	for _, number := range r.Numbers {
		l, err := i.db.ByNumber(ctx, number)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", number, err)
		}
		for _, who := range []actor{asks, approves} {
			if code := who.organisation.Code; code != l.Issuer && code != i.config.Registrar {
				return nil, fmt.Errorf("%s: %w: %s is neither its issuer nor the commission", number, access.ErrRole, who.organisation.Name)
			}
		}
		if l.Stage == issuing.StageIntent || l.Stage == issuing.StageSigned {
			return nil, fmt.Errorf("%s: %w: it is unfinished: finish it first with elicence resume", number, licence.ErrState)
		}
		chosen = append(chosen, l)
	}
	var outcomes []erasedOutcome
	for _, l := range chosen {
		o := erasedOutcome{Number: l.Number, KeyID: l.DataKeyID, Outcome: "erased"}
		if erased(l) {
			o.Outcome = "stands"
		}
		who := i.reading(ctx, asks, "erase", l.ID, i.whyErased(r, approves))
		if err := i.eraseOne(ctx, l, r.Reason, who); err != nil {
			return outcomes, fmt.Errorf("%s: %w", l.Number, err)
		}
		outcomes = append(outcomes, o)
	}
	// The rows that say who did it are chained and anchored; a ledger that is away only lags.
	i.follow(ctx)
	return outcomes, nil
}

func (i *installation) whyErased(r eraseRequest, approves actor) string {
	why := fmt.Sprintf("%s; approved by %s/%s", r.Reason, approves.organisation.Code, approves.person)
	if r.Why != "" {
		why += "; " + r.Why
	}
	return why
}

// twoPeople are who asks and who approves; the latter has proven themselves.
func (i *installation) twoPeople(ctx context.Context, r eraseRequest) (asks, approves actor, err error) {
	if r.Approver == "" {
		return asks, approves, usage("--approver ORG/PERSON is needed: two people erase a licence")
	}
	roles := []access.Role{access.Supervisor, access.SealKeeper}
	if asks, err = i.actor(ctx, r.As, roles...); err != nil {
		return asks, approves, err
	}
	second := r.Approver
	if !strings.Contains(second, "/") {
		second = asks.organisation.Code + "/" + second
	}
	if approves, err = i.actor(ctx, second, roles...); err != nil {
		return asks, approves, err
	}
	if asks == approves {
		return asks, approves, fmt.Errorf("%w: %s", licence.ErrSamePerson, asks.person)
	}
	p, err := i.db.Person(ctx, approves.organisation.Code, approves.person)
	if err != nil {
		return asks, approves, err
	}
	return asks, approves, p.Prove(r.Secret)
}

// erased reports whether the licence's personal data were destroyed.
func erased(l issuing.Licence) bool { return len(l.DataKey) == 0 }

// erasedPrefix is where the notes of erasures lie among the objects: they are never deleted, and whoever puts older
// records back finds by them what has to be erased again.
const erasedPrefix = "erased/"

// erasureNote names nobody: the data key's id is random, and the key is gone.
type erasureNote struct {
	Format int       `json:"format"`
	KeyID  string    `json:"keyId"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason"` // a code
}

// eraseOne destroys in an order in which a crash anywhere is finished by the same command, or by reconcile: who asks is
// written down; the note is put; then the key goes from the records, then from the objects.
func (i *installation) eraseOne(ctx context.Context, l issuing.Licence, reason string, who audit.Entry) error {
	if !erased(l) {
		asked := who
		asked.What = "erase-begun"
		if err := i.db.Record(ctx, asked); err != nil {
			return err
		}
	}
	if err := i.noteErasure(ctx, erasureNote{Format: 1, KeyID: l.DataKeyID, At: who.At.UTC().Truncate(time.Second), Reason: reason}); err != nil {
		return err
	}
	return i.destroy(ctx, l.ID, who)
}

// noteErasure puts the note; one that is there already stays: the first reason counts.
func (i *installation) noteErasure(ctx context.Context, n erasureNote) error {
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	err = i.objects.Put(ctx, erasedPrefix+n.KeyID, append(b, '\n'))
	if errors.Is(err, objects.ErrExists) {
		_, err = i.erasureNoteOf(ctx, n.KeyID)
	}
	return err
}

func (i *installation) erasureNoteOf(ctx context.Context, keyID string) (n erasureNote, err error) {
	b, err := i.objects.Get(ctx, erasedPrefix+keyID)
	if err != nil {
		return n, err
	}
	if err := json.Unmarshal(b, &n); err != nil || n.Format != 1 || n.KeyID != keyID {
		return n, fmt.Errorf("%w: %s%s is no note of an erasure", objects.ErrDamaged, erasedPrefix, keyID)
	}
	return n, nil
}

// destroy takes the key out of the records and then out of the objects.
func (i *installation) destroy(ctx context.Context, licenceID string, who audit.Entry) error {
	keyID, err := i.db.Erase(ctx, licenceID, who)
	if keyID == "" {
		return err
	}
	return errors.Join(err, i.dropKey(ctx, keyID), i.dropKey(ctx, keyID+besides))
}
