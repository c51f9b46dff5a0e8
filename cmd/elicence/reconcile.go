package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/storage/envelope"
	"github.com/elicence/elicence/storage/objects"
	"github.com/elicence/elicence/storage/records"
	"github.com/elicence/elicence/verify/status"
)

// reconcileRequest is what reconcile is asked for.
type reconcileRequest struct {
	Mend bool
	Deep bool // read every part, not only whether it is there
	Burn int  // numbers of each pile to burn after a restore
}

// difference is one thing in which records, objects, log and stock do not agree.
type difference struct {
	Kind   string `json:"kind"`
	Where  string `json:"where"`
	ZH     string `json:"zh"`
	EN     string `json:"en"`
	Do     string `json:"do,omitempty"` // what a person has to do, if it does not mend itself
	Mended bool   `json:"mended"`
}

// reconciled is what reconcile answers.
type reconciled struct {
	Clean       bool           `json:"clean"`    // nothing is left
	Writable    bool           `json:"writable"` // commands that write may run
	Mended      int            `json:"mended"`
	Left        int            `json:"left"`
	Kinds       map[string]int `json:"kinds,omitempty"` // of differences, however many
	Burnt       []string       `json:"burnt,omitempty"` // numbers
	Licences    int            `json:"licences"`
	Entries     uint64         `json:"entries"`
	Differences []difference   `json:"differences"` // the first thousand
}

const differencesShown = 1000

func (a *app) reconcileCommand() *cobra.Command {
	var r reconcileRequest
	var rebuild bool
	c := &cobra.Command{
		Use: "reconcile [--mend]", Short: "核对 · hold records, objects, log and stock against each other, say what differs, mend what is safe", Args: cobra.NoArgs,
		Long: `Reconcile compares and names every difference: what it is, what it means, what to do. --mend also mends what
is safe: takes over from the objects what the records lack (licences, steps, organisations, people, stock, audit
rows, entries of the log), puts back objects that the records can make again, erases again what was erased,
makes missing tiles again, and burns numbers that somebody may have. Nothing is signed anew, no object is
overwritten, and no tree is signed that is smaller than one a cosigner holds.

After a restore nothing can be written until reconcile has found, or made, everything right. Licences that
were under way when the records were lost left no trace: their numbers were the next ones in stock, so that
--burn of these are spoiled in each pile then. --rebuild makes lost records from the objects alone.

Exit codes: 0 nothing is left, 1 something is.`,
		Example: "  elicence reconcile\n  elicence reconcile --mend --json\n  elicence reconcile --mend --rebuild",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if r.Burn < 0 {
				return usage("--burn is 0 or more")
			}
			if rebuild && !r.Mend {
				return usage("--rebuild makes records: say --mend, too")
			}
			if rebuild {
				if err := a.begin(cmd.Context()); err != nil {
					return err
				}
			}
			b := *a
			b.reconciling = true
			open := b.openForReading
			if r.Mend {
				open = b.openForWriting
			}
			i, err := open(cmd.Context())
			if err != nil {
				return err
			}
			defer i.close()
			result, err := i.reconcile(cmd.Context(), r)
			if err != nil {
				return err
			}
			err = a.tell(result, func(w io.Writer) { printReconciled(w, result) })
			if err == nil && !result.Clean {
				return answer(exitNo)
			}
			return err
		},
	}
	f := c.Flags()
	f.BoolVar(&r.Mend, "mend", false, "mend what is safe")
	f.BoolVar(&r.Deep, "deep", false, "read every stored part, not only whether it is there")
	f.BoolVar(&rebuild, "rebuild", false, "make records from the objects alone, where there are none")
	f.IntVar(&r.Burn, "burn", 64, "after a restore: how many of the next numbers of each pile to spoil")
	return c
}

