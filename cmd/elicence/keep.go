package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/storage/envelope"
	"github.com/elicence/elicence/storage/objects"
)

// What the records know and no licence's own objects hold is put among the objects, too, so that the records can be made
// again from these alone: the wrapped index key below keys/; organisations, people, stock, words of steps and erased licences
// as bundles of acts; the audit trail as bundles of rows. Bundles are sealed by keys that are made from the index key, and named
// by the first thing in them.
const (
	actsPrefix  = "acts/"
	trailPrefix = "audit/"
	actsBundle  = 4096
	trailBundle = 4096
)

// keep puts what is new among the objects. It may fail and be called again: a bundle whose put was not answered is found there.
func (i *installation) keep(ctx context.Context) error {
	i.keeping.Lock()
	defer i.keeping.Unlock()
	return errors.Join(i.keepIndexKey(ctx), i.keepActs(ctx), i.keepTrail(ctx))
}

// keepIndexKey puts the index key once in a process, and again when it was wrapped anew.
func (i *installation) keepIndexKey(ctx context.Context) error {
	wrapped, err := i.db.IndexKey(ctx)
	if err != nil || bytes.Equal(wrapped, i.keptIndex) {
		return err
	}
	b, err := envelope.KeyRecord{KeyID: envelope.IndexKeyID, Wrapped: wrapped}.Encode()
	if err != nil {
		return err
	}
	o, err := objects.Under(objects.Deletable+envelope.IndexKeyID, b)
	if err != nil {
		return err
	}
	if _, err = i.parts().putKey(ctx, o); err == nil {
		i.keptIndex = wrapped
	}
	return err
}

func (i *installation) keepActs(ctx context.Context) error {
	for {
		acts, err := i.db.ActsToKeep(ctx, actsBundle)
		if err != nil || len(acts) == 0 {
			return err
		}
		name := fmt.Sprintf("%s%020d", actsPrefix, acts[0].Ordinal)
		there, err := putBundle(ctx, i, name, acts)
		if err != nil {
			return err
		}
		// The bundle that lies there may have been made of fewer acts; then the next one begins after these.
		for n := range there {
			if n >= len(acts) || there[n].Ordinal != acts[n].Ordinal || there[n].Kind != acts[n].Kind || !bytes.Equal(there[n].Body, acts[n].Body) {
				return fmt.Errorf("%w: %s 与记录不符 / holds other acts than the records: they are older than the objects", errRolledBack, name)
			}
		}
		if err := i.db.ActsKept(ctx, there); err != nil {
			return err
		}
	}
}

// keptRow is a sealed row of the audit trail in a bundle.
type keptRow struct {
	Sequence uint64      `json:"s"`
	Hash     string      `json:"h"`
	Entry    audit.Entry `json:"e"`
}

func (r keptRow) link() (l audit.Link, err error) {
	l = audit.Link{Sequence: r.Sequence, Entry: r.Entry}
	if n, err := hex.Decode(l.Hash[:], []byte(r.Hash)); err != nil || n != len(l.Hash) || len(r.Hash) != 2*len(l.Hash) {
		return l, fmt.Errorf("%w: a row of the audit trail among the objects", objects.ErrDamaged)
	}
	return l, nil
}

func (i *installation) keepTrail(ctx context.Context) error {
	for {
		kept, err := i.db.TrailKept(ctx)
		if err != nil {
			return err
		}
		var rows []keptRow
		full := errors.New("enough")
		err = i.db.Sealed(ctx, kept+1, func(l audit.Link) error {
			rows = append(rows, keptRow{l.Sequence, hex.EncodeToString(l.Hash[:]), l.Entry})
			if len(rows) == trailBundle {
				return full
			}
			return nil
		})
		if err != nil && !errors.Is(err, full) {
			return err
		}
		if len(rows) == 0 {
			return nil
		}
		name := fmt.Sprintf("%s%020d", trailPrefix, rows[0].Sequence)
		there, err := putBundle(ctx, i, name, rows)
		if err != nil {
			return err
		}
		for n := range there {
			if n >= len(rows) || there[n].Sequence != rows[n].Sequence || there[n].Hash != rows[n].Hash {
				return fmt.Errorf("%w: %s 与记录不符 / holds other rows than the records: they are older than the objects", errRolledBack, name)
			}
		}
		if err := i.db.SetTrailKept(ctx, there[len(there)-1].Sequence); err != nil {
			return err
		}
	}
}

// bundleKey seals the bundles of one prefix.
func (i *installation) bundleKey(name string) (*envelope.DataKey, error) {
	prefix, _, _ := strings.Cut(name, "/")
	return i.vault.index.DataKey(prefix)
}

// putBundle puts items under the name and returns what lies there: these, or what an earlier call has put.
func putBundle[T any](ctx context.Context, i *installation, name string, items []T) ([]T, error) {
	k, err := i.bundleKey(name)
	if err != nil {
		return nil, err
	}
	var plain bytes.Buffer
	e := json.NewEncoder(&plain)
	for _, item := range items {
		if err := e.Encode(item); err != nil {
			return nil, err
		}
	}
	sealed, err := envelope.SealRecord(k, name, plain.Bytes())
	if err != nil {
		return nil, err
	}
	err = i.objects.Put(ctx, name, sealed)
	if errors.Is(err, objects.ErrExists) {
		return readBundle[T](ctx, i, name)
	}
	return items, err
}

// readBundle opens one bundle; it is never empty.
func readBundle[T any](ctx context.Context, i *installation, name string) (items []T, err error) {
	sealed, err := i.objects.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	k, err := i.bundleKey(name)
	if err != nil {
		return nil, err
	}
	plain, err := envelope.OpenRecord(k, name, sealed)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	d := json.NewDecoder(bytes.NewReader(plain))
	for d.More() {
		var item T
		if err := d.Decode(&item); err != nil {
			return nil, fmt.Errorf("%w: %s", objects.ErrDamaged, name)
		}
		items = append(items, item)
	}
	if len(items) == 0 {
		return nil, fmt.Errorf("%w: %s is empty", objects.ErrDamaged, name)
	}
	return items, nil
}

// bundles lists the names of a prefix in their order.
func (i *installation) bundles(ctx context.Context, prefix string) (names []string, err error) {
	err = i.objects.List(ctx, prefix, func(o objects.Info) error {
		names = append(names, o.Key)
		return nil
	})
	return names, err
}
