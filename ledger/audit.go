package ledger

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/elicence/elicence/ledger/contract"
	"github.com/transparency-dev/merkle/compact"
)

// Audited is a log as its keeper hands it to an auditor, who believes none of it.
type Audited struct {
	Origin string
	Size   uint64
	Body   []byte // checkpoint body of that size as the keeper has it; nil for an empty log
	// Entries returns the raw events from … to-1, or fewer if it has no more.
	Entries func(ctx context.Context, from, to uint64) ([][]byte, error)
	// Published returns at most limit signed checkpoints of sizes greater than size, smallest first; nil for none.
	Published func(ctx context.Context, size uint64, limit int) ([][]byte, error)
	// Tile returns a published object by its path, an error if it cannot. With it the audit names an altered entry exactly,
	// where the checkpoints alone say only between which two it must lie. May be nil.
	Tile func(ctx context.Context, path string) ([]byte, error)
	// Known are signed checkpoints from elsewhere: what cosigners and holders of receipts have kept.
	Known [][]byte
	// Logs and Cosigners, with Needed, are from the trust file.
	Trust Trust
	// Progress, if set, is called now and then with the number of entries done.
	Progress func(done uint64)
}

// Rules of the log itself, beside those of the contract.
const (
	RuleMissing      = "entry-missing"
	RuleNotPublished = "not-as-published"
	RuleRoot         = "root-mismatch"
	RuleTime         = "checkpoint-time"
	RuleCheckpoint   = "bad-checkpoint"
	RuleRolledBack   = "rolled-back"
)

var auditTexts = map[string][2]string{
	RuleMissing:      {"条目缺失", "the entry is missing"},
	RuleNotPublished: {"条目与已公布的不同", "the entry is not the one that was published"},
	RuleRoot:         {"条目算不出检查点的根", "the entries do not give the checkpoint's root"},
	RuleTime:         {"检查点的时间不是最近事件的时间", "the checkpoint's time is not that of the latest event"},
	RuleCheckpoint:   {"检查点格式或日志签名不正确", "the checkpoint is malformed or not signed by the log"},
	RuleRolledBack:   {"已签署的检查点有这一条，账本上没有", "a signed checkpoint has this entry and the log has not"},
}

// Misfit is the first entry that does not fit: exactly entry Index if Until is Index+1, else one of Index … Until-1.
type Misfit struct {
	Index uint64 `json:"index"`
	Until uint64 `json:"until"`
	Rule  string `json:"rule"` // of contract or of this package
	ZH    string `json:"zh"`
	EN    string `json:"en"`
}

// AuditReport is what an audit found.
type AuditReport struct {
	Entries     uint64                   `json:"entries"` // that fit, from the first
	Kinds       map[contract.Kind]uint64 `json:"kinds"`   // of those
	Checkpoints int                      `json:"checkpoints"`
	Root        [HashSize]byte           `json:"-"`
	Time        int64                    `json:"time"`             // of the latest of those, microseconds
	Cosigned    uint64                   `json:"cosigned"`         // size of the largest checkpoint that enough trusted parties have cosigned
	Misfit      *Misfit                  `json:"misfit,omitempty"` // nil: clean
}

const auditBatch = 1024

// Audit replays the log from entry 0: every signature, every rule of the contract, every hash, every checkpoint. What does
// not fit is in the report; an error means that the audit could not be carried through. The State is kept in memory, some
// 300 bytes a licence.
func Audit(ctx context.Context, in Audited) (*AuditReport, error) {
	a := &auditor{
		Audited: in, court: contract.NewCourt(4096), state: contract.MapState{},
		edge:   (&compact.RangeFactory{Hash: Hasher{}.HashChildren}).NewEmptyRange(0),
		report: &AuditReport{Kinds: map[contract.Kind]uint64{}},
	}
	if err := a.prepare(); err != nil {
		return nil, err
	}
	if err := a.run(ctx); err != nil {
		return nil, err
	}
	return a.report, nil
}

