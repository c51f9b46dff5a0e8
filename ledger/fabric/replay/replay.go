// Package replay recomputes the log of a channel from its blocks alone, from block 0 on, and believes as little of them as it can:
// headers, orderers' signatures, validity flags, endorsements, verdicts, state, checkpoints. No network and no Fabric is
// needed. What a block proves and what it does not is said in docs/formats/fabric-export.md.
package replay

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/transparency-dev/merkle/compact"

	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/fabric"
	"github.com/elicence/elicence/ledger/fabric/export"
	"github.com/elicence/elicence/ledger/fabric/protos"
	"github.com/elicence/elicence/ledger/fabric/transaction"
)

// Options of a replay.
type Options struct {
	Channel, Chaincode string
	// Origin of the log; "" takes it from the first checkpoint that is compared.
	Origin string
	// Known are signed checkpoints from elsewhere: what cosigners and holders of receipts have kept. Those on the chain are
	// compared in any case.
	Known [][]byte
	// Trust has Logs, Cosigners and Needed of the trust file. With it a checkpoint counts only with a good signature of one of
	// them; without it every one does.
	Trust ledger.Trust
	// Progress, if not nil, is told how many blocks are done.
	Progress func(blocks uint64)
}

// ErrKnown says that what was given as a signed checkpoint is none of this log.
var ErrKnown = errors.New("replay: not a signed checkpoint of this log")

const cachedCertificates = 4096

// Auditor replays block after block. It keeps the ledger's state and, of each key that any chaincode wrote and of each
// transaction, some 100 bytes. It is not safe for concurrent use.
type Auditor struct {
	Options
	court  *contract.Court
	chain  export.Chain
	config *configuration
	// lastConfig is the number of the block with the configuration in force.
	lastConfig uint64
	versions   *versions
	ids        map[[sha256.Size]byte]bool // of transactions
	commit     []byte                     // hash of the block before; nil if it has none

	state   contract.MapState // the chaincode's own keys included
	edge    *compact.Range
	heads   []head
	good    uint64         // block of the last checkpoint that fitted, and one
	waiting []*ledger.Note // of sizes that are not reached yet, smallest first
	written func(key string, before, after []byte)
	entries func(ctx context.Context, first uint64, events []*contract.Signed) error

	report *Report
}

// head is the log as a block left it.
type head struct {
	block, size uint64
	root        [ledger.HashSize]byte
	time        int64
}

// New begins a replay. ErrKnown if one of the checkpoints is none.
func New(o Options) (*Auditor, error) {
	a := &Auditor{
		Options: o, court: contract.NewCourt(cachedCertificates), versions: newVersions(), ids: map[[sha256.Size]byte]bool{}, state: contract.MapState{},
		edge:   (&compact.RangeFactory{Hash: ledger.Hasher{}.HashChildren}).NewEmptyRange(0),
		report: &Report{Channel: o.Channel, Chaincode: o.Chaincode, Kinds: map[contract.Kind]uint64{}, Compared: []string{}},
	}
	for _, b := range o.Known {
		n, err := ledger.ParseNote(b)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrKnown, err)
		}
		if a.Origin == "" {
			a.Origin = n.Checkpoint.Origin
		}
		if n.Checkpoint.Origin != a.Origin || !a.vouched(n) {
			return nil, fmt.Errorf("%w: of %s, size %d", ErrKnown, n.Checkpoint.Origin, n.Checkpoint.Size)
		}
		a.waiting = append(a.waiting, n)
	}
	slices.SortStableFunc(a.waiting, bySize)
	return a, nil
}

func bySize(x, y *ledger.Note) int { return cmp.Compare(x.Checkpoint.Size, y.Checkpoint.Size) }

// vouched tells whether somebody whom the trust file knows has signed.
func (a *Auditor) vouched(n *ledger.Note) bool {
	if len(a.Trust.Logs) == 0 && len(a.Trust.Cosigners) == 0 {
		return true
	}
	if _, err := n.LogOf(a.Trust.Logs); err == nil {
		return true
	}
	return len(n.CosignersOf(a.Trust.Cosigners)) > 0
}

