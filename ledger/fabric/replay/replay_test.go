//go:build !fabricsdk

package replay_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/fabric"
	"github.com/elicence/elicence/ledger/fabric/export"
	"github.com/elicence/elicence/ledger/fabric/network"
	"github.com/elicence/elicence/ledger/fabric/replay"
	"github.com/elicence/elicence/ledger/fabric/transaction"
	"github.com/elicence/elicence/ledger/ledgertest"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset/kvrwset"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
)

// options are those of the scene's chain, with what cosigners have kept.
func (s *scene) options() replay.Options {
	return replay.Options{Channel: network.Channel, Chaincode: ledgerName, Known: s.notes, Trust: s.world.Trust()}
}

func replayed(t *testing.T, o replay.Options, blocks [][]byte) *replay.Report {
	t.Helper()
	a, err := replay.New(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blocks {
		different, err := a.Take(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		if different {
			break
		}
	}
	return a.End()
}

// differs fails the test unless the first difference is this one.
func differs(t *testing.T, r *replay.Report, rule string, block int) {
	t.Helper()
	d := r.Difference
	if d == nil {
		t.Fatalf("nothing was found, and it is %s in block %d", rule, block)
	}
	if d.Rule != rule || d.Block != uint64(block) || d.ZH == "" || d.EN == "" {
		t.Fatalf("%+v: want %s in block %d", d, rule, block)
	}
}

func TestExportAlone(t *testing.T) {
	s := played(t)
	r, err := replay.Export(t.Context(), s.export, replay.Options{Known: s.notes, Trust: s.world.Trust()})
	if err != nil {
		t.Fatal(err)
	}
	if r.Difference != nil {
		t.Fatalf("%+v", r.Difference)
	}
	if r.Blocks != uint64(len(s.blocks)) || r.Entries != s.entries || r.Cosigned != s.entries || r.Checkpoints != 2*len(s.notes)+2 || r.Unvouched != 1 ||
		r.Invalid != 2 || r.Configurations != 2 || r.CommitHash == "" || r.Kinds[contract.Enrolled] != 7 {
		t.Fatalf("%+v", r)
	}
	if r.Entries != 22 || r.Root != s.root {
		t.Fatalf("%d entries, root %s, and the follower has %s", r.Entries, r.Root, s.root)
	}
	// The checkpoints on the chain are enough for the entries before them, those that lie in the export for all.
	o := s.options()
	o.Known = nil
	if r = replayed(t, o, s.blocks); r.Difference != nil || r.Checkpoints != 2 || r.Cosigned == 0 || r.Cosigned >= s.entries {
		t.Fatalf("%+v", r)
	}
	if r, err = replay.Export(t.Context(), s.export, replay.Options{Trust: s.world.Trust()}); err != nil || r.Difference != nil || r.Checkpoints != 5 || r.Cosigned != s.entries {
		t.Fatalf("%+v, %v", r, err)
	}
	// Without a trust file everything counts that is signed, by whomever: the one of nobody, too.
	r, err = replay.Export(t.Context(), s.export, replay.Options{})
	if err != nil || r.Difference == nil || r.Difference.Rule != replay.RuleCheckpoint || r.Difference.Transaction == "" || r.Checkpoints != 4 {
		t.Fatalf("%+v, %v", r, err)
	}
	for _, o := range []replay.Options{{Known: [][]byte{[]byte("no note")}}, {Known: [][]byte{s.stated(t, ledgertest.NewKey("nobody", purpose.Checkpoints), 9)}, Trust: s.world.Trust()}} {
		if _, err := replay.New(o); !errors.Is(err, replay.ErrKnown) {
			t.Fatalf("%v", err)
		}
	}
	if _, err := replay.Export(t.Context(), t.TempDir(), replay.Options{}); err == nil {
		t.Fatal("an empty folder is an export")
	}
}

// TestEveryByteCounts flips bits all over the blocks, with files and manifest made to fit: whatever is covered by hashes or
// signatures is found at its block.
func TestEveryByteCounts(t *testing.T) {
	s := played(t)
	rules := map[string]int{}
	for n, b := range s.blocks {
		if n == 0 {
			continue // nobody signs it, and it is known by its hash
		}
		for at := n; at < len(b); at += len(b)/9 + 1 {
			blocks := slices.Clone(s.blocks[:n+1])
			blocks[n] = slices.Clone(b)
			blocks[n][at] ^= 1 << (at % 8)
			o := s.options()
			o.Known = nil
			r := replayed(t, o, blocks)
			if r.Difference == nil || r.Difference.Block != uint64(n) {
				t.Fatalf("block %d, byte %d: %+v", n, at, r.Difference)
			}
			rules[r.Difference.Rule]++
		}
	}
	t.Log(rules)
	genesis := slices.Clone(s.blocks)
	genesis[0] = slices.Clone(genesis[0])
	genesis[0][len(genesis[0])/2] ^= 1
	if r := replayed(t, s.options(), genesis); r.Difference == nil {
		t.Fatal("the first configuration was altered")
	}
}

// TestDishonestExporter: whoever exports cannot sign for the orderers. Everything else fits, commit hashes are left out.
func TestDishonestExporter(t *testing.T) {
	s := played(t)
	f := newForger(t)
	o := s.options()
	o.Known = nil
	fresh := func() []*common.Block {
		blocks := f.parse(s.blocks)
		unchained(blocks)
		return blocks
	}
	if r := replayed(t, o, f.raw(fresh())); r.Difference != nil || r.CommitHash != "" {
		t.Fatalf("%+v", r)
	}
	flags := func(b *common.Block) []byte {
		return b.Metadata.Metadata[common.BlockMetadataIndex_TRANSACTIONS_FILTER]
	}
	t.Run("a valid transaction is marked invalid", func(t *testing.T) {
		for _, code := range []byte{2, 4, 10, 11, 254} {
			blocks := fresh()
			n, i := f.find(blocks, 0, transaction.Submit, 0)
			flags(blocks[n])[i] = code
			r := replayed(t, o, f.raw(blocks))
			differs(t, r, replay.RuleMarkedInvalid, n)
			if r.Difference.Position == nil || *r.Difference.Position != i || r.Difference.Transaction == "" {
				t.Fatalf("%+v", r.Difference)
			}
		}
	})
	t.Run("an invalid transaction is marked valid", func(t *testing.T) {
		for _, code := range []byte{9, 11} {
			blocks := fresh()
			n, i := f.find(blocks, 0, transaction.Submit, code)
			flags(blocks[n])[i] = 0
			differs(t, replayed(t, o, f.raw(blocks)), replay.RuleMarkedValid, n)
		}
	})
	t.Run("a configuration is marked invalid", func(t *testing.T) {
		blocks := fresh()
		n := len(blocks) - 1
		for ; !f.isConfiguration(blocks[n]); n-- {
		}
		if n == 0 {
			t.Fatal("there is only the first configuration")
		}
		flags(blocks[n])[0] = 22
		differs(t, replayed(t, o, f.raw(blocks)), replay.RuleMarkedInvalid, n)
	})
	t.Run("the commit hash shows it, too", func(t *testing.T) {
		blocks := f.parse(s.blocks)
		n, i := f.find(blocks, 0, transaction.Submit, 11)
		flags(blocks[n])[i] = 12
		differs(t, replayed(t, o, f.raw(blocks)), replay.RuleCommitHash, n)
	})
	t.Run("one commit hash is missing", func(t *testing.T) {
		blocks := f.parse(s.blocks)
		unchained(blocks[9:10])
		differs(t, replayed(t, o, f.raw(blocks)), replay.RuleCommitHash, 9)
	})
	t.Run("flags are missing", func(t *testing.T) {
		blocks := fresh()
		blocks[5].Metadata.Metadata[common.BlockMetadataIndex_TRANSACTIONS_FILTER] = nil
		differs(t, replayed(t, o, f.raw(blocks)), replay.RuleFlags, 5)
	})
	t.Run("a registry's proposal is marked invalid", func(t *testing.T) {
		blocks := fresh()
		n, i := f.find(blocks, 0, transaction.ProposeRegistry, 0)
		flags(blocks[n])[i] = 10
		if r := replayed(t, o, f.raw(blocks)); r.Difference == nil {
			t.Fatal("nothing was found")
		}
	})
	t.Run("a block is left out", func(t *testing.T) {
		blocks := f.raw(fresh())
		differs(t, replayed(t, o, slices.Delete(blocks, 7, 8)), export.RuleNumber, 7)
	})
	t.Run("two blocks are exchanged", func(t *testing.T) {
		blocks := f.raw(fresh())
		blocks[7], blocks[8] = blocks[8], blocks[7]
		differs(t, replayed(t, o, blocks), export.RuleNumber, 7)
	})
	t.Run("a block is left out and the others numbered anew", func(t *testing.T) {
		blocks := slices.Delete(fresh(), 7, 8)
		for n, b := range blocks {
			b.Header.Number = uint64(n)
		}
		differs(t, replayed(t, o, f.raw(blocks)), export.RulePrevious, 7)
	})
	t.Run("a transaction is left out", func(t *testing.T) {
		blocks := fresh()
		n, i := f.find(blocks, 0, transaction.Submit, 9)
		blocks[n].Data.Data = slices.Delete(blocks[n].Data.Data, i, i+1)
		differs(t, replayed(t, o, f.raw(blocks)), export.RuleData, n)
	})
	t.Run("the orderer's signature is missing", func(t *testing.T) {
		blocks := fresh()
		var m common.Metadata
		f.unmarshal(blocks[6].Metadata.Metadata[0], &m)
		m.Signatures = nil
		blocks[6].Metadata.Metadata[0] = f.marshal(&m)
		differs(t, replayed(t, o, f.raw(blocks)), replay.RuleOrderers, 6)
		blocks[6].Metadata.Metadata[0] = nil
		differs(t, replayed(t, o, f.raw(blocks)), replay.RuleOrderers, 6)
	})
	t.Run("somebody else signs blocks", func(t *testing.T) {
		for _, by := range []somebody{f.peers["CommissionMSP"], f.clients["PoliceMSP"], {f.orderer.serialized, f.peers["PoliceMSP"].key}} {
			blocks := fresh()
			f.orderedBy(by, blocks[6], 0)
			differs(t, replayed(t, o, f.raw(blocks)), replay.RuleOrderers, 6)
		}
	})
	t.Run("the chain ends before a checkpoint", func(t *testing.T) {
		r := replayed(t, s.options(), s.blocks[:len(s.blocks)-1])
		differs(t, r, replay.RuleRolledBack, len(s.blocks)-1)
		if r.Difference.Since == nil || *r.Difference.Since == 0 {
			t.Fatalf("%+v", r.Difference)
		}
	})
	t.Run("of another channel", func(t *testing.T) {
		o := o
		o.Channel = "another"
		differs(t, replayed(t, o, s.blocks), replay.RuleChannel, 0)
	})
}

// TestEverybodyLies: orderers and clients make the chain as somebody wants it, and peers endorse what they are told to.
func TestEverybodyLies(t *testing.T) {
	s := played(t)
	f := newForger(t)
	w := s.world
	o := s.options()
	o.Known = nil
	blocks := f.parse(s.blocks)
	f.ordered(blocks)
	if r := replayed(t, o, f.raw(blocks)); r.Difference != nil {
		t.Fatalf("what the forger makes of a good chain is not good: %+v", r.Difference)
	}
	// The last hand-over.
	at := len(blocks) - 1
	if n, _ := f.find(blocks, at, transaction.Submit, 0); n != at {
		t.Fatal(n)
	}
	answer := func(rules ...string) []byte {
		b, err := transaction.Answer(rules).Encode()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	written := func(p *proposal) []*kvrwset.KVWrite { return p.Sets[ledgerName].Writes }
	for _, c := range []struct {
		name   string
		rule   string
		change func(p *proposal)
	}{
		{"nothing is changed", "", func(*proposal) {}},
		{"two kinds have endorsed", replay.RuleMarkedValid, func(p *proposal) { p.Endorsers = []string{"CommissionMSP", "PoliceMSP"} }},
		{"nobody has endorsed", replay.RuleMarkedValid, func(p *proposal) { p.Endorsers = nil }},
		{"one has endorsed three times", replay.RuleMarkedValid, func(p *proposal) { p.Endorsers = []string{"PoliceMSP", "PoliceMSP", "PoliceMSP"} }},
		{"the sender has not signed", replay.RuleMarkedValid, func(p *proposal) { p.Unsigned = true }},
		{"the endorsement is of another transaction", replay.RuleMarkedValid, func(p *proposal) { p.Unbound = true }},
		{"it has another's id", replay.RuleMarkedValid, func(p *proposal) { p.ID = strings.Repeat("0", 64) }},
		{"it had read something else", replay.RuleMarkedValid, func(p *proposal) { p.Sets[ledgerName].Reads[0].Version = &kvrwset.Version{BlockNum: 1, TxNum: 9} }},
		{"another answer", fabric.RuleVerdict, func(p *proposal) { p.Answer = answer(contract.RuleStale) }},
		{"no answer", fabric.RuleAnswer, func(p *proposal) { p.Answer = nil }},
		{"another event", fabric.RuleVerdict, func(p *proposal) { p.Args[1] = w.Issue(w.Police).Last() }},
		{"sent by the police", fabric.RuleVerdict, func(p *proposal) { p.Sender = f.clients["PoliceMSP"] }},
		{"other state", fabric.RuleState, func(p *proposal) { written(p)[0].Value = []byte("other") }},
		{"no state", fabric.RuleState, func(p *proposal) { p.Sets[ledgerName].Writes = nil }},
		{"more state", fabric.RuleState, func(p *proposal) {
			p.Sets[ledgerName].Writes = append(written(p), &kvrwset.KVWrite{Key: "licence/more", Value: []byte("more")})
		}},
		{"another function writes state of events", fabric.RuleForeign, func(p *proposal) { p.Args = [][]byte{[]byte("Version")} }},
		{"another function writes its own state", replay.RuleRegistry, func(p *proposal) {
			p.Args = [][]byte{[]byte("Version")}
			p.Sets[ledgerName].Writes = []*kvrwset.KVWrite{{Key: transaction.KeyRegistry, Value: []byte("more")}}
		}},
		{"a registry that nobody agreed to", replay.RuleRegistry, func(p *proposal) {
			b, err := transaction.NewRegistry(2, network.Registry().Members...).Encode()
			if err != nil {
				t.Fatal(err)
			}
			p.Args, p.Answer, p.Sender = [][]byte{[]byte(transaction.ProposeRegistry), b}, []byte(transaction.InForce), f.admins["CommissionMSP"]
			p.Sets[ledgerName].Writes = []*kvrwset.KVWrite{{Key: transaction.KeyRegistry, Value: b}, {Key: transaction.KeyProposal("CommissionMSP"), Value: b}}
		}},
		{"a client proposes a registry", replay.RuleRegistry, func(p *proposal) {
			b, err := transaction.NewRegistry(2, network.Registry().Members...).Encode()
			if err != nil {
				t.Fatal(err)
			}
			p.Args, p.Answer = [][]byte{[]byte(transaction.ProposeRegistry), b}, []byte(transaction.Proposed)
			p.Sets[ledgerName].Writes = []*kvrwset.KVWrite{{Key: transaction.KeyProposal("CommissionMSP"), Value: b}}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			blocks := f.parse(s.blocks)
			blocks[at].Data.Data[0] = f.remake(blocks[at].Data.Data[0], c.change)
			f.ordered(blocks)
			r := replayed(t, o, f.raw(blocks))
			if c.rule == "" {
				if r.Difference != nil {
					t.Fatalf("%+v", r.Difference)
				}
				return
			}
			differs(t, r, c.rule, at)
			if r.Difference.Position == nil || r.Difference.Transaction == "" {
				t.Fatalf("%+v", r.Difference)
			}
		})
	}
	for _, c := range []struct {
		name, rule string
		note       []byte
	}{
		{"the keeper of the log states another log", replay.RuleCheckpoint, s.stated(t, w.LogKey, 7)},
		{"it states one that ends where no block does", replay.RuleCheckpoint, s.stated(t, w.LogKey, 5)},
		{"it states one that is longer", replay.RuleRolledBack, s.stated(t, w.LogKey, 70)},
		{"it states nothing", replay.RuleNoCheckpoint, []byte("nothing")},
	} {
		t.Run(c.name, func(t *testing.T) {
			blocks := f.parse(s.blocks)
			n, i := f.find(blocks, 0, transaction.Checkpoint, 0)
			blocks[n].Data.Data[i] = f.remake(blocks[n].Data.Data[i], func(p *proposal) { p.Args[1] = c.note })
			f.ordered(blocks)
			r := replayed(t, o, f.raw(blocks))
			differs(t, r, c.rule, n)
			if r.Difference.Transaction == "" || r.Difference.Position == nil {
				t.Fatalf("%+v", r.Difference)
			}
		})
	}
	// A client that is narrowed to one organisation, certified by an authority that the commission has from the beginning.
	authority, key := newAuthority(t)
	for code, rule := range map[string]string{w.Hospital.Code: "", w.OtherHospital.Code: fabric.RuleVerdict} {
		t.Run("sent by who sends for one hospital alone, and is judged "+rule, func(t *testing.T) {
			blocks := f.parse(s.blocks)
			f.changeAll(blocks, func(c *common.Config) {
				f.changeMember(c.ChannelGroup.Groups["Application"].Groups["CommissionMSP"], func(m *msp.FabricMSPConfig) { m.RootCerts = append(m.RootCerts, authority.pem) })
			})
			value, err := json.Marshal(map[string]any{"attrs": map[string]string{transaction.OrganisationAttribute: code}})
			if err != nil {
				t.Fatal(err)
			}
			sender := authority.certify(t, f, key, "CommissionMSP", "client", pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4, 5, 6, 7, 8, 1}, Value: value})
			blocks[at].Data.Data[0] = f.remake(blocks[at].Data.Data[0], func(p *proposal) { p.Sender = sender })
			f.ordered(blocks)
			r := replayed(t, o, f.raw(blocks))
			if rule == "" {
				if r.Difference != nil {
					t.Fatalf("%+v", r.Difference)
				}
				return
			}
			differs(t, r, rule, at)
		})
	}
	t.Run("the sender's certificate was revoked", func(t *testing.T) {
		blocks := f.parse(s.blocks)
		list, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour),
			RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(2), RevocationTime: time.Now()}}}, authority.certificate, authority.key)
		if err != nil {
			t.Fatal(err)
		}
		f.changeAll(blocks, func(c *common.Config) {
			f.changeMember(c.ChannelGroup.Groups["Application"].Groups["CommissionMSP"], func(m *msp.FabricMSPConfig) {
				m.RootCerts = append(m.RootCerts, authority.pem)
				m.RevocationList = [][]byte{pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: list})}
			})
		})
		sender := authority.certify(t, f, key, "CommissionMSP", "client")
		blocks[at].Data.Data[0] = f.remake(blocks[at].Data.Data[0], func(p *proposal) { p.Sender = sender })
		f.ordered(blocks)
		differs(t, replayed(t, o, f.raw(blocks)), replay.RuleMarkedValid, at)
	})
	t.Run("a transaction stands twice", func(t *testing.T) {
		blocks := f.parse(s.blocks)
		blocks[at].Data.Data = append(blocks[at].Data.Data, blocks[at].Data.Data[0])
		blocks[at].Metadata.Metadata[common.BlockMetadataIndex_TRANSACTIONS_FILTER] = []byte{0, 0}
		f.ordered(blocks)
		differs(t, replayed(t, o, f.raw(blocks)), replay.RuleMarkedValid, at)
	})
	t.Run("the log has another entry than a checkpoint says", func(t *testing.T) {
		// Everything is endorsed, ordered and judged: only who has seen the log before can tell.
		blocks := f.parse(s.blocks)
		l := w.Issue(w.Agency)
		n, _ := f.find(blocks, 0, transaction.Submit, 9)
		n, i := f.find(blocks, n-1, transaction.Submit, 0) // the one that was sent twice: nothing follows on its licence
		blocks[n].Data.Data[i] = f.remake(blocks[n].Data.Data[i], func(p *proposal) {
			p.Args[1] = l.Last()
			verdicts, writes, err := contract.Judge(t.Context(), s.stateBefore(t, n), p.Args[1:])
			if err != nil || verdicts[0].Refusal != nil {
				t.Fatal(verdicts, err)
			}
			p.Sets[ledgerName].Writes = nil
			for _, k := range slices.Sorted(maps.Keys(writes)) {
				p.Sets[ledgerName].Writes = append(p.Sets[ledgerName].Writes, &kvrwset.KVWrite{Key: k, Value: writes[k]})
			}
			p.Sets[ledgerName].MetadataWrites = nil
			for _, r := range p.Sets[ledgerName].Reads {
				if strings.HasPrefix(r.Key, "licence/") {
					r.Key = contract.LicenceKey(l.Handle)
				}
			}
		})
		f.ordered(blocks)
		if r := replayed(t, o, f.raw(blocks)); r.Difference != nil || r.Entries != s.entries {
			t.Fatalf("the forgery is not good enough: %+v", r.Difference)
		}
		r := replayed(t, s.options(), f.raw(blocks))
		differs(t, r, replay.RuleCheckpoint, at)
		if r.Checkpoints != 4 || r.Difference.Since == nil || *r.Difference.Since > uint64(n) {
			t.Fatalf("%+v", r)
		}
	})
}