type auditor struct {
	Audited
	court  *contract.Court
	state  contract.MapState
	edge   *compact.Range
	report *AuditReport

	known    []*Note // sorted by size
	next     []*Note // published, not reached yet
	drained  bool    // no more published ones
	good     uint64  // size of the last checkpoint that fitted
	leaves   [][HashSize]byte
	leavesAt uint64
}

var errMisfit = errors.New("misfit")

func (a *auditor) misfit(rule string, index, until uint64) error {
	t := auditTexts[rule]
	a.report.Misfit = &Misfit{Index: index, Until: until, Rule: rule, ZH: t[0], EN: t[1]}
	return errMisfit
}

func (a *auditor) prepare() error {
	for _, b := range a.Known {
		n, err := ParseNote(b)
		if err != nil {
			return err
		}
		if err := a.authentic(n); err != nil {
			return err
		}
		a.known = append(a.known, n)
	}
	slices.SortFunc(a.known, func(x, y *Note) int { return cmp.Compare(x.Checkpoint.Size, y.Checkpoint.Size) })
	return nil
}

// authentic checks that the log signed the checkpoint, if the caller says which key that is.
func (a *auditor) authentic(n *Note) error {
	if n.Checkpoint.Origin != a.Origin {
		return fmt.Errorf("%w: of %s", ErrNote, n.Checkpoint.Origin)
	}
	if len(a.Trust.Logs) == 0 {
		return nil
	}
	_, err := n.signedBy(a.Trust.Logs)
	return err
}

func (a *auditor) run(ctx context.Context) error {
	err := a.replay(ctx)
	if errors.Is(err, errMisfit) {
		return nil
	}
	return err
}

func (a *auditor) replay(ctx context.Context) error {
	for from := uint64(0); from < a.Size; from += auditBatch {
		if err := a.batch(ctx, from, min(from+auditBatch, a.Size)); err != nil {
			return err
		}
		if a.Progress != nil {
			a.Progress(a.report.Entries)
		}
	}
	if err := a.head(); err != nil {
		return err
	}
	if len(a.known) > 0 { // all that fitted are gone
		return a.misfit(RuleRolledBack, a.Size, a.known[0].Checkpoint.Size)
	}
	n, err := a.upcoming(ctx, a.Size)
	if err == nil && n != nil {
		return a.misfit(RuleRolledBack, a.Size, n.Checkpoint.Size)
	}
	return err
}

func (a *auditor) batch(ctx context.Context, from, to uint64) error {
	entries, err := a.Entries(ctx, from, to)
	if err != nil {
		return fmt.Errorf("ledger: audit: entries from %d: %w", from, err)
	}
	verdicts, writes, err := a.court.Judge(ctx, a.state, entries)
	if err != nil {
		return err
	}
	a.state.Apply(writes)
	if _, err := a.upcoming(ctx, from); err != nil {
		return err
	}
	for i, v := range verdicts {
		index := from + uint64(i)
		leaf := LeafHash(entries[i])
		if published, ok := a.leaf(ctx, index); ok && published != leaf {
			return a.misfit(RuleNotPublished, index, index+1)
		}
		if v.Refusal != nil {
			a.report.Misfit = &Misfit{Index: index, Until: index + 1, Rule: v.Refusal.Rule, ZH: v.Refusal.ZH, EN: v.Refusal.EN}
			return errMisfit
		}
		if err := a.edge.Append(leaf[:], nil); err != nil {
			return err
		}
		a.report.Entries++
		a.report.Kinds[v.Event.Event.Kind]++
		a.report.Time = max(a.report.Time, v.Event.Event.Time)
		if err := a.reached(ctx, index+1); err != nil {
			return err
		}
	}
	if n := from + uint64(len(entries)); n < to {
		return a.misfit(RuleMissing, n, n+1)
	}
	return nil
}

// leaf returns the published leaf hash of an entry, if there is a tile of it.
func (a *auditor) leaf(ctx context.Context, index uint64) (h [HashSize]byte, ok bool) {
	if a.Tile == nil {
		return h, false
	}
	tile := index / TileWidth
	if a.leaves == nil || a.leavesAt != tile {
		a.leaves, a.leavesAt = a.readLeaves(ctx, tile), tile
	}
	if n := index % TileWidth; n < uint64(len(a.leaves)) {
		return a.leaves[n], true
	}
	return h, false
}