// Take replays the next block. Once something does not fit, nothing more is taken: different is true, and Report names it. An
// error means that the replay could not be carried on.
func (a *Auditor) Take(ctx context.Context, raw []byte) (different bool, err error) {
	if a.report.Difference != nil {
		return true, nil
	}
	err = a.take(ctx, raw)
	if different = errors.Is(err, errDifferent); different {
		err = nil
	}
	return different, err
}

func (a *Auditor) take(ctx context.Context, raw []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b, err := a.chain.Take(raw)
	var broken *export.Break
	if errors.As(err, &broken) {
		return a.differs(Difference{Block: broken.Block, Rule: broken.Rule, Detail: broken.Detail})
	}
	if err != nil {
		return err
	}
	number := b.GetHeader().GetNumber()
	envelopes, err := a.envelopes(b)
	if err != nil {
		return err
	}
	if number > 0 {
		if err := a.ordered(b, envelopes); err != nil {
			return err
		}
	}
	flags := metadata(b, protos.BlockMetadataIndex_TRANSACTIONS_FILTER)
	if len(flags) != len(envelopes) {
		return a.differs(Difference{Block: number, Rule: RuleFlags, Detail: fmt.Sprintf("%d flags for %d transactions", len(flags), len(envelopes))})
	}
	if err := a.flagged(number, envelopes, flags); err != nil {
		return err
	}
	if err := a.committed(b, flags); err != nil {
		return err
	}
	if err := a.judged(ctx, b, envelopes); err != nil {
		return err
	}
	if err := a.reconfigured(number, envelopes, flags); err != nil {
		return err
	}
	last := a.chain.Last()
	a.report.Blocks, a.report.Head, a.report.CommitHash = a.chain.Next(), hex.EncodeToString(last[:]), hex.EncodeToString(a.commit)
	if number == 0 {
		a.report.Genesis = a.report.Head
	}
	if a.Progress != nil {
		a.Progress(a.report.Blocks)
	}
	return nil
}

func metadata(b *protos.Block, at protos.BlockMetadataIndex) []byte {
	if m := b.GetMetadata().GetMetadata(); len(m) > int(at) {
		return m[at]
	}
	return nil
}

// envelopes parses all transactions; nil stands for what is none, which peers mark invalid.
func (a *Auditor) envelopes(b *protos.Block) ([]*envelope, error) {
	number := b.GetHeader().GetNumber()
	all := make([]*envelope, len(b.GetData().GetData()))
	if len(all) == 0 {
		return nil, a.differs(Difference{Block: number, Rule: export.RuleBlock, Detail: "it has no transactions"})
	}
	for n, raw := range b.GetData().GetData() {
		e, err := parseEnvelope(raw, n)
		if err != nil {
			continue
		}
		if e.channel != a.Channel && (e.kind == protos.HeaderType_CONFIG || number == 0) {
			return nil, a.differs(Difference{Block: number, Position: &n, Rule: RuleChannel, Detail: fmt.Sprintf("it is of the channel %q", e.channel)})
		}
		all[n] = e
	}
	return all, nil
}

