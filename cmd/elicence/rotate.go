package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/elicence/elicence/hsm/softkey"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/elicence/elicence/storage/envelope"
	"github.com/elicence/elicence/storage/objects"
)

// rotateRequest is what key rotate-data is asked for.
type rotateRequest struct {
	Destroy  bool                  `json:"destroy"` // the former wrapping keys; else they are kept, retired
	Why      string                `json:"why"`     // for the audit trail
	Progress func(done, total int) `json:"-"`       // nil for none
}

// rotated is what key rotate-data answers.
type rotated struct {
	From     []string `json:"from"` // wrapping keys that are retired or destroyed now
	To       string   `json:"to"`
	Resumed  bool     `json:"resumed"`  // an interrupted rotation was finished
	Licences int      `json:"licences"` // whose data key is wrapped by To now
	Objects  int      `json:"objects"`  // of keys/ that were written
	Former   string   `json:"former"`   // kept or destroyed
}

func (a *app) keyRotateData() *cobra.Command {
	var former, why string
	c := &cobra.Command{
		Use: "rotate-data", Short: "轮换 · a new wrapping key around every licence's data key, in records and objects",
		Long: `Rotate-data makes a new wrapping key in the keystore "storage" and wraps every licence's data key and the
index key anew with it, in the records and in the keys/ objects. What they encrypt is not touched. Other
processes go on reading. Interrupted at any moment, the same command finishes: until then both keys open.

Only at the end is the former key retired. --former keep leaves it in the keystore, so that older backups
of records and objects still open with today's keystores; --former destroy takes it out of the keystore
for ever: older backups then open only with the keystores that were backed up with them.`,
		Example: "  elicence key rotate-data --why 'yearly'\n  elicence key rotate-data --former destroy --json", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if former != "keep" && former != "destroy" {
				return usage("--former is keep or destroy")
			}
			bar := a.progress(-1, "轮换 rewrapping")
			r := rotateRequest{Destroy: former == "destroy", Why: why, Progress: func(done, total int) {
				bar.ChangeMax(total)
				_ = bar.Set(done)
			}}
			result, err := perform(cmd.Context(), a, rotating(), r)
			_ = bar.Finish()
			if err != nil {
				return err
			}
			return a.tell(result, func(w io.Writer) {
				fmt.Fprintf(w, "✓ %d 份证照的数据密钥由 %s 保护，%v 已%s / the data keys of %d licences are under %s; %v %s\n", result.Licences, result.To,
					result.From, map[string]string{"kept": "停用并保留", "destroyed": "销毁"}[result.Former], result.Licences, result.To, result.From, result.Former)
			})
		},
	}
	c.Flags().StringVar(&former, "former", "keep", "what becomes of the former wrapping key at the end: keep or destroy")
	c.Flags().StringVar(&why, "why", "", "why, for the audit trail")
	return c
}

func rotating() operation[rotateRequest, rotated] {
	return operation[rotateRequest, rotated]{"rotate-data", func(ctx context.Context, i *installation, r rotateRequest) (rotated, error) {
		if r.Destroy && (i.served || i.config.Records.shared()) {
			return rotated{}, usage("--former destroy wants no licence in work: stop every service and use one folder, or say --former keep")
		}
		return i.rotateData(ctx, r)
	}}
}

// rotateData is begun, or taken up again, from whatever an earlier one has left. Its steps, each durable before the next:
// the new key in the keystore; every data key in the records, and after each its keys/ object; the index key; keys/ objects
// that the records do not know; the former keys retired or destroyed. Licences may be issued beside it as long as the former
// key is only retired; destroying wants the writer's lock, which the command holds.
func (i *installation) rotateData(ctx context.Context, r rotateRequest) (rotated, error) {
	store := i.wrapping.keystore()
	active := i.wrapping.labels(softkey.Active)
	result := rotated{Resumed: len(active) > 1, Former: "kept"}
	who := i.reading(ctx, actor{}, "rotate-data", "", r.Why)
	if !result.Resumed {
		// Said before it is done: who began it shows even if it never ends.
		if err := i.db.Record(ctx, i.reading(ctx, actor{}, "rotate-data-begun", "", r.Why)); err != nil {
			return result, err
		}
		next := i.wrapping.nextLabel()
		if err := store.Generate(next, purpose.DataWrapping, i.app.now(), rand.Reader); err != nil {
			return result, err
		}
		if err := store.Save(); err != nil {
			return result, err
		}
		active = append(active, next)
	}
	result.To = active[len(active)-1]
	to, err := store.Wrapper(result.To)
	if err != nil {
		return result, err
	}
	total, err := i.db.KeyCount(ctx)
	if err != nil {
		return result, err
	}
	result.Licences, err = i.db.Rewrap(ctx, to, who, func(licenceID, keyID string, wrapped []byte) error {
		written, err := i.replaceKey(ctx, licenceID, keyID, wrapped)
		if written {
			result.Objects++
		}
		if result.Licences++; r.Progress != nil {
			r.Progress(result.Licences, total)
		}
		return err
	})
	if err != nil {
		return result, fmt.Errorf("rotate: %w", err)
	}
	strays, err := i.rewrapStrays(ctx, to)
	if err != nil {
		return result, fmt.Errorf("rotate: %w", err)
	}
	result.Objects += strays
	if result.From, err = i.endFormer(result.To, r.Destroy); err != nil {
		return result, err
	}
	if r.Destroy {
		result.Former = "destroyed"
	}
	// Who did it is chained and anchored; a ledger that is away only lags.
	i.follow(ctx)
	return result, nil
}

