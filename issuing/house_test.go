package issuing_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/signer/cms"
	"github.com/elicence/elicence/signer/digest"
	"github.com/elicence/elicence/storage/objects"
	"github.com/elicence/elicence/storage/objects/objectstest"
	"github.com/elicence/elicence/storage/records"
	"github.com/elicence/elicence/verify"
	"github.com/elicence/elicence/verify/trust"
)

// house is one installation: real records on a disk, real keys, real pages, and objects in memory under a judge.
type house struct {
	t        testing.TB
	world    *world
	dir      string
	clock    *clock
	faults   *faults
	memory   objectstest.Store
	renderer issuing.Renderer
	attempts int
	types    []string             // each issuer has sheets of these
	stock    map[issuing.Pile]int // sheets

	blind     bool  // approvals are given without a look at the licence to be replaced
	commitErr error // what every commit of the records says, if not nil

	db       *records.DB
	vault    *vault
	verifier *verify.Verifier
	service  *issuing.Service
}

// The types that ship.
const (
	birthCertificate      = "birth-certificate"
	childbirthCertificate = "childbirth-certificate"
)

// sheets is how many each issuer gets of each type.
const sheets = 400

func newHouse(t testing.TB) *house { return newHouseWith(t, nil) }

// newHouseWith opens an installation; change, if not nil, alters it before its service is made.
func newHouseWith(t testing.TB, change func(*house)) *house {
	t.Helper()
	w := shared(t)
	h := &house{
		t: t, world: w, dir: t.TempDir(), clock: &clock{now: begun}, faults: &faults{}, memory: objectstest.NewMemory(t),
		renderer: w.types, attempts: 3, stock: map[issuing.Pile]int{},
	}
	h.types = []string{birthCertificate, childbirthCertificate}
	if change != nil {
		change(h)
	}
	h.open()
	t.Cleanup(func() { h.must(h.db.Close()) })
	for _, o := range cast() {
		h.must(h.db.PutOrganisation(t.Context(), o))
	}
	for k, typ := range h.types {
		for i, o := range []licence.Organisation{hospital, other, agency, stranger} {
			h.allot(o, typ, fmt.Sprintf("%c00%07d", 'X'+k, 1+i*100_000), sheets)
		}
	}
	h.faults.set(nil)
	return h
}

func (h *house) open() {
	h.t.Helper()
	wrapper, err := h.world.keystore.Wrapper(wrappingLabel)
	h.must(err)
	h.db, err = records.Open(h.t.Context(), filepath.Join(h.dir, "records.db"), records.Options{
		KEK: wrapper, Commit: func(commit func() error) error {
			if h.commitErr != nil {
				return h.commitErr
			}
			return h.faults.around("commit", commit)
		},
	})
	h.must(err)
	h.vault = &vault{wrapper: wrapper, index: h.db.Index(), faults: h.faults, random: rand.Reader}
	pin := trust.SM3(h.world.trust.Pin())
	h.verifier, err = verify.New(h.world.trust, verify.Options{Pin: &pin, Now: h.clock.Now})
	h.must(err)
	h.service = h.serve(nil)
}

// serve makes another service over the same installation, as another process would; change may alter its needs.
func (h *house) serve(change func(*issuing.Needs)) *issuing.Service {
	h.t.Helper()
	needs := issuing.Needs{
		Records: h.db, Objects: h.faults.objects(h.memory), Keys: keyring{h.world, h.faults}, Vault: h.vault,
		Renderer: h.renderer, SelfCheck: h.selfCheck, Directory: h.db, Now: h.clock.Now, Random: rand.Reader,
	}
	if change != nil {
		change(&needs)
	}
	s, err := issuing.New(needs, issuing.Config{
		Specimen: true, Profile: cms.PKCS7, StatusSpace: 1 << 20, MaxAttempts: h.attempts, Zone: licence.Zone,
		Receivers: []issuing.Receiver{{Organisation: police.Code, Topics: []string{issuing.TopicParts}}, {Organisation: archive.Code, Topics: []string{issuing.TopicHandOver}}},
	})
	h.must(err)
	return s
}