// ordered checks the orderers' signatures by the configuration before this block.
func (a *Auditor) ordered(b *protos.Block, envelopes []*envelope) error {
	number := b.GetHeader().GetNumber()
	var m protos.Metadata
	var said protos.OrdererBlockMetadata
	if errors.Join(protos.Unmarshal(metadata(b, protos.BlockMetadataIndex_SIGNATURES), &m), protos.Unmarshal(m.GetValue(), &said)) != nil {
		return a.differs(Difference{Block: number, Rule: RuleOrderers, Detail: "the signatures cannot be read"})
	}
	header := export.HeaderBytes(b.GetHeader())
	var signatures []signed
	for _, s := range m.GetSignatures() {
		var h protos.SignatureHeader
		if protos.Unmarshal(s.GetSignatureHeader(), &h) != nil {
			continue
		}
		signatures = append(signatures, signed{h.GetCreator(), slices.Concat(m.GetValue(), s.GetSignatureHeader(), header), s.GetSignature()})
	}
	if !a.config.satisfied(signatures) {
		return a.differs(Difference{Block: number, Rule: RuleOrderers, Detail: fmt.Sprintf("%d signatures", len(signatures))})
	}
	last := a.lastConfig
	if envelopes[0] != nil && envelopes[0].kind == protos.HeaderType_CONFIG {
		last = number
	}
	if at := said.GetLastConfig().GetIndex(); at != last {
		return a.differs(Difference{Block: number, Rule: RuleLastConfig, Detail: fmt.Sprintf("it says block %d, it is block %d", at, last)})
	}
	return nil
}

// flagged judges every validity flag, as far as a block shows what is valid, and follows what valid transactions write.
func (a *Auditor) flagged(number uint64, envelopes []*envelope, flags []byte) error {
	a.versions.begin(number)
	registry, err := transaction.Standing(a.read)
	if err != nil {
		return err
	}
	passed := map[string]bool{} // ids in this block that came as far as the state
	for n, e := range envelopes {
		code := fabric.Code(flags[n])
		differs := func(rule, detail string) error {
			d := Difference{Block: number, Position: &n, Rule: rule, Detail: detail}
			if e != nil {
				d.Transaction = printable(e.id)
			}
			return a.differs(d)
		}
		fault := a.fault(number, e, registry)
		ours := e != nil && e.chaincode == a.Chaincode && e.kind == protos.HeaderType_ENDORSER_TRANSACTION
		if ours {
			a.report.Transactions++
		}
		if code == fabric.Valid {
			if fault == "" && e.kind == protos.HeaderType_ENDORSER_TRANSACTION && (passed[e.id] || a.ids[sha256.Sum256([]byte(e.id))]) {
				fault = "a transaction of this id came before"
			}
			if fault != "" {
				return differs(RuleMarkedValid, fault)
			}
			a.versions.apply(e)
		} else {
			explained := fault != "" || e.ranges || !ours && e.kind != protos.HeaderType_CONFIG ||
				ours && (registry == nil || !endorsedByAll(e.endorsers(a.config), *registry)) ||
				passed[e.id] || a.ids[sha256.Sum256([]byte(e.id))]
			if !explained {
				return differs(RuleMarkedInvalid, fmt.Sprintf("marked %s", code))
			}
			if ours {
				a.report.Invalid++
			}
		}
		if e != nil && (code == fabric.Valid || code == fabric.ReadConflict || code == phantom) {
			passed[e.id] = true
		}
	}
	for _, e := range envelopes {
		if e != nil && e.kind == protos.HeaderType_ENDORSER_TRANSACTION {
			a.ids[sha256.Sum256([]byte(e.id))] = true
		}
	}
	return nil
}

// phantom is the code of a transaction that had read a range which changed.
const phantom fabric.Code = 12

// fault says why a transaction cannot be valid, "" if nothing shows why.
func (a *Auditor) fault(number uint64, e *envelope, registry *transaction.Registry) string {
	switch {
	case e == nil:
		return "it is no transaction"
	case number == 0:
		return ""
	}
	if i, err := a.config.identity(e.creator); err != nil {
		return "no member of the channel knows its sender"
	} else if !i.verify(e.payload, e.signature) {
		return "its sender has not signed it"
	}
	switch {
	case e.kind == protos.HeaderType_CONFIG:
		return ""
	case e.kind != protos.HeaderType_ENDORSER_TRANSACTION:
		return "it is of a kind that peers do not take"
	case e.channel != a.Channel:
		return "it is of another channel"
	case !e.named():
		return "its id is not its own"
	case !e.bound:
		return "what the peers endorsed is another transaction"
	}
	if e.chaincode == a.Chaincode && registry != nil && !endorsedByKinds(e.endorsers(a.config), *registry) {
		return "not a member of each kind has endorsed it"
	}
	if key := a.versions.conflict(e); key != "" {
		return "what it had read has changed: " + key
	}
	return ""
}

