package issuing_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/licence"
	"github.com/elicence/elicence/storage/objects/objectstest"
)

// kinds prepare one draft of each kind; what comes before it is issued without faults.
var kinds = map[string]func(h *house, name string) licence.Approved{
	licence.KindFirst: func(h *house, name string) licence.Approved {
		return h.approved(hospital, request(h.t, len(name), name))
	},
	licence.KindExchange: func(h *house, name string) licence.Approved {
		return h.approved(hospital, h.reissue(h.birth(len(name), name), licence.KindExchange, name+"-X"))
	},
	// Of a registered child: the main page only.
	licence.KindReplacement: func(h *house, name string) licence.Approved {
		old := h.birth(len(name), name)
		h.take(issuing.Move{Kind: contract.Registered, Number: old.Number, Actor: police.Code})
		return h.approved(hospital, h.reissue(old, licence.KindReplacement, name+"-R"))
	},
	licence.KindBackfile: func(h *house, name string) licence.Approved {
		number := fmt.Sprintf("X31%07d", len(h.all())+1)
		return h.approved(hospital, request(h.t, len(name), name, "/kind", "backfile", "/paper/number", number, "/paper/issueDate", "2026-12-31"))
	},
}

// ways are the three ways in which somebody comes back to what failed.
var ways = map[string]func(h *house, a licence.Approved) error{
	"issue again": func(h *house, a licence.Approved) error {
		_, err := h.service.Issue(h.t.Context(), a, who("issue"))
		return err
	},
	"resume one": func(h *house, a licence.Approved) error {
		h.restart()
		ids, err := h.db.Unfinished(h.t.Context(), time.Time{}, 2)
		if err != nil || len(ids) > 1 {
			return fmt.Errorf("%d unfinished, %w", len(ids), err)
		}
		for _, id := range ids {
			if _, err := h.service.Resume(h.t.Context(), id, who("resume")); err != nil {
				return err
			}
		}
		// What had not begun is begun now, and what is done is answered.
		return issueAgain(h, a)
	},
	"resume all": func(h *house, a licence.Approved) error {
		if _, err := h.service.ResumeAll(h.t.Context(), who("resume"), nil); err != nil {
			return err
		}
		return issueAgain(h, a)
	},
}

func issueAgain(h *house, a licence.Approved) error {
	_, err := h.service.Issue(h.t.Context(), a, who("issue"))
	return err
}

// standing is what the records know of a draft's licence.
func (h *house) standing(a licence.Approved) (issuing.Licence, bool) {
	h.t.Helper()
	d := a.Draft()
	found, err := h.db.ByBusinessID(h.t.Context(), d.Issuer().Code, d.BusinessID())
	h.must(err)
	if len(found) == 0 {
		return issuing.Licence{}, false
	}
	if len(found) > 1 {
		h.t.Errorf("%d licences of %s", len(found), d.BusinessID())
	}
	return found[0], true
}

func count(points []string, prefix string) (n int) {
	for _, p := range points {
		if strings.HasPrefix(p, prefix) {
			n++
		}
	}
	return n
}

// Every point at which issuing needs the world fails once, without effect and with it, in every kind of issue. Whoever
// comes back, on whatever way, finds or finishes one licence, with the number and the signatures that were recorded.
func TestEveryPointFails(t *testing.T) {
	for kind, prepare := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			a := prepare(h, "straight")
			h.faults.set(nil)
			h.issue(a)
			points := h.faults.points()
			parts := map[string]int{licence.KindReplacement: 1}[kind]
			if parts == 0 {
				parts = 2
			}
			events := map[string]int{licence.KindExchange: 2, licence.KindReplacement: 2}[kind]
			if events == 0 {
				events = 1
			}
			for prefix, want := range map[string]int{"commit": 3, "put keys": 1, "put objects": parts, "sign cms-attributes": parts,
				"sign credential": 1, "sign event": events, "seal": parts, "new data key": 1} {
				if got := count(points, prefix); got != want {
					t.Errorf("%d × %q in %v, want %d", got, prefix, points, want)
				}
			}
			intent := 0
			for points[intent] != "commit" {
				intent++
			}
			before := len(h.all())
			for n, point := range points {
				for _, fault := range []objectstest.Fault{objectstest.Failed, objectstest.FailedButDone} {
					for way := range ways {
						if kind != licence.KindFirst && way == "resume all" {
							continue // it is Resume for each; once is enough
						}
						name := fmt.Sprintf("%s-%d-%d-%c", kind[:2], n, fault, way[len(way)-1])
						a := prepare(h, name)
						before = len(h.all()) + 1
						h.failAt(t, a, n, intent, fault, ways[way])
						if t.Failed() {
							t.Fatalf("after %q failed (%d), and %s", point, fault, way)
						}
					}
				}
			}
			h.balanced(before)
		})
	}
}

func (h *house) failAt(t *testing.T, a licence.Approved, n, intent int, fault objectstest.Fault, come func(*house, licence.Approved) error) {
	t.Helper()
	attempt := func() error {
		h.faults.set(one(n, fault))
		_, err := h.service.Issue(t.Context(), a, who("issue"))
		wants(t, err, errInjected)
		return err
	}
	if begun := n > intent || n == intent && fault == objectstest.FailedButDone; begun {
		_ = attempt()
	} else {
		_ = h.untouched(attempt)
	}
	h.faults.set(nil)
	was, stood := h.standing(a)
	h.must(come(h, a))
	now, ok := h.standing(a)
	if !ok {
		t.Fatal("there is no licence")
	}
	if stood && (now.ID != was.ID || now.Number != was.Number || now.Handle != was.Handle) {
		t.Errorf("number %s became %s", was.Number, now.Number)
	}
	if diff := cmp.Diff(was.Signatures, now.Signatures); stood && was.Stage != issuing.StageIntent && diff != "" {
		t.Errorf("recorded signatures were replaced (-then +now):\n%s", diff)
	}
	if len(now.Signatures.Abandoned) > 0 {
		t.Error("something was abandoned")
	}
	h.whole(now)
}

// Sixteen workers while one point in six fails, one way or the other, by a seed that is printed; then the world is well
// again and everything is finished.
func TestFailingWorld(t *testing.T) {
	const workers, each = 16, 3
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	h := newHouseWith(t, func(h *house) { h.attempts = 1000 })
	drafts := make([][]licence.Approved, workers)
	for i := range drafts {
		for k := range each {
			// Neighbours ask for the same births, so that claims and fences meet.
			drafts[i] = append(drafts[i], h.approved(hospital, request(t, i/2*each+k, fmt.Sprintf("B%d-%d", i/2, k))))
		}
	}
	random := rand.New(rand.NewPCG(seed, 0))
	h.faults.set(func(int, string) objectstest.Fault {
		return []objectstest.Fault{objectstest.Failed, objectstest.FailedButDone, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}[random.IntN(12)]
	})
	var all sync.WaitGroup
	for i := range workers {
		all.Go(func() {
			for _, a := range drafts[i] {
				for range 20 {
					_, err := h.service.Issue(t.Context(), a, who("issue"))
					if err == nil {
						break
					}
					if !errors.Is(err, errInjected) && !errors.Is(err, issuing.ErrFenced) {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	h.faults.set(nil)
	h.restart()
	if _, err := h.service.ResumeAll(t.Context(), who("resume"), nil); err != nil {
		t.Error(err)
	}
	for _, mine := range drafts {
		for _, a := range mine {
			h.issue(a)
		}
	}
	h.balanced(workers / 2 * each)
}
