package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/elicence/elicence/access"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/storage/records"
)

func (a *app) resumeCommand() *cobra.Command {
	var as, why string
	c := &cobra.Command{
		Use:   "resume NUMBER",
		Short: "续签 · take up a licence that is parked, or was left unfinished, and finish it under its own number",
		Long: `Issue finishes by itself what an earlier run left. What fails three times there is parked: nothing takes
it up again until a person says so. Resume does, once the cause is cured: the same request, the same number,
the same signing time. If it fails again, it is parked again, and the answer says why.

Exit codes: 0 it is issued (also if it was before), 1 parked again, 69 something is away: the same command again.`,
		Example: "  elicence resume --as 12310101DEMH000016/clerk-1 --why 'trust file put back' X000000013",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if as == "" {
				return usage("--as ORG/PERSON is needed")
			}
			l, err := perform(cmd.Context(), a, resuming(), resumption{As: as, Number: args[0], Why: why})
			if err != nil {
				return err
			}
			return a.tell(map[string]string{"number": l.Number, "identifier": l.Identifier, "stage": l.Stage}, func(w io.Writer) {
				fmt.Fprintf(w, "%s 已签发 issued\n", l.Number)
			})
		},
	}
	c.Flags().StringVar(&as, "as", "", "ORG/PERSON of the issuer")
	c.Flags().StringVar(&why, "why", "", "what was done about the cause, for the audit trail")
	return c
}

// resumption asks for one unfinished licence to be taken up again.
type resumption struct {
	As     string `json:"as"`
	Number string `json:"number"`
	Why    string `json:"why"`
}

// resumed is the licence that was taken up.
type resumed struct {
	Number     string `json:"number"`
	Identifier string `json:"identifier"`
	Stage      string `json:"stage"`
}

func resuming() operation[resumption, resumed] {
	return operation[resumption, resumed]{"resume", func(ctx context.Context, i *installation, q resumption) (resumed, error) {
		by, err := i.actor(ctx, q.As, access.Clerk, access.SealKeeper)
		if err != nil {
			return resumed{}, err
		}
		l, err := i.resume(ctx, q.Number, by, q.Why)
		return resumed{l.Number, l.Identifier, l.Stage.String()}, err
	}}
}

// resume finishes one licence of the actor's own organisation.
func (i *installation) resume(ctx context.Context, number string, by actor, why string) (issuing.Licence, error) {
	l, err := i.db.ByNumber(ctx, number)
	if err != nil {
		return l, fmt.Errorf("%s: %w", number, err)
	}
	if l.Issuer != by.organisation.Code {
		return l, fmt.Errorf("%w: licence %s is another organisation's: its issuer takes it up", licence.ErrState, number)
	}
	if erased(l) {
		return l, fmt.Errorf("%s: %w", number, records.ErrErased)
	}
	if err := i.guardLog(ctx); err != nil {
		return l, err
	}
	who := i.whoIs(ctx, by)
	who.Why = why
	if l, err = i.service.Retry(ctx, l.ID, who); err != nil {
		return l, fmt.Errorf("%s: %w", number, err)
	}
	i.follow(ctx)
	i.deliverDue(ctx)
	return l, i.publishStatus(ctx)
}

// follow brings the ledger up to what was just recorded. Its being down never fails what was issued.
func (i *installation) follow(ctx context.Context) {
	if err := i.ledger.catchUp(ctx); err != nil {
		i.notice(ctx, "elicence: the ledger lags behind: %v", err)
	}
}