// committed holds the peer's own chain of flags and writes against what they are here.
func (a *Auditor) committed(b *protos.Block, flags []byte) error {
	raw := metadata(b, protos.BlockMetadataIndex_COMMIT_HASH)
	number := b.GetHeader().GetNumber()
	if len(raw) == 0 {
		if a.commit != nil {
			return a.differs(Difference{Block: number, Rule: RuleCommitHash, Detail: "it has none, and the block before has one"})
		}
		return nil // a peer of an old version, or the first block
	}
	var m protos.Metadata
	if err := protos.Unmarshal(raw, &m); err != nil || len(m.GetValue()) == 0 {
		return a.differs(Difference{Block: number, Rule: RuleCommitHash, Detail: "it cannot be read"})
	}
	// A peer that began to keep them later begins with what it had then: only the first one is believed.
	if want := a.versions.commitHash(flags, a.commit); (a.commit != nil || number == 1) && !a.versions.unknown && !bytes.Equal(want[:], m.GetValue()) {
		return a.differs(Difference{Block: number, Rule: RuleCommitHash, Detail: fmt.Sprintf("it is %x and must be %x", m.GetValue(), want)})
	}
	a.commit = m.GetValue()
	return nil
}

// read is transaction.Read of the replayed state.
func (a *Auditor) read(key string) ([]byte, error) { return a.state[key], nil }

// judged has the contract judge what a block's transactions say to the ledger.
func (a *Auditor) judged(ctx context.Context, b *protos.Block, envelopes []*envelope) error {
	number := b.GetHeader().GetNumber()
	block, err := fabric.ParseBlock(b, a.Chaincode)
	if err != nil {
		return a.differs(Difference{Block: number, Rule: export.RuleBlock, Detail: err.Error()})
	}
	registry, err := transaction.Standing(a.read)
	if err != nil {
		return err
	}
	events, writes, err := fabric.Replay(ctx, a.court, a.state, block, func(t fabric.Transaction) contract.Admit {
		return a.admit(envelopes[t.Position], t, registry)
	})
	var diverged *fabric.Divergence
	if errors.As(err, &diverged) {
		return a.differs(differenceOf(diverged))
	}
	if err != nil {
		return err
	}
	own := map[string][]byte{}
	for _, t := range block.Transactions {
		if t.Function != transaction.Submit {
			if err := a.proposed(number, envelopes[t.Position], t, own); err != nil {
				return err
			}
		}
	}
	maps.Copy(writes, own)
	a.apply(writes)
	if err := a.grown(ctx, number, events); err != nil {
		return err
	}
	for _, t := range block.Transactions {
		if t.Function == transaction.Checkpoint {
			if err := a.checkpoint(number, t); err != nil {
				return err
			}
		}
	}
	return nil
}

func differenceOf(d *fabric.Divergence) Difference {
	out := Difference{Block: d.Block, Transaction: printable(d.Transaction), Position: &d.Position, Key: printable(d.Key), Rule: d.Rule}
	if d.Event >= 0 {
		out.Event, out.Hash = &d.Event, hex.EncodeToString(d.Hash[:])
	}
	switch {
	case d.Rule == fabric.RuleVerdict:
		out.Detail = fmt.Sprintf("the peers say %q, the contract %q", d.Says, d.Contract)
	case d.Says != "":
		out.Detail = d.Says
	case d.Err != nil:
		out.Detail = d.Err.Error()
	}
	return out
}