// stateBefore is the contract's state before a block, from the chain as it is.
func (s *scene) stateBefore(t *testing.T, block int) contract.State {
	t.Helper()
	state := contract.MapState{}
	f := newForger(t)
	for _, b := range f.parse(s.blocks[:block]) {
		parsed, err := fabric.ParseBlock(b, ledgerName)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range parsed.Transactions {
			state.Apply(x.Writes)
		}
	}
	return state
}

// TestFilesAreNamed alters files of an export whose blocks are good.
func TestFilesAreNamed(t *testing.T) {
	s := played(t)
	e, err := export.Open(s.export)
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Files) < 3 {
		t.Fatalf("%d files", len(e.Files))
	}
	second := e.Files[1]
	for _, c := range []struct {
		name, rule, file string
		block            uint64
		change           func(t *testing.T, dir string)
	}{
		{"the manifest", replay.RuleManifest, export.ManifestName, 0, func(t *testing.T, dir string) { flip(t, dir+"/"+export.ManifestName, 60) }},
		{"a file is missing", export.RuleMissing, second.Name(), second.First, func(t *testing.T, dir string) {
			if err := os.Remove(dir + "/" + second.Name()); err != nil {
				t.Fatal(err)
			}
		}},
		{"a file ends too early", export.RuleTruncated, second.Name(), second.First + second.Blocks - 1, func(t *testing.T, dir string) {
			if err := os.Truncate(dir+"/"+second.Name(), second.Bytes-1); err != nil {
				t.Fatal(err)
			}
		}},
		{"a checkpoint", export.RuleAltered, e.Checkpoints[0].Name(), e.Height(), func(t *testing.T, dir string) { flip(t, dir+"/"+e.Checkpoints[0].Name(), 40) }},
		{"a checkpoint is missing", export.RuleMissing, e.Checkpoints[1].Name(), e.Height(), func(t *testing.T, dir string) {
			if err := os.Remove(dir + "/" + e.Checkpoints[1].Name()); err != nil {
				t.Fatal(err)
			}
		}},
		{"something comes after a file", export.RuleAltered, second.Name(), second.First + second.Blocks, func(t *testing.T, dir string) {
			f, err := os.OpenFile(dir+"/"+second.Name(), os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteString("x"); err != nil {
				t.Fatal(err)
			}
			f.Close()
		}},
		{"a transaction in a file", export.RuleData, second.Name(), second.First, func(t *testing.T, dir string) { flip(t, dir+"/"+second.Name(), 1000) }},
		{"files are exchanged", export.RuleNumber, e.Files[0].Name(), 0, func(t *testing.T, dir string) {
			a, b := dir+"/"+e.Files[0].Name(), dir+"/"+second.Name()
			for _, r := range [][2]string{{a, a + "x"}, {b, a}, {a + "x", b}} {
				if err := os.Rename(r[0], r[1]); err != nil {
					t.Fatal(err)
				}
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(s.export)); err != nil {
				t.Fatal(err)
			}
			c.change(t, dir)
			r, err := replay.Export(t.Context(), dir, s.options())
			if err != nil {
				t.Fatal(err)
			}
			differs(t, r, c.rule, int(c.block))
			if r.Difference.File != c.file {
				t.Fatalf("%+v", r.Difference)
			}
		})
	}
}