// replaceKey writes the keys/ object of a licence whose key was rewrapped in the records. One that is erased at the same
// time may be put back here; then it goes at once.
func (i *installation) replaceKey(ctx context.Context, licenceID, keyID string, wrapped []byte) (bool, error) {
	l, err := i.db.ByID(ctx, licenceID)
	if err != nil {
		return false, err
	}
	o, err := i.vault.KeyObject(ctx, issuing.DataKey{ID: keyID, Wrapped: wrapped}, l)
	if err != nil {
		return false, err
	}
	written, err := i.parts().putKey(ctx, o.(objects.Object))
	if err != nil || !written {
		return written, err
	}
	_, erased, _, err := i.db.Holder(ctx, keyID)
	if err == nil && erased {
		err = i.dropKey(ctx, keyID)
	}
	return written, err
}

// dropKey deletes a keys/ object; that it is gone already is no error.
func (i *installation) dropKey(ctx context.Context, keyID string) error {
	if err := i.objects.Delete(ctx, objects.Deletable+keyID); err != nil && !errors.Is(err, objects.ErrNotFound) {
		return err
	}
	return nil
}

// besides ends the name under which a stray lies while it is replaced: the records have no copy of it.
const besides = "-new"

// rewrapStrays rewraps the keys/ objects that no licence of the records has: records that were put back from an older
// copy will want them. One that no key here opens was not ours, or was destroyed: it stays as it is.
func (i *installation) rewrapStrays(ctx context.Context, to envelope.KEK) (count int, err error) {
	var keys []string
	err = i.objects.List(ctx, objects.Deletable, func(o objects.Info) error {
		keys = append(keys, o.Key)
		return nil
	})
	if err != nil {
		return 0, err
	}
	for _, key := range keys {
		written, err := i.rewrapStray(ctx, key, to)
		if err != nil {
			return count, fmt.Errorf("%s: %w", key, err)
		}
		if written {
			count++
		}
	}
	return count, nil
}

func (i *installation) rewrapStray(ctx context.Context, key string, to envelope.KEK) (written bool, err error) {
	b, err := i.objects.Get(ctx, key)
	if errors.Is(err, objects.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	record, err := envelope.ParseKeyRecord(b)
	if err != nil {
		return false, err
	}
	left := strings.HasSuffix(key, besides) // by a rotation that was interrupted
	_, old := envelope.UnwrapKey(ctx, to, record.KeyID, record.Wrapped)
	if old == nil && !left {
		return false, nil
	}
	if old != nil {
		rewrapped, closed := envelope.Rewrap(ctx, i.wrapping, to, record.KeyID, record.Wrapped)
		if closed != nil {
			fmt.Fprintf(i.app.stderr, "elicence: %s 无法打开，保持原样 / it stays as it is: %v\n", key, closed)
			return false, ctx.Err()
		}
		record.Wrapped = rewrapped
	}
	if b, err = record.Encode(); err != nil {
		return false, err
	}
	name := objects.Deletable + record.KeyID
	for _, k := range []string{name + besides, name} {
		o, err := objects.Under(k, b)
		if err != nil {
			return false, err
		}
		if left && k != name {
			continue // there it lies already
		}
		if _, err := i.parts().putKey(ctx, o); err != nil {
			return false, err
		}
	}
	return true, i.dropKey(ctx, record.KeyID+besides)
}

// endFormer retires every other wrapping key, or takes it out of the keystore for ever.
func (i *installation) endFormer(current string, destroy bool) ([]string, error) {
	store := i.wrapping.keystore()
	var ended []string
	for _, label := range i.wrapping.labels(softkey.Active) {
		if label == current {
			continue
		}
		if err := store.Retire(label); err != nil {
			return nil, err
		}
		ended = append(ended, label)
	}
	if destroy {
		ended = i.wrapping.labels(softkey.Retired, softkey.Disabled)
		for _, label := range ended {
			if err := store.Destroy(label); err != nil {
				return nil, err
			}
		}
	}
	return ended, store.Save()
}