func (a *auditor) readLeaves(ctx context.Context, tile uint64) [][HashSize]byte {
	widths := []int{TileWidth}
	for _, n := range slices.Concat(a.next, a.known) {
		if s := n.Checkpoint.Size; s > tile*TileWidth && s < (tile+1)*TileWidth {
			widths = append(widths, int(s-tile*TileWidth))
		}
	}
	slices.Sort(widths)
	for _, w := range slices.Backward(widths) {
		if b, err := a.Tile(ctx, TilePath(0, tile, w)); err == nil {
			if hashes, err := ParseTile(b, w); err == nil {
				return hashes
			}
		}
	}
	return [][HashSize]byte{}
}

// upcoming returns the smallest published checkpoint of a size greater than size, which must not go back between calls.
func (a *auditor) upcoming(ctx context.Context, size uint64) (*Note, error) {
	if len(a.next) == 0 && !a.drained && a.Published != nil {
		const limit = 256
		page, err := a.Published(ctx, size, limit)
		if err != nil {
			return nil, fmt.Errorf("ledger: audit: checkpoints: %w", err)
		}
		a.drained = len(page) < limit
		for _, b := range page {
			n, err := ParseNote(b)
			if err == nil {
				err = a.authentic(n)
			}
			if err != nil || n.Checkpoint.Size <= size {
				return nil, a.misfit(RuleCheckpoint, a.good, a.Size)
			}
			a.next = append(a.next, n)
			size = n.Checkpoint.Size
		}
	}
	if len(a.next) == 0 {
		return nil, nil
	}
	return a.next[0], nil
}

// reached holds the tree of that size against every checkpoint of it.
func (a *auditor) reached(ctx context.Context, size uint64) error {
	for len(a.known) > 0 && a.known[0].Checkpoint.Size == size {
		if err := a.fits(a.known[0]); err != nil {
			return err
		}
		a.known = a.known[1:]
	}
	n, err := a.upcoming(ctx, size-1)
	if err != nil || n == nil || n.Checkpoint.Size != size {
		return err
	}
	a.next = a.next[1:]
	return a.fits(n)
}

func (a *auditor) fits(n *Note) error {
	if err := a.matches(n.Body); err != nil {
		return err
	}
	a.report.Checkpoints++
	a.good = n.Checkpoint.Size
	var e Evidence
	n.vouched(a.Trust.Cosigners, "", &e)
	if len(e.Cosigned) >= max(a.Trust.Needed, 1) {
		a.report.Cosigned = max(a.report.Cosigned, n.Checkpoint.Size)
	}
	return nil
}

// matches holds a body against the tree as it is now.
func (a *auditor) matches(body []byte) error {
	root, err := a.edge.GetRootHash(nil)
	if err != nil {
		return err
	}
	size := a.edge.End()
	want := Checkpoint{Origin: a.Origin, Size: size, Root: [HashSize]byte(root), Time: a.report.Time}
	b, err := want.Body()
	if err != nil {
		return err
	}
	if bytes.Equal(b, body) {
		return nil
	}
	c, err := ParseCheckpoint(body)
	switch {
	case err != nil || c.Origin != want.Origin || c.Size != want.Size:
		return a.misfit(RuleCheckpoint, size-1, size)
	case c.Root != want.Root:
		return a.misfit(RuleRoot, a.good, size)
	default:
		return a.misfit(RuleTime, a.good, size)
	}
}

func (a *auditor) head() error {
	if a.Size == 0 {
		if a.Body != nil {
			return a.misfit(RuleMissing, 0, 1)
		}
		return nil
	}
	if err := a.matches(a.Body); err != nil {
		return err
	}
	root, err := a.edge.GetRootHash(nil)
	if err != nil {
		return err
	}
	a.report.Root = [HashSize]byte(root)
	return nil
}