func flip(t *testing.T, path string, at int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestExtendedNeverRewritten(t *testing.T) {
	s := played(t)
	e, err := export.Open(s.export)
	if err != nil {
		t.Fatal(err)
	}
	before := map[string]string{}
	for _, f := range e.Files {
		b, err := os.ReadFile(s.export + "/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		before[f.Name()] = string(b)
	}
	l := s.world.Issue(s.world.Hospital)
	if c := s.commit(t, contract.Commission, s.send(t, contract.Commission, l.Last())); c != fabric.Valid {
		t.Fatal(c)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(s.export)); err != nil {
		t.Fatal(err)
	}
	m, err := export.Write(t.Context(), dir, s.chains[contract.Commission], export.Options{Channel: network.Channel, Chaincode: ledgerName})
	if err != nil {
		t.Fatal(err)
	}
	if m.Height() <= e.Height() || len(m.Files) != len(e.Files)+1 {
		t.Fatalf("%d blocks in %d files", m.Height(), len(m.Files))
	}
	for name, b := range before {
		if now, err := os.ReadFile(dir + "/" + name); err != nil || string(now) != b {
			t.Fatalf("%s was rewritten, %v", name, err)
		}
	}
	r, err := replay.Export(t.Context(), dir, s.options())
	if err != nil || r.Difference != nil || r.Entries <= s.entries {
		t.Fatalf("%+v, %v", r, err)
	}
}

// TestConfigurationIsFollowed: a new orderer's authority comes in, the old one goes, and each signs what it may.
func TestConfigurationIsFollowed(t *testing.T) {
	s := played(t)
	f := newForger(t)
	o := s.options()
	o.Known = nil
	authority, key := newAuthority(t)
	next := authority.certify(t, f, key, "OrderingMSP", "orderer")
	take := func(c *common.Config) {
		f.changeMember(c.ChannelGroup.Groups["Orderer"].Groups["Ordering"], func(m *msp.FabricMSPConfig) { m.RootCerts = [][]byte{authority.pem} })
	}
	make := func(by somebody, change func(c *common.Config)) []*common.Block {
		blocks := f.parse(s.blocks)
		blocks = append(blocks[:12:12], append([]*common.Block{f.reconfigured(blocks, change)}, blocks[12:]...)...)
		f.ordered(blocks)
		for n := 13; n < len(blocks); n++ {
			before := export.HeaderHash(blocks[n-1].Header)
			blocks[n].Header.PreviousHash = before[:]
			f.orderedBy(by, blocks[n], 12)
		}
		return blocks[:14]
	}
	r := replayed(t, o, f.raw(make(next, take)))
	if r.Difference != nil && r.Difference.Rule != replay.RuleMarkedValid { // versions of what was read are those of other blocks now
		t.Fatalf("%+v", r.Difference)
	}
	if r.Configurations != 2 || r.Blocks < 13 {
		t.Fatalf("%+v", r)
	}
	differs(t, replayed(t, o, f.raw(make(f.orderer, take))), replay.RuleOrderers, 13)
	differs(t, replayed(t, o, f.raw(make(next, func(*common.Config) {}))), replay.RuleOrderers, 13)
	differs(t, replayed(t, o, f.raw(make(next, func(c *common.Config) { take(c); c.Sequence++ }))), replay.RuleConfiguration, 12)
	differs(t, replayed(t, o, f.raw(make(next, func(c *common.Config) { delete(c.ChannelGroup.Groups, "Orderer") }))), replay.RuleConfiguration, 12)
	t.Run("the last configuration is another one", func(t *testing.T) {
		blocks := make(next, take)
		f.orderedBy(next, blocks[13], 0)
		differs(t, replayed(t, o, f.raw(blocks)), replay.RuleLastConfig, 13)
	})
	t.Run("the policy asks for what nobody is", func(t *testing.T) {
		blocks := make(f.orderer, func(c *common.Config) {
			p := c.ChannelGroup.Groups["Orderer"].Policies["BlockValidation"].Policy
			p.Value = f.marshal(&common.ImplicitMetaPolicy{SubPolicy: "Nothing", Rule: common.ImplicitMetaPolicy_ANY})
		})
		differs(t, replayed(t, o, f.raw(blocks)), replay.RuleOrderers, 13)
	})
}

// authority certifies orderers that the first configuration does not know.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

func newAuthority(t *testing.T) (*authority, *ecdsa.PrivateKey) {
	t.Helper()
	var keys [2]*ecdsa.PrivateKey
	for i := range keys {
		var err error
		if keys[i], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "new"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &keys[0].PublicKey, keys[0])
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{c, keys[0], pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}, keys[1]
}

func (a *authority) certify(t *testing.T, f *forger, key *ecdsa.PrivateKey, member, unit string, more ...pkix.Extension) somebody {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: unit, OrganizationalUnit: []string{unit}}, ExtraExtensions: more,
		KeyUsage: x509.KeyUsageDigitalSignature, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return somebody{f.marshal(&msp.SerializedIdentity{Mspid: member, IdBytes: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}), key}
}