func printReconciled(w io.Writer, r reconciled) {
	for _, d := range r.Differences {
		mark := "✗"
		if d.Mended {
			mark = "✓ 已修补 mended:"
		}
		fmt.Fprintf(w, "%s %s: %s / %s\n", mark, d.Where, d.ZH, d.EN)
		if d.Do != "" && !d.Mended {
			fmt.Fprintf(w, "  → %s\n", d.Do)
		}
	}
	if len(r.Burnt) > 0 {
		fmt.Fprintf(w, "作废 %d 个编号 numbers burnt\n", len(r.Burnt))
	}
	state := "✓ 全部相符，可以写入 / everything agrees, commands may write"
	switch {
	case !r.Clean && r.Writable:
		state = fmt.Sprintf("✗ 尚有 %d 处不符 / %d differences are left", r.Left, r.Left)
	case !r.Clean:
		state = fmt.Sprintf("✗ 尚有 %d 处不符，仍为只读 / %d differences are left, it stays read-only", r.Left, r.Left)
	case !r.Writable:
		state = "✓ 全部相符；加 --mend 解除只读 / everything agrees; --mend lifts the read-only mark"
	}
	fmt.Fprintf(w, "%s（%d 份证照 licences，账本 %d 条 entries）\n", state, r.Licences, r.Entries)
}

