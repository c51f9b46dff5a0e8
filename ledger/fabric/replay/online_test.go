//go:build !fabricsdk

package replay_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/embedded"
	"github.com/elicence/elicence/ledger/fabric"
	"github.com/elicence/elicence/ledger/fabric/network"
	"github.com/elicence/elicence/ledger/fabric/replay"
	"github.com/elicence/elicence/ledger/fabric/transaction"
)

func (s *scene) onlineOptions() replay.Options {
	return replay.Options{Channel: network.Channel, Chaincode: ledgerName, Known: s.notes, Trust: s.world.Trust()}
}

// caughtUp waits until the follower of the scene has every block.
func (s *scene) caughtUp(t *testing.T) uint64 {
	t.Helper()
	var size uint64
	until(t, func() error {
		r, err := replay.Online(t.Context(), s.chains[contract.Commission], s.store, s.onlineOptions())
		if err != nil {
			return err
		}
		if r.Difference != nil {
			t.Fatalf("%+v", r.Difference)
		}
		size = r.Entries
		if len(r.Compared) != 3 {
			return context.DeadlineExceeded
		}
		return nil
	})
	return size
}

func TestOnline(t *testing.T) {
	s := played(t)
	if size := s.caughtUp(t); size < s.entries {
		t.Fatalf("%d entries", size)
	}
	// Another organisation's peer, that has no log here.
	r, err := replay.Online(t.Context(), s.chains[contract.Archive], nil, s.onlineOptions())
	if err != nil || r.Difference != nil || !slices.Equal(r.Compared, []string{replay.WithPeerState}) {
		t.Fatalf("%+v, %v", r, err)
	}
}

// altered is a log of which somebody has altered something.
type altered struct {
	embedded.Store
	entry uint64
	key   string
	head  func(embedded.Head) embedded.Head
}

const none = ^uint64(0)

func (a altered) Entries(ctx context.Context, from, to uint64) ([][]byte, error) {
	entries, err := a.Store.Entries(ctx, from, to)
	if a.entry >= from && a.entry < from+uint64(len(entries)) {
		entries = slices.Clone(entries)
		entries[a.entry-from] = append(bytes.Clone(entries[a.entry-from]), 0)
	}
	return entries, err
}

func (a altered) StateGet(ctx context.Context, keys []string) (map[string][]byte, error) {
	values, err := a.Store.StateGet(ctx, keys)
	if v, ok := values[a.key]; ok {
		values[a.key] = append(bytes.Clone(v), 0)
	}
	return values, err
}

func (a altered) Head(ctx context.Context) (embedded.Head, error) {
	h, err := a.Store.Head(ctx)
	if a.head != nil {
		h = a.head(h)
	}
	return h, err
}

// lyingPeer answers otherwise than its chain says.
type lyingPeer struct {
	*fabric.Connection
	change func(p *transaction.Page)
	after  func()
}

func (l *lyingPeer) Evaluate(ctx context.Context, member, function string, args ...[]byte) ([]byte, error) {
	b, err := l.Connection.Evaluate(ctx, member, function, args...)
	if err != nil || function != transaction.ReadState {
		return b, err
	}
	p, err := transaction.ParsePage(b, string(args[0]))
	if err != nil {
		return nil, err
	}
	if l.change != nil {
		l.change(&p)
	}
	if l.after != nil {
		l.after()
	}
	return p.Encode()
}

// olderPeer has a chaincode that lacks a function: its words for that are the chaincode's for one that none has.
type olderPeer struct{ *fabric.Connection }

func (o olderPeer) Evaluate(ctx context.Context, member, function string, args ...[]byte) ([]byte, error) {
	return o.Connection.Evaluate(ctx, member, "Older"+function, args...)
}

func TestOnlineNamesTheFirstDifference(t *testing.T) {
	s := played(t)
	s.caughtUp(t)
	own := s.chains[contract.Commission]
	for _, c := range []struct {
		name, rule string
		log        altered
	}{
		{"an entry of the log", replay.RuleLogEntry, altered{entry: 9}},
		{"the log's checkpoint", replay.RuleLogHead, altered{entry: none, head: func(h embedded.Head) embedded.Head {
			h.Body = bytes.Replace(h.Body, []byte("time 1"), []byte("time 2"), 1)
			return h
		}}},
		{"the log is shorter by half a block", replay.RuleLogHead, altered{entry: none, head: func(h embedded.Head) embedded.Head {
			h.Size = 3
			return h
		}}},
		{"the log is longer", replay.RuleLogEntry, altered{entry: none, head: func(h embedded.Head) embedded.Head {
			h.Size++
			return h
		}}},
		{"state in the records", replay.RuleLogState, altered{entry: none, key: "registrar"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.log.Store = s.store
			r, err := replay.Online(t.Context(), own, c.log, s.onlineOptions())
			if err != nil {
				t.Fatal(err)
			}
			if r.Difference == nil || r.Difference.Rule != c.rule || r.Difference.ZH == "" {
				t.Fatalf("%+v", r.Difference)
			}
			if c.log.entry == 9 && (r.Difference.Index == nil || *r.Difference.Index != 9 || r.Difference.Hash == "") {
				t.Fatalf("%+v", r.Difference)
			}
			if c.log.key != "" && r.Difference.Key != c.log.key {
				t.Fatalf("%+v", r.Difference)
			}
		})
	}
	for _, c := range []struct {
		name, key string
		change    func(p *transaction.Page)
	}{
		{"another value", transaction.KeyRegistry, func(p *transaction.Page) {
			for i := range p.Entries {
				if p.Entries[i].Key == transaction.KeyRegistry {
					p.Entries[i].Value = []byte("other")
				}
			}
		}},
		{"a key too many", "aaa", func(p *transaction.Page) {
			p.Entries = slices.Insert(p.Entries, 0, transaction.Entry{Key: "aaa", Value: []byte("more")})
		}},
		{"a key is missing", "registrar", func(p *transaction.Page) {
			p.Entries = slices.DeleteFunc(p.Entries, func(e transaction.Entry) bool { return e.Key == "registrar" })
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := replay.Online(t.Context(), &lyingPeer{Connection: own, change: c.change}, s.store, s.onlineOptions())
			if err != nil || r.Difference == nil || r.Difference.Rule != replay.RulePeerState || r.Difference.Key != c.key {
				t.Fatalf("%+v, %v", r.Difference, err)
			}
		})
	}
	t.Run("an older chaincode", func(t *testing.T) {
		if r, err := replay.Online(t.Context(), olderPeer{own}, s.store, s.onlineOptions()); !errors.Is(err, replay.ErrNoState) {
			t.Fatalf("%+v, %v", r, err)
		}
	})
	t.Run("the chain goes on meanwhile", func(t *testing.T) {
		l := s.world.Issue(s.world.Hospital)
		more := func() {
			l.HandOver(s.world.Hospital, s.world.Archive)
			if c := s.commit(t, contract.Commission, s.send(t, contract.Commission, l.Events...)); c != fabric.Valid {
				t.Error(c)
			}
		}
		r, err := replay.Online(t.Context(), &lyingPeer{Connection: own, after: more}, s.store, s.onlineOptions())
		if err != nil || r.Difference != nil || !slices.Contains(r.Compared, replay.WithPeerState) {
			t.Fatalf("%+v, %v", r, err)
		}
	})
}
