package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/storage/records"
)

// reissueCommand is exchange or replace: a new licence whose issue ends the old one, in one transaction.
func (a *app) reissueCommand(verb string) *cobra.Command {
	kind, short := licence.KindExchange, "换发 · issue a licence with changed content in place of an old one, whose parts have come back"
	example := "  elicence exchange --as 12310101DEMH000016/clerk-1 --approver seal-1 --grounds wrong-content \\\n      --changes changes.json --returned main,counterfoil --business D1-000001-X X000000001"
	if verb == "replace" {
		kind, short = licence.KindReplacement, "补发 · issue the same content again for a family that lost its paper"
		example = "  elicence replace --as 12310101DEMH000016/clerk-1 --approver seal-1 --grounds lost --business D1-000001-R X000000001"
	}
	var as, approver, approverFile, business, grounds, changes string
	var returned []string
	c := &cobra.Command{
		Use: verb + " NUMBER", Short: short, Example: example, Args: cobra.ExactArgs(1),
		Long: short + ".\n\nThe new request repeats the old one; --changes FILE holds a JSON merge patch (RFC 7396) with what is\ndifferent. A replacement takes no changes: it repeats the old content exactly.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if business == "" {
				return usage("--business ID is needed: the hospital's own id of this new issue")
			}
			var patch []byte
			if changes != "" {
				if kind == licence.KindReplacement {
					return usage("a replacement repeats the old content exactly: use exchange to change content")
				}
				var err error
				if patch, err = os.ReadFile(changes); err != nil {
					return fmt.Errorf("changes: %w", err)
				}
			}
			two, err := a.twoPeople(as, approver, approverFile)
			if err != nil {
				return err
			}
			next, err := perform(cmd.Context(), a, reissuing(), reissue{twoPeople: two, Kind: kind, Number: args[0], Patch: patch, Business: business,
				Grounds: grounds, Returned: returned})
			if err != nil {
				return err
			}
			if len(next.Problems) > 0 {
				next.Result.problems = next.Problems
				return a.tellBatch(next.Result, "")
			}
			return a.tell(map[string]string{"number": next.Number, "replaces": args[0]}, func(w io.Writer) {
				fmt.Fprintf(w, "%s → %s\n", args[0], next.Number)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&as, "as", "", "ORG/PERSON who asks")
	f.StringVar(&approver, "approver", "", "the person of the same organisation who approves")
	f.StringVar(&approverFile, "approver-passphrase-file", "", "file with the approver's own passphrase")
	f.StringVar(&business, "business", "", "business id of the new issue")
	f.StringVar(&grounds, "grounds", "", "why, one of the type's grounds")
	if kind == licence.KindExchange {
		f.StringVar(&changes, "changes", "", "file with a JSON merge patch: what is different")
		f.StringSliceVar(&returned, "returned", nil, "old parts that have come back")
	}
	return c
}

// reissue asks for an exchange or a replacement.
type reissue struct {
	twoPeople
	Kind     string   `json:"kind"`
	Number   string   `json:"number"` // of the old licence
	Patch    []byte   `json:"patch"`
	Business string   `json:"businessId"`
	Grounds  string   `json:"grounds"`
	Returned []string `json:"returned"`
}

// reissued is the new licence's number, or why there is none.
type reissued struct {
	Number   string      `json:"number"`
	Result   batchResult `json:"result"`
	Problems []batchLine `json:"problems,omitempty"`
}

func reissuing() operation[reissue, reissued] {
	return operation[reissue, reissued]{"reissue", func(ctx context.Context, i *installation, q reissue) (reissued, error) { return i.reissue(ctx, q) }}
}

func (i *installation) reissue(ctx context.Context, q reissue) (reissued, error) {
	verb, known := map[string]string{licence.KindExchange: "exchange", licence.KindReplacement: "replace"}[q.Kind]
	if !known {
		return reissued{}, usage("%q is no kind of a new issue", q.Kind)
	}
	people, err := i.batchPeople(ctx, q.twoPeople)
	if err != nil {
		return reissued{}, err
	}
	request, err := i.reissueRequest(ctx, q.Number, q.Patch, reissueFields(q.Kind, q.Number, q.Business, q.Grounds, q.Returned))
	if err != nil {
		return reissued{}, err
	}
	result, err := i.issueAll(ctx, i.newBatch(ctx, people, verb), bytes.NewReader(request))
	if err != nil {
		return reissued{}, err
	}
	if err := i.publishStatus(ctx); err != nil || len(result.problems) > 0 {
		return reissued{Result: result, Problems: result.problems}, err
	}
	found, err := i.db.ByBusinessID(ctx, "", q.Business)
	if err != nil || len(found) == 0 {
		return reissued{}, fmt.Errorf("look up what was issued: %w", err)
	}
	return reissued{Number: found[len(found)-1].Number, Result: result}, nil
}

// reissueFields are what a new issue says about itself and not about the birth.
func reissueFields(kind, number, business, grounds string, returned []string) map[string]any {
	m := map[string]any{"kind": kind, "replaces": number, "businessId": business}
	if grounds != "" {
		m["grounds"] = grounds
	}
	if len(returned) > 0 {
		parts := map[string]any{}
		for _, p := range returned {
			parts[p] = true
		}
		m["returned"] = parts
	}
	return m
}

// reissueRequest is the old request with the new issue's own fields and the patch.
func (i *installation) reissueRequest(ctx context.Context, number string, patch []byte, own map[string]any) ([]byte, error) {
	old, err := i.db.ByNumber(ctx, number)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", number, err)
	}
	if erased(old) {
		return nil, fmt.Errorf("%s: %w", number, records.ErrErased)
	}
	if err := i.db.Record(ctx, i.reading(ctx, actor{}, "reissue", old.ID, "content of the licence to be replaced")); err != nil {
		return nil, err
	}
	recorded, err := licence.Open(old.Request)
	if err != nil {
		return nil, err
	}
	typ, err := i.types.Type(old.Type)
	if err != nil {
		return nil, err
	}
	document := recorded.Document
	for _, pointer := range typ.Process {
		if own := bytes.Count([]byte(pointer), []byte("/")); own == 1 && pointer != "/licenceType" {
			delete(document, pointer[1:])
		}
	}
	for k, v := range own {
		document[k] = v
	}
	if patch != nil {
		d := json.NewDecoder(bytes.NewReader(patch))
		d.UseNumber()
		var p map[string]any
		if err := d.Decode(&p); err != nil {
			return nil, usage("changes: not one JSON object")
		}
		mergePatch(document, p)
	}
	return json.Marshal(document)
}