// begin makes empty records for a rebuild. The index key comes from the objects, else no tag would ever fit again.
func (a *app) begin(ctx context.Context) (err error) {
	i, err := a.openPlain()
	if err != nil {
		return err
	}
	if i.wrapping, err = openWrapping(ctx, i.keyring); err != nil {
		return err
	}
	defer i.close()
	if i.config.Records.shared() {
		return i.beginOnServer(ctx)
	}
	path := i.path(i.config.Records.Path)
	switch _, err := os.Stat(path); {
	case err == nil:
		// Begun before and interrupted: reconcile goes on.
		db, err := records.Open(ctx, path, records.Options{ReadOnly: true})
		if err != nil {
			return err
		}
		why, err := db.Restored(ctx)
		if err = errors.Join(err, db.Close()); err == nil && why == "" {
			err = &failure{code: exitNo, cause: fmt.Errorf("%s: 记录还在 / there are records already", path),
				do: "要重建，先将其移走 · to rebuild them, move them away first, with what lies beside them"}
		}
		return err
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	wrapped, err := i.keptIndexKey(ctx)
	if err != nil {
		return err
	}
	// The file gets its name when it has all that opening it needs: whoever is killed here begins anew.
	beside := filepath.Join(filepath.Dir(path), ".rebuild-"+strconv.Itoa(os.Getpid())+".db")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	defer os.Remove(beside + ".lock")
	db, err := records.Open(ctx, beside, records.Options{})
	if err != nil {
		return err
	}
	err = errors.Join(db.SetIndexKey(ctx, wrapped), db.MarkRestored(ctx, "rebuilt from objects alone"))
	if err == nil {
		err = db.Snapshot(ctx, beside+".new")
	}
	if err = errors.Join(err, db.Close(), os.Remove(beside), forgetBeside(beside)); err != nil {
		return err
	}
	return errors.Join(os.Rename(beside+".new", path), syncDir(filepath.Dir(path)))
}

// beginOnServer takes an empty database: its owner makes one, whatever became of the old one.
func (i *installation) beginOnServer(ctx context.Context) error {
	wrapped, err := i.keptIndexKey(ctx)
	if err != nil {
		return err
	}
	db, err := i.openRecords(ctx, records.Options{})
	if err != nil {
		return err
	}
	why, err := db.Restored(ctx)
	if err == nil && why == "" {
		err = db.SetIndexKey(ctx, wrapped)
		if errors.Is(err, licence.ErrConflict) {
			err = &failure{code: exitNo, cause: errors.New("数据库中还有记录 / there are records in the database already"),
				do: "要重建，先备好空数据库 · to rebuild them, have an empty database in place of this one"}
		}
		if err == nil {
			err = db.MarkRestored(ctx, "rebuilt from objects alone")
		}
	}
	return errors.Join(err, db.Close())
}

// keptIndexKey is the key of the search tags as it lies among the objects: without it no tag would ever fit again.
func (i *installation) keptIndexKey(ctx context.Context) (wrapped []byte, err error) {
	if i.objects, err = i.openObjects(); err != nil {
		return nil, err
	}
	b, err := i.objects.Get(ctx, objects.Deletable+envelope.IndexKeyID)
	if err != nil {
		return nil, fmt.Errorf("the index key: %w", err)
	}
	record, err := envelope.ParseKeyRecord(b)
	if err != nil {
		return nil, err
	}
	if _, err := envelope.OpenIndex(ctx, i.wrapping, record.Wrapped); err != nil {
		return nil, fmt.Errorf("the index key: %w", err)
	}
	return record.Wrapped, nil
}

// reconciler is one run.
type reconciler struct {
	*installation
	reconcileRequest
	result  reconciled
	marked  string         // why the records may not be written yet
	unknown map[string]int // by issuer: issues in the log of which nothing is left
}

// reconcile goes from what everything else needs to what needs everything: acts, trail, erasures, log, licences, their steps,
// then objects from records, stock, and the audit of it all.
func (i *installation) reconcile(ctx context.Context, r reconcileRequest) (reconciled, error) {
	x := &reconciler{installation: i, reconcileRequest: r, unknown: map[string]int{},
		result: reconciled{Kinds: map[string]int{}, Differences: []difference{}}}
	var err error
	if x.marked, err = i.db.Restored(ctx); err != nil {
		return x.result, err
	}
	if err := i.db.Record(ctx, i.reading(ctx, actor{}, "reconcile", "", fmt.Sprintf("mend %v", r.Mend))); err != nil {
		return x.result, err
	}
	for _, step := range []func(context.Context) error{
		x.acts, x.trail, x.erasures, x.log, x.licences, x.steps, x.keyObjects, x.storedParts, x.tiles, x.burn, x.end,
	} {
		if err := step(ctx); err != nil {
			return x.result, err
		}
	}
	return x.result, nil
}

// differs notes a difference; mend is tried if it may be mended, and nil if it cannot.
func (x *reconciler) differs(d difference, mend func() error) error {
	if mend != nil && x.Mend {
		if err := mend(); err != nil {
			return fmt.Errorf("mend %s, %s: %w", d.Kind, d.Where, err)
		}
		d.Mended = true
	}
	if mend != nil && d.Do == "" {
		d.Do = "elicence reconcile --mend"
	}
	x.result.Kinds[d.Kind]++
	if d.Mended {
		x.result.Mended++
	} else {
		x.result.Left++
	}
	if len(x.result.Differences) < differencesShown {
		x.result.Differences = append(x.result.Differences, d)
	}
	return nil
}

// newer are the bundles of a prefix that may hold something after the last that the records have.
func (x *reconciler) newer(ctx context.Context, prefix string, last uint64) ([]string, error) {
	names, err := x.bundles(ctx, prefix)
	if err != nil {
		return nil, err
	}
	first := func(n int) uint64 {
		v, err := strconv.ParseUint(strings.TrimPrefix(names[n], prefix), 10, 64)
		if err != nil {
			return 0
		}
		return v
	}
	for n := range names {
		if n+1 == len(names) || first(n+1) > last {
			return names[n:], nil
		}
	}
	return nil, nil
}

func (x *reconciler) acts(ctx context.Context) error {
	last, err := x.db.LastAct(ctx)
	if err != nil {
		return err
	}
	names, err := x.newer(ctx, actsPrefix, uint64(last))
	if err != nil {
		return err
	}
	for _, name := range names {
		acts, err := readBundle[records.Act](ctx, x.installation, name)
		if err != nil {
			return err
		}
		if acts[len(acts)-1].Ordinal <= last {
			continue
		}
		fresh := acts[len(acts)-1].Ordinal - max(last, acts[0].Ordinal-1)
		d := difference{Kind: "acts", Where: name, ZH: fmt.Sprintf("记录缺少 %d 项：机构、人员、编号、附言", fresh),
			EN: fmt.Sprintf("the records lack %d acts: organisations, people, stock, words of steps", fresh)}
		err = x.differs(d, func() error {
			_, err := x.db.Adopt(ctx, acts)
			return err
		})
		if errors.Is(err, licence.ErrConflict) {
			d = difference{Kind: "acts-diverged", Where: name, ZH: "与记录中同序的不同：两份历史", EN: "the records have others in their place: these are two histories",
				Do: "恢复另一份备份，或查明何人在何处写入 · restore another backup, or find out who wrote where"}
			err = x.differs(d, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (x *reconciler) trail(ctx context.Context) error {
	last, _, _, err := x.db.TrailHead(ctx)
	if err != nil {
		return err
	}
	names, err := x.newer(ctx, trailPrefix, last)
	if err != nil {
		return err
	}
	for _, name := range names {
		rows, err := readBundle[keptRow](ctx, x.installation, name)
		if err != nil {
			return err
		}
		if rows[len(rows)-1].Sequence <= last {
			continue
		}
		links := make([]audit.Link, len(rows))
		for n, r := range rows {
			if links[n], err = r.link(); err != nil {
				return err
			}
		}
		d := difference{Kind: "audit-rows", Where: name, ZH: fmt.Sprintf("记录缺少第 %d 行至第 %d 行审计记录", last+1, rows[len(rows)-1].Sequence),
			EN: fmt.Sprintf("the records lack the audit rows from %d to %d", last+1, rows[len(rows)-1].Sequence)}
		err = x.differs(d, func() error {
			_, err := x.db.AdoptTrail(ctx, links)
			return err
		})
		if errors.Is(err, licence.ErrConflict) {
			d.Kind, d.ZH, d.EN = "audit-diverged", "审计记录接不上记录中的链", "they do not continue the chain of the records: these are two histories"
			d.Do = "恢复另一份备份，或查明何人在何处写入 · restore another backup, or find out who wrote where"
			err = x.differs(d, nil)
		}
		if err != nil {
			return err
		}
		last = rows[len(rows)-1].Sequence
	}
	return nil
}

// erasures are done again wherever a note says so, before anything could be read.
func (x *reconciler) erasures(ctx context.Context) error {
	notes, err := x.bundles(ctx, erasedPrefix)
	if err != nil {
		return err
	}
	noted := map[string]bool{}
	for _, name := range notes {
		keyID := strings.TrimPrefix(name, erasedPrefix)
		noted[keyID] = true
		n, err := x.erasureNoteOf(ctx, keyID)
		if err != nil {
			return err
		}
		id, gone, found, err := x.db.Holder(ctx, keyID)
		if err != nil {
			return err
		}
		if found && !gone {
			err := x.differs(difference{Kind: "erase-again", Where: name, ZH: "已销毁的证照又有了个人数据", EN: "a licence that was erased has its personal data again"}, func() error {
				return x.destroy(ctx, id, x.reading(ctx, actor{}, "erase", id, n.Reason+"; again, by reconcile"))
			})
			if err != nil {
				return err
			}
		}
		_, err = x.objects.Stat(ctx, objects.Deletable+keyID)
		if err == nil {
			err = x.differs(difference{Kind: "key-again", Where: objects.Deletable + keyID, ZH: "已销毁的数据密钥仍在对象库", EN: "the data key of an erased licence is still among the objects"},
				func() error { return x.dropKey(ctx, keyID) })
		} else if errors.Is(err, objects.ErrNotFound) {
			err = nil
		}
		if err != nil {
			return err
		}
	}
	for after := ""; ; {
		ids, err := x.db.Erased(ctx, after, 256)
		if err != nil || len(ids) == 0 {
			return err
		}
		for _, id := range ids {
			after = id
			if noted[id] {
				continue
			}
			e, _, err := x.db.ErasureOf(ctx, id)
			if err != nil {
				return err
			}
			reason, _, _ := strings.Cut(e.Reason, ";")
			err = x.differs(difference{Kind: "erasure-note", Where: erasedPrefix + id, ZH: "销毁记录不在对象库", EN: "the note of an erasure is not among the objects"},
				func() error {
					return x.noteErasure(ctx, erasureNote{Format: 1, KeyID: id, At: e.At, Reason: reason})
				})
			if err != nil {
				return err
			}
		}
	}
}

// lost is a licence that the objects have and the records lack.
type lost struct {
	created time.Time
	number  string
	key     string               // object below keys/, "" for an erased one
	erased  *records.LostErasure // nil for one with its key
}

// licences that the records lack come back in the order of their making.
func (x *reconciler) licences(ctx context.Context) error {
	keys, err := x.bundles(ctx, objects.Deletable)
	if err != nil {
		return err
	}
	var all []lost
	for _, key := range keys {
		name := strings.TrimPrefix(key, objects.Deletable)
		if name == envelope.IndexKeyID {
			continue
		}
		_, _, found, err := x.db.Holder(ctx, strings.TrimSuffix(name, besides))
		if err != nil {
			return err
		}
		if found {
			continue
		}
		l, known, err := x.lostLicence(ctx, key)
		if err != nil {
			return err
		}
		if known {
			all = append(all, lost{created: l.Created, number: l.Number, key: key})
		}
	}
	erasures, err := x.db.LostErasures(ctx)
	if err != nil {
		return err
	}
	for n := range erasures {
		l := erasures[n].Licence
		all = append(all, lost{created: l.Created, number: l.Number, erased: &erasures[n]})
	}
	slices.SortFunc(all, func(a, b lost) int { return cmp.Or(a.created.Compare(b.created), cmp.Compare(a.number, b.number)) })
	bar := x.app.progress(len(all), "证照 licences")
	defer func() { _ = bar.Finish() }()
	for _, l := range all {
		_ = bar.Add(1)
		if err := x.adopt(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

func (x *reconciler) adopt(ctx context.Context, one lost) error {
	d := difference{Kind: "licence", Where: one.number, ZH: "记录缺少这份证照，对象库有", EN: "the records lack this licence, the objects have it"}
	if one.erased != nil {
		d = difference{Kind: "erased-licence", Where: one.number, ZH: "记录缺少这份已销毁的证照", EN: "the records lack this erased licence, its number and its course"}
	}
	err := x.differs(d, func() error {
		if one.erased != nil {
			return x.db.AdoptErasure(ctx, *one.erased, x.reading(ctx, actor{}, "rebuilt", one.erased.Licence.ID, "an erased licence, by reconcile"))
		}
		return x.adoptKey(ctx, one.key)
	})
	if errors.Is(err, licence.ErrConflict) {
		return x.differs(difference{Kind: "number-twice", Where: one.number, ZH: "编号、标识或状态位在记录中属于另一份证照", EN: "its number, identifier or status place is another licence's in the records: it was given out twice",
			Do: "查明何人在旧记录上签发；撤销其一 · find out who issued on older records; revoke one of the two"}, nil)
	}
	return err
}

func (x *reconciler) adoptKey(ctx context.Context, key string) error {
	b, err := x.objects.Get(ctx, key)
	if err != nil {
		return err
	}
	l, err := x.vault.openRecord(ctx, b)
	if err != nil {
		return err
	}
	typ, err := x.types.Type(l.Type)
	if err != nil {
		return err
	}
	request, err := licence.Open(l.Request)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	_, err = x.db.AdoptLicence(ctx, l, typ.SearchTerms(request.Document), x.reading(ctx, actor{}, "rebuilt", l.ID, "from its objects, by reconcile"))
	return err
}

// lostLicence looks into a keys/ object of which the records know nothing.
func (x *reconciler) lostLicence(ctx context.Context, key string) (l issuing.Licence, known bool, err error) {
	b, err := x.objects.Get(ctx, key)
	if errors.Is(err, objects.ErrNotFound) {
		return l, false, nil
	}
	if err != nil {
		return l, false, err
	}
	l, err = x.vault.openRecord(ctx, b)
	switch {
	case err == nil:
		return l, true, nil
	case ctx.Err() != nil:
		return l, false, ctx.Err()
	case errors.Is(err, errNoRecord):
		return l, false, x.differs(difference{Kind: "key-without-record", Where: key, ZH: "旧版程序存下的密钥，没有证照的记录：补不回这份证照", EN: "a key that an older program kept, without the licence's record: this licence cannot come back",
			Do: "从较新的备份恢复记录；其编号见已交出的文件，用 elicence number spoil 作废 · restore newer records; its number stands on what was given out: end it with elicence number spoil"}, nil)
	}
	return l, false, x.differs(difference{Kind: "foreign-key", Where: key, ZH: "此处没有能打开它的密钥：属于别的安装，或其保护密钥已销毁", EN: "no key here opens it: it is another installation's, or its wrapping key was destroyed",
		Do: "放回当时的 storage 密钥库 · put the storage keystore of that time back"}, nil)
}

// keyObjects holds what lies below keys/ against the records: each licence's key must be there, with its record.
func (x *reconciler) keyObjects(ctx context.Context) error {
	after := ""
	for {
		page, err := x.db.List(ctx, issuing.Filter{}, after, 256)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, l := range page {
			after = l.ID
			x.result.Licences++
			if erased(l) || l.Stage == issuing.StageIntent || len(l.Signatures.Parts) == 0 {
				continue
			}
			if err := x.keyObject(ctx, l); err != nil {
				return err
			}
		}
	}
}

func (x *reconciler) keyObject(ctx context.Context, l issuing.Licence) error {
	name := objects.Deletable + l.DataKeyID
	b, err := x.objects.Get(ctx, name)
	d := difference{Kind: "key-object", Where: name, ZH: "数据密钥不在对象库", EN: "the data key is not among the objects"}
	switch {
	case errors.Is(err, objects.ErrNotFound):
	case err != nil:
		return err
	default:
		_, err := x.vault.openRecord(ctx, b)
		if err == nil {
			return nil
		}
		d.ZH, d.EN = "数据密钥旁没有证照的记录", "the data key lies there without the licence's record"
		if !errors.Is(err, errNoRecord) {
			d.ZH, d.EN = "对象库中的数据密钥打不开", "the data key among the objects does not open"
			d.Do = "查明何人改动，移走该文件，再执行一次 · find out who changed it, move the file away, then the same command again"
			return x.differs(d, nil)
		}
	}
	return x.differs(d, func() error {
		_, err := x.replaceKey(ctx, l.ID, l.DataKeyID, l.DataKey)
		return err
	})
}

// storedParts holds every part of an issued licence to being stored.
func (x *reconciler) storedParts(ctx context.Context) error {
	var missing []records.StoredPart
	var damaged []records.StoredPart
	err := x.db.StoredParts(ctx, func(p records.StoredPart) error {
		if p.Stage != issuing.StageIssued {
			return nil
		}
		_, err := x.objects.Stat(ctx, p.Address)
		if err == nil && x.Deep {
			_, err = x.objects.Get(ctx, p.Address)
		}
		switch {
		case errors.Is(err, objects.ErrNotFound):
			missing = append(missing, p)
		case errors.Is(err, objects.ErrDamaged):
			damaged = append(damaged, p)
		case err != nil:
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, p := range damaged {
		err := x.differs(difference{Kind: "part-damaged", Where: p.Number + "-" + p.Part, ZH: "存放的联已损坏", EN: "the stored part is damaged",
			Do: "移走该文件，再执行 elicence reconcile --mend 重制 · move the file away, then reconcile --mend makes it again: objects/" + p.Address}, nil)
		if err != nil {
			return err
		}
	}
	for _, p := range missing {
		if err := x.missingPart(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

func (x *reconciler) missingPart(ctx context.Context, p records.StoredPart) error {
	d := difference{Kind: "part", Where: p.Number + "-" + p.Part, ZH: "存放的联不见了", EN: "the stored part is gone"}
	if p.Erased {
		d.ZH, d.EN = "已销毁证照的密文不见了，无碍", "the unreadable part of an erased licence is gone: nothing is lost"
		return x.differs(d, func() error { return nil })
	}
	var failed error
	err := x.differs(d, func() error {
		l, err := x.db.ByID(ctx, p.LicenceID)
		if err != nil {
			return err
		}
		failed = x.service.PutBack(ctx, l)
		return failed
	})
	if failed != nil && !errors.Is(failed, context.Canceled) {
		d.EN += ", and cannot be made again: " + failed.Error()
		d.Do = "从备份或持有人处取回该文件 · take the stored file from a backup of the objects; its holder has the paper and the file"
		return x.differs(d, nil)
	}
	return err
}

// tiles are made again from the entries.
func (x *reconciler) tiles(ctx context.Context) error {
	if err := x.ledger.open(ctx); err != nil {
		return err
	}
	missing, err := x.ledger.entries.MissingTiles(ctx)
	if err != nil || len(missing) == 0 {
		return err
	}
	return x.differs(difference{Kind: "tiles", Where: missing[0], ZH: fmt.Sprintf("账本有 %d 个公布的文件不见了", len(missing)), EN: fmt.Sprintf("%d published files of the log are gone", len(missing))},
		func() error { return x.ledger.entries.Republish(ctx) })
}

// burn ends the numbers that somebody may have without a trace here: free ones among used ones, as many as the log has issues
// of which nothing is left, and after a restore the next ones of each pile, which licences under way had. What is to be burnt
// after a restore is decided once: a reconcile that was killed goes on with the same numbers.
func (x *reconciler) burn(ctx context.Context) error {
	if x.marked == "" && len(x.unknown) == 0 {
		return nil
	}
	list, decided, err := x.db.ToBurn(ctx)
	if err != nil {
		return err
	}
	if !decided {
		if list, err = x.chooseBurnt(ctx); err != nil {
			return err
		}
		if x.Mend && x.marked != "" {
			if err := x.db.DecideBurn(ctx, list); err != nil {
				return err
			}
		}
	}
	for _, pile := range list {
		d := difference{Kind: "numbers", Where: pile.Issuer + " " + pile.Type, ZH: fmt.Sprintf("%d 个编号可能已用：自 %s 起", len(pile.Numbers), pile.Numbers[0]),
			EN: fmt.Sprintf("%d numbers from %s on may have been used: they are spoiled", len(pile.Numbers), pile.Numbers[0])}
		err = x.differs(d, func() error {
			for _, n := range pile.Numbers {
				if err := x.db.Spoil(ctx, pile.Issuer, n, "other", x.app.now(), x.reading(ctx, actor{}, "spoil", "", n+": other; burnt by reconcile")); err != nil {
					return err
				}
				x.result.Burnt = append(x.result.Burnt, n)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	slices.Sort(x.result.Burnt)
	return nil
}

func (x *reconciler) chooseBurnt(ctx context.Context) ([]records.BurntPile, error) {
	piles, err := x.db.FreeCounts(ctx)
	if err != nil {
		return nil, err
	}
	var list []records.BurntPile
	for pile := range piles {
		count := x.unknown[pile.Issuer]
		if x.marked != "" {
			count = max(count, x.Burn)
		}
		gaps, err := x.db.Gaps(ctx, pile)
		if err != nil {
			return nil, err
		}
		next, err := x.db.FirstFree(ctx, pile, count+len(gaps))
		if err != nil {
			return nil, err
		}
		numbers := slices.Concat(gaps, next)
		slices.Sort(numbers)
		if numbers = slices.Compact(numbers); len(numbers) > 0 {
			list = append(list, records.BurntPile{Issuer: pile.Issuer, Type: pile.Type, Numbers: numbers})
		}
	}
	slices.SortFunc(list, func(a, b records.BurntPile) int {
		return cmp.Or(cmp.Compare(a.Issuer, b.Issuer), cmp.Compare(a.Type, b.Type))
	})
	return list, nil
}

// end audits what has come of it, and lifts the mark if nothing is left.
func (x *reconciler) end(ctx context.Context) error {
	if x.Mend {
		if err := x.raiseStatusNumber(ctx); err != nil {
			return err
		}
	}
	if err := x.guardLog(ctx); errors.Is(err, errRolledBack) {
		err = x.differs(difference{Kind: "log-behind", Where: x.config.Records.Path, ZH: "账本比他人所见的短或不同", EN: err.Error(),
			Do: "取回较新的记录或对象库；不会签署更小的账本 · bring newer records or objects: no smaller log is ever signed"}, nil)
		if err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	report, err := x.verifyTrail(ctx)
	if err != nil {
		return err
	}
	head, err := x.db.Head(ctx)
	if err != nil {
		return err
	}
	x.result.Entries = head.Size
	if f := report.Fault; f != nil {
		err := x.differs(difference{Kind: "audit", Where: "audit verify", ZH: f.ZH, EN: f.EN,
			Do: "elicence audit verify，elicence ledger audit · see elicence audit verify and elicence ledger audit"}, nil)
		if err != nil {
			return err
		}
	}
	x.result.Clean = x.result.Left == 0
	x.result.Writable = x.marked == ""
	if !x.Mend || !x.result.Clean {
		return nil
	}
	if err := x.db.MarkReconciled(ctx); err != nil {
		return err
	}
	x.result.Writable = true
	if err := x.ledger.catchUp(ctx); err != nil {
		return err
	}
	return x.publishStatus(ctx)
}

// raiseStatusNumber: readers refuse a list whose number went back.
func (x *reconciler) raiseStatusNumber(ctx context.Context) error {
	b, err := os.ReadFile(filepath.Join(x.dir, "publish", "status.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	list, err := status.Parse(b)
	if err != nil {
		return err
	}
	return x.db.RaiseStatusNumber(ctx, list.Number())
}