// admit judges the sender as the chaincode does.
func (a *Auditor) admit(e *envelope, t fabric.Transaction, registry *transaction.Registry) contract.Admit {
	i, err := a.config.identity(e.creator)
	if err != nil || registry == nil || registry.Kind(i.member.name) == "" || transaction.Fits(t.Args) != nil {
		return nil
	}
	code, err := i.attribute(transaction.OrganisationAttribute)
	if err != nil {
		return nil
	}
	kind := registry.Kind(i.member.name)
	return func(s *contract.Signed, k contract.OrganisationKind) *contract.Refusal {
		if !transaction.MaySend(kind, code, s.Event.Actor, k) {
			return contract.SentByAnother()
		}
		return contract.TooFarAhead(s, t.Time)
	}
}

// proposed judges a transaction that takes no events: own is what those before it in the block have changed.
func (a *Auditor) proposed(number uint64, e *envelope, t fabric.Transaction, own map[string][]byte) error {
	differs := func(key, detail string) error {
		return a.differs(Difference{Block: number, Transaction: printable(t.ID), Position: &t.Position, Key: key, Rule: RuleRegistry, Detail: detail})
	}
	var answer []byte
	var writes map[string][]byte
	if t.Function == transaction.ProposeRegistry {
		i, err := a.config.identity(e.creator)
		if err != nil || len(t.Args) != 1 {
			return differs("", "it cannot have been endorsed")
		}
		admin := slices.Contains(i.certificate.Subject.OrganizationalUnit, "admin")
		read := func(key string) ([]byte, error) {
			if v, ok := own[key]; ok {
				return v, nil
			}
			return a.read(key)
		}
		if answer, writes, err = transaction.Propose(read, i.member.name, admin, t.Args[0]); err != nil {
			return differs("", err.Error())
		}
		if !bytes.Equal(answer, t.Answer) {
			return differs("", fmt.Sprintf("the peers say %q, it is %q", t.Answer, answer))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(t.Writes)) {
		if w, ok := writes[k]; !ok || !bytes.Equal(w, t.Writes[k]) {
			return differs(printable(k), "")
		}
	}
	for _, k := range slices.Sorted(maps.Keys(writes)) {
		if _, ok := t.Writes[k]; !ok {
			return differs(k, "")
		}
	}
	maps.Copy(own, writes)
	return nil
}

func (a *Auditor) apply(writes map[string][]byte) {
	if a.written != nil {
		for k, v := range writes {
			a.written(k, a.state[k], v)
		}
	}
	a.state.Apply(writes)
	a.report.State = len(a.state)
}

// grown appends a block's events to the log, under one checkpoint body.
func (a *Auditor) grown(ctx context.Context, number uint64, events []*contract.Signed) error {
	if len(events) == 0 {
		return nil
	}
	if a.entries != nil {
		if err := a.entries(ctx, a.edge.End(), events); err != nil {
			return err
		}
	}
	for _, e := range events {
		leaf := ledger.LeafHash(e.Bytes)
		if err := a.edge.Append(leaf[:], nil); err != nil {
			return err
		}
		a.report.Kinds[e.Event.Kind]++
		a.report.Time = max(a.report.Time, e.Event.Time)
	}
	root, err := a.edge.GetRootHash(nil)
	if err != nil {
		return err
	}
	h := head{number, a.edge.End(), [ledger.HashSize]byte(root), a.report.Time}
	a.heads = append(a.heads, h)
	a.report.Entries, a.report.Root = h.size, hex.EncodeToString(root)
	for len(a.waiting) > 0 && a.waiting[0].Checkpoint.Size <= h.size {
		n := a.waiting[0]
		a.waiting = a.waiting[1:]
		if err := a.fits(n, Difference{Block: number}); err != nil {
			return err
		}
	}
	return nil
}

// body is the checkpoint body of a log that a block left.
func (a *Auditor) body(h head) ([]byte, error) {
	return ledger.Checkpoint{Origin: a.Origin, Size: h.size, Root: h.root, Time: h.time}.Body()
}

// checkpoint takes one from the chain.
func (a *Auditor) checkpoint(number uint64, t fabric.Transaction) error {
	at := Difference{Block: number, Transaction: printable(t.ID), Position: &t.Position}
	none := func(detail string) error {
		at.Rule, at.Detail = RuleNoCheckpoint, detail
		return a.differs(at)
	}
	if len(t.Args) != 1 {
		return none("not one argument")
	}
	n, err := ledger.ParseNote(t.Args[0])
	if err != nil {
		return none(err.Error())
	}
	if !a.vouched(n) {
		a.report.Unvouched++
		return nil
	}
	if a.Origin == "" {
		a.Origin = n.Checkpoint.Origin
	}
	if n.Checkpoint.Origin != a.Origin {
		return none("of the log " + n.Checkpoint.Origin)
	}
	if n.Checkpoint.Size > a.edge.End() { // it was signed before this block was made, by whoever had fewer blocks than this
		at.Rule, at.Detail = RuleRolledBack, fmt.Sprintf("size %d, and the chain gives %d so far", n.Checkpoint.Size, a.edge.End())
		return a.differs(at)
	}
	return a.fits(n, at)
}

// fits holds a checkpoint of a size that is reached against the log.
func (a *Auditor) fits(n *ledger.Note, at Difference) error {
	c := n.Checkpoint
	i, found := slices.BinarySearchFunc(a.heads, c.Size, func(h head, size uint64) int { return cmp.Compare(h.size, size) })
	if !found {
		at.Rule, at.Detail = RuleCheckpoint, fmt.Sprintf("size %d: no block ends there", c.Size)
		return a.differs(at)
	}
	h := a.heads[i]
	body, err := a.body(h)
	if err != nil {
		return err
	}
	if !bytes.Equal(body, n.Body) {
		since := a.good
		if at.Transaction == "" {
			at.Block = h.block
		}
		at.Since, at.Rule = &since, RuleCheckpoint
		at.Detail = fmt.Sprintf("size %d: the checkpoint has root %x, time %s; the chain gives %x, %s", c.Size, c.Root, moment(c.Time), h.root, moment(h.time))
		return a.differs(at)
	}
	a.good = max(a.good, h.block+1)
	a.report.Checkpoints++
	if len(a.Trust.Cosigners) > 0 && len(n.CosignersOf(a.Trust.Cosigners)) >= max(a.Trust.Needed, 1) {
		a.report.Cosigned = max(a.report.Cosigned, c.Size)
	}
	return nil
}

func moment(micros int64) string { return time.UnixMicro(micros).UTC().Format(time.RFC3339Nano) }

// reconfigured takes a configuration over, which governs the blocks after this one.
func (a *Auditor) reconfigured(number uint64, envelopes []*envelope, flags []byte) error {
	differs := func(detail string) error {
		return a.differs(Difference{Block: number, Rule: RuleConfiguration, Detail: detail})
	}
	for n, e := range envelopes {
		if e == nil || e.kind != protos.HeaderType_CONFIG {
			if number == 0 {
				return differs("block 0 is no configuration")
			}
			continue
		}
		if len(envelopes) != 1 {
			return differs("it does not stand alone in its block")
		}
		a.lastConfig = number
		if fabric.Code(flags[n]) != fabric.Valid {
			continue
		}
		c, err := newConfiguration(e.config)
		if errors.Is(err, ErrOrdering) {
			return fmt.Errorf("block %d: %w", number, err)
		}
		if err != nil {
			return differs(err.Error())
		}
		if a.config != nil && c.sequence != a.config.sequence+1 {
			return differs(fmt.Sprintf("configuration %d after configuration %d", c.sequence, a.config.sequence))
		}
		a.config = c
		a.report.Configurations++
	}
	return nil
}

// End says that there are no more blocks.
func (a *Auditor) End() *Report {
	if a.report.Difference == nil && len(a.waiting) > 0 {
		c := a.waiting[0].Checkpoint
		since := a.good
		_ = a.differs(Difference{Block: a.report.Blocks, Since: &since, Rule: RuleRolledBack, Detail: fmt.Sprintf("size %d, and the chain gives %d", c.Size, a.report.Entries)})
	}
	return a.report
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