// mergePatch applies RFC 7396 to objects: null removes, objects merge, everything else replaces.
func mergePatch(target, patch map[string]any) {
	for k, v := range patch {
		if v == nil {
			delete(target, k)
			continue
		}
		deeper, ok := v.(map[string]any)
		into, into2 := target[k].(map[string]any)
		if ok && into2 {
			mergePatch(into, deeper)
			continue
		}
		target[k] = v
	}
}

// replaced tells the checks about the licence that a request replaces. One that this very request has ended already, in
// a run whose answer was lost, counts as standing: the request is answered again, not refused.
func (i *installation) replaced(ctx context.Context, number, businessID string) (*licence.Replaced, bool, error) {
	old, err := i.db.ByNumber(ctx, number)
	if err != nil {
		return nil, false, fmt.Errorf("/replaces: %w", err) // the word is the request's: not repeated
	}
	if old.Stage != issuing.StageIssued {
		return nil, false, fmt.Errorf("/replaces: %w: it is not issued yet", licence.ErrState)
	}
	if erased(old) {
		return nil, false, fmt.Errorf("/replaces: %w", records.ErrErased)
	}
	if err := i.db.Record(ctx, i.reading(ctx, actor{}, "compare", old.ID, "with the request that is to replace it")); err != nil {
		return nil, false, err
	}
	recorded, err := licence.Open(old.Request)
	if err != nil {
		return nil, false, err
	}
	view, _, err := i.service.View(ctx, old)
	if err != nil {
		return nil, false, err
	}
	state := licence.InForce
	switch old.Status {
	case issuing.Revoked:
		state = licence.Revoked
	case issuing.Superseded:
		next, err := i.db.ByNumber(ctx, old.ReplacedBy)
		if err != nil {
			return nil, false, err
		}
		if next.BusinessID != businessID {
			state = licence.Superseded
		}
	case issuing.InForce:
	}
	return &licence.Replaced{Number: number, Type: old.Type, State: state, Document: recorded.Document}, view.Registered != "", nil
}