func (h *house) selfCheck(ctx context.Context, file []byte) error {
	_, err := h.verifier.SelfCheck(ctx, file)
	return err
}

// restart is what a killed and started process sees: nothing but what is on the disk.
func (h *house) restart() {
	h.t.Helper()
	h.must(h.db.Close())
	h.open()
}

func (h *house) allot(o licence.Organisation, typ, first string, count int) {
	h.t.Helper()
	p := issuing.Pile{Issuer: o.Code, Type: typ}
	h.must(h.db.Allot(h.t.Context(), p, first, count, begun.Add(-24*time.Hour), who("allot")))
	h.stock[p] += count
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func wants(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

func who(what string) audit.Entry {
	return audit.Entry{Organisation: hospital.Code, Person: "clerk-1", From: "test", At: begun, What: what}
}

var readBirths = sync.OnceValues(func() ([]map[string]any, error) {
	f, err := os.Open("../testdata/births/births.jsonl")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []map[string]any
	for lines := bufio.NewScanner(f); lines.Scan(); {
		d := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		d.UseNumber()
		var m map[string]any
		if err := d.Decode(&m); err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
})

// request is the nth birth under a business id, changed by the edits: pointers and values, nil to remove.
func request(t testing.TB, n int, business string, edits ...any) map[string]any {
	t.Helper()
	births, err := readBirths()
	if err != nil || len(births) == 0 {
		t.Fatal("no births", err)
	}
	r := clone(births[n%len(births)])
	edit(r, "/businessId", business)
	edit(r, "/child/placeType", "hospital")
	edit(r, "/grounds", "出生后住院")
	return with(r, edits...)
}

func with(r map[string]any, edits ...any) map[string]any {
	r = clone(r)
	for i := 0; i < len(edits); i += 2 {
		edit(r, edits[i].(string), edits[i+1])
	}
	return r
}

func clone(m map[string]any) map[string]any {
	c := maps.Clone(m)
	for k, v := range c {
		if inner, ok := v.(map[string]any); ok {
			c[k] = clone(inner)
		}
	}
	return c
}

func edit(m map[string]any, pointer string, value any) {
	steps := strings.Split(pointer, "/")[1:]
	for _, s := range steps[:len(steps)-1] {
		inner, ok := m[s].(map[string]any)
		if !ok {
			inner = map[string]any{}
			m[s] = inner
		}
		m = inner
	}
	if last := steps[len(steps)-1]; value == nil {
		delete(m, last)
	} else {
		m[last] = value
	}
}

// approved takes a request through check and approval.
func (h *house) approved(issuer licence.Organisation, r map[string]any) licence.Approved {
	h.t.Helper()
	d, findings, err := h.check(issuer, r)
	if err != nil {
		h.t.Fatal(err, findings)
	}
	a, err := d.Approve("seal-1", d.Digest())
	h.must(err)
	return a
}

func (h *house) check(issuer licence.Organisation, r map[string]any) (licence.Draft, []licence.Finding, error) {
	h.t.Helper()
	raw, err := json.Marshal(r)
	h.must(err)
	name, _ := r["licenceType"].(string)
	typ, err := h.renderer.Type(name)
	h.must(err)
	in := licence.Input{Raw: raw, Issuer: issuer, Now: h.clock.Now(), Clerk: "clerk-1"}
	if number, ok := r["replaces"].(string); ok && !h.blind {
		in.Replaced, in.Registered = h.replaced(number)
	}
	return licence.Check(typ, in)
}

func (h *house) replaced(number string) (*licence.Replaced, bool) {
	h.t.Helper()
	old := h.licence(number)
	recorded, err := licence.Open(old.Request)
	h.must(err)
	view, _, err := h.service.View(h.t.Context(), old)
	h.must(err)
	// The check refuses a licence that has ended; here the verb itself shall refuse it.
	return &licence.Replaced{Number: number, Type: old.Type, State: licence.InForce, Document: recorded.Document}, view.Registered != ""
}

// reissue is the request that replaces a licence.
func (h *house) reissue(old issuing.Licence, kind, business string, edits ...any) map[string]any {
	h.t.Helper()
	recorded, err := licence.Open(old.Request)
	h.must(err)
	r := with(recorded.Document, "/kind", kind, "/replaces", old.Number, "/businessId", business)
	_, registered := h.replaced(old.Number)
	if kind == licence.KindReplacement {
		return with(with(r, "/grounds", "lost"), edits...)
	}
	r = with(r, "/grounds", "wrong-content", "/child/name", "曹更名", "/returned/main", true)
	if !registered {
		r = with(r, "/returned/counterfoil", true)
	}
	return with(r, edits...)
}

func (h *house) issue(a licence.Approved) issuing.Licence {
	h.t.Helper()
	done, err := h.service.Issue(h.t.Context(), a, who("issue"))
	h.must(err)
	return done.Licence
}

// birth issues a first certificate.
func (h *house) birth(n int, business string) issuing.Licence {
	h.t.Helper()
	return h.issue(h.approved(hospital, request(h.t, n, business)))
}

func (h *house) licence(number string) issuing.Licence {
	h.t.Helper()
	l, err := h.db.ByNumber(h.t.Context(), number)
	h.must(err)
	return l
}

// untouched runs what must refuse and holds it to having consumed nothing: no sheet, no licence, no object.
func (h *house) untouched(verb func() error) error {
	h.t.Helper()
	type state struct {
		Free    map[issuing.Pile]int
		Counts  issuing.Counts
		Objects int
		Pending int
	}
	look := func() (s state) {
		var err error
		s.Free, err = h.db.FreeCounts(h.t.Context())
		h.must(err)
		s.Counts, err = h.db.Counts(h.t.Context())
		h.must(err)
		s.Pending, err = h.db.PendingCount(h.t.Context())
		h.must(err)
		s.Objects = len(h.stored(""))
		return s
	}
	before := look()
	err := verb()
	if diff := cmp.Diff(before, look(), cmpopts.EquateEmpty()); diff != "" {
		h.t.Errorf("something was consumed (-before +after):\n%s", diff)
	}
	if err == nil {
		h.t.Error("it was not refused")
	}
	return err
}

func (h *house) stored(prefix string) []string {
	h.t.Helper()
	var keys []string
	h.must(h.memory.List(h.t.Context(), prefix, func(i objects.Info) error { keys = append(keys, i.Key); return nil }))
	return keys
}

func (h *house) all() []issuing.Licence {
	h.t.Helper()
	var all []issuing.Licence
	for after := ""; ; {
		page, err := h.db.List(h.t.Context(), issuing.Filter{}, after, 100)
		h.must(err)
		if len(page) == 0 {
			return all
		}
		all, after = append(all, page...), page[len(page)-1].ID
	}
}

// whole holds one licence to being issued, once, with all that belongs to it.
func (h *house) whole(l issuing.Licence) {
	h.t.Helper()
	ctx := h.t.Context()
	if l.Stage != issuing.StageIssued || len(l.Signatures.Parts) != len(l.Parts) || len(l.Parts) == 0 {
		h.t.Errorf("%s is %s with %d of %d parts", l.BusinessID, l.Stage, len(l.Signatures.Parts), len(l.Parts))
		return
	}
	var memo digest.Memo
	for i, p := range l.Signatures.Parts {
		if p.Part != l.Parts[i] {
			h.t.Errorf("%s: part %d is %s, want %s", l.BusinessID, i, p.Part, l.Parts[i])
		}
		file, err := h.service.Part(ctx, l, p.Part)
		h.must(err)
		if memo.Sum(file) != p.SM3 || int64(len(file)) != p.Size {
			h.t.Errorf("%s: the stored %s is not the recorded one", l.BusinessID, p.Part)
		}
		r := h.verifier.File(ctx, file, nil)
		if !r.Passed() || r.Number != l.Number || r.Identifier != l.Identifier || r.Part != p.Part || r.Parts != len(l.Parts) ||
			r.Issuer.Code != l.Issuer || !r.Specimen {
			h.t.Errorf("%s: the verifier says of %s: %s %s, number %s, part %s of %d", l.BusinessID, p.Part,
				r.Signature.Indication, r.Signature.SubIndication, r.Number, r.Part, r.Parts)
		}
	}
	view, events, err := h.service.View(ctx, l)
	h.must(err)
	issued := 0
	for i, e := range events {
		if e.Kind == "issued" {
			issued++
		}
		if e.Sequence != i {
			h.t.Errorf("%s: event %d has sequence %d", l.BusinessID, i, e.Sequence)
		}
	}
	if issued != 1 || len(view.Parts) != len(l.Parts) || view.InForce() != (l.Status == issuing.InForce) {
		h.t.Errorf("%s: %d issued events, %d parts on record, in force %v and %s", l.BusinessID, issued, len(view.Parts), view.InForce(), l.Status)
	}
	links, err := h.db.OfLicence(ctx, l.ID)
	h.must(err)
	said := map[string]int{}
	for _, link := range links {
		said[link.Entry.What]++
	}
	if said["issue"] != 1 || said["issued"] != 1 {
		h.t.Errorf("%s: audit rows %v", l.BusinessID, said)
	}
	if typ, err := h.renderer.Type(l.Type); err != nil {
		h.t.Error(err)
	} else if typ.UsesStock(l.Kind) {
		sheet, err := h.db.Sheet(ctx, l.Number)
		h.must(err)
		if sheet.State != licence.SheetIssued || sheet.Licence != l.ID || sheet.Type != l.Type {
			h.t.Errorf("%s: sheet %s of %s is %s of %q", l.BusinessID, sheet.Number, sheet.Type, sheet.State, sheet.Licence)
		}
	}
}

// balanced holds the whole installation to what must be true of it once everything is finished: count licences, all
// whole, nothing twice, no stored object that no record knows, every sheet accounted for.
func (h *house) balanced(count int) {
	h.t.Helper()
	all := h.all()
	if len(all) != count {
		h.t.Errorf("%d licences, want %d", len(all), count)
	}
	seen := map[string]bool{}
	var known, kept []string
	used := map[issuing.Pile]int{}
	for _, l := range all {
		h.whole(l)
		for _, key := range []string{
			"number " + l.Number, "identifier " + l.Identifier, fmt.Sprint("status ", l.StatusIndex), fmt.Sprintf("handle %x", l.Handle),
			"request " + strings.Join([]string{l.Issuer, l.BusinessID, l.Kind, l.Replaces}, "|"),
		} {
			if seen[key] {
				h.t.Errorf("%s stands twice", key)
			}
			seen[key] = true
		}
		for _, p := range l.Signatures.Parts {
			kept = append(kept, p.Address)
		}
		known = append(known, l.Signatures.Abandoned...)
		if l.Kind != licence.KindBackfile {
			used[issuing.Pile{Issuer: l.Issuer, Type: l.Type}]++
		}
	}
	known = append(known, kept...)
	// A second signature of a slot would be an object that no record names.
	for _, key := range h.stored(objects.Content) {
		if !slices.Contains(known, key) {
			h.t.Errorf("%s is stored, and no record knows it", key)
		}
	}
	if keys := h.stored(objects.Deletable); len(keys) != len(all) {
		h.t.Errorf("%d data keys of %d licences are stored", len(keys), len(all))
	}
	free, err := h.db.FreeCounts(h.t.Context())
	h.must(err)
	for pile, sheets := range h.stock {
		table, err := h.db.YearTable(h.t.Context(), pile, 2027, licence.Zone)
		h.must(err)
		h.must(table.Balance())
		if got := table.Inside.Total() + table.Outside.Total(); got != used[pile] || free[pile] != sheets-used[pile] {
			h.t.Errorf("%s: %d licences, %d in the year table, %d of %d sheets free", pile, used[pile], got, free[pile], sheets)
		}
	}
	if ids, err := h.db.Unfinished(h.t.Context(), time.Time{}, 10); err != nil || len(ids) > 0 {
		h.t.Errorf("unfinished: %v, %v", ids, err)
	}
}
