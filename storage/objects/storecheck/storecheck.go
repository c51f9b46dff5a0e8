// Package storecheck proves on a real store what the house relies on: it puts objects of its own, reads them back, races
// for a name, and lets the driver try with raw calls what nobody may be able to do. Documentation of a store is a claim;
// this is a trial.
package storecheck

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/elicence/elicence/storage/objects"
)

// Subject is a place for trials in a store, apart from the house's objects. Both drivers offer one.
type Subject interface {
	Put(ctx context.Context, key string, b []byte) error
	Get(ctx context.Context, key string) ([]byte, error)
	Stat(ctx context.Context, key string) (objects.Info, error)
	List(ctx context.Context, prefix string, each func(objects.Info) error) error
	Delete(ctx context.Context, key string) error
	// Attempts are what the driver tries with raw calls.
	Attempts() []Attempt
	// Left says, once the trials are over, what stays behind, where and until when; "" for nothing.
	Left() string
}

// Attempt is one thing to try with raw calls.
type Attempt struct {
	Name  Words
	Needs Words // what the store lacks if it fails, in a few words
	// Bucket says that the attempt looks at the whole store: it gets no object, and the trial ends if it fails.
	Bucket bool
	// Try gets an object of its own, which stands under key with bytes b. It returns nil if the store is as it must be,
	// an error that wraps ErrMissing if it is not or ErrNotOffered if no store of its kind is; any other error says that
	// nothing could be found out.
	Try func(ctx context.Context, key string, b []byte) error
}

// Words say the same in Chinese and in English.
type Words struct {
	ZH string `json:"zh"`
	EN string `json:"en"`
}

var (
	// ErrMissing says that the store lacks what it must have.
	ErrMissing = errors.New("storecheck: the store lacks what it must have")
	// ErrNotOffered says that no store of this kind can do it: an operator must know, and provide otherwise.
	ErrNotOffered = errors.New("storecheck: no store of this kind does that")
)

// Verdict is what came out of one check.
type Verdict string

// Verdicts.
const (
	Passed     Verdict = "passed"
	Missing    Verdict = "missing"
	NotOffered Verdict = "not-offered"
	Undecided  Verdict = "undecided" // the store did not answer, or refused for another reason
)

// Finding is one check with its verdict.
type Finding struct {
	Check   Words   `json:"check"`
	Verdict Verdict `json:"verdict"`
	Needs   Words   `json:"needs,omitzero"`   // with Missing and NotOffered
	Detail  string  `json:"detail,omitempty"` // the error, if there was one
}

// Report is the outcome of a trial.
type Report struct {
	Findings []Finding `json:"findings"`
	Left     string    `json:"left,omitempty"`
}

// Missing is what the store lacks, in one line of each language; empty if nothing.
func (r Report) Missing() Words {
	var zh, en []string
	for _, f := range r.Findings {
		if f.Verdict == Missing {
			zh, en = append(zh, f.Needs.ZH), append(en, f.Needs.EN)
		}
	}
	return Words{strings.Join(zh, "、"), strings.Join(en, ", ")}
}

// Fit reports whether every check that counts was passed: nothing is missing and nothing undecided.
func (r Report) Fit() bool {
	for _, f := range r.Findings {
		if f.Verdict == Missing || f.Verdict == Undecided {
			return false
		}
	}
	return len(r.Findings) > 0
}

// Undecided reports whether something could not be found out.
func (r Report) Undecided() bool {
	for _, f := range r.Findings {
		if f.Verdict == Undecided {
			return true
		}
	}
	return false
}

// size of trial objects in bytes: a signed part has about as many.
const size = 60_000

// Run makes all checks and tells each as it is made. What a store must have as a whole is looked at first; if that is
// missing, or the store does not answer, the trial ends there.
func Run(ctx context.Context, s Subject, tell func(Finding)) Report {
	var r Report
	add := func(a Attempt, err error) Verdict {
		f := Finding{Check: a.Name, Verdict: Passed}
		switch {
		case errors.Is(err, ErrMissing):
			f.Verdict, f.Needs, f.Detail = Missing, a.Needs, strings.TrimPrefix(strings.TrimPrefix(err.Error(), ErrMissing.Error()), ": ")
		case errors.Is(err, ErrNotOffered):
			f.Verdict, f.Needs = NotOffered, a.Needs
		case err != nil:
			f.Verdict, f.Detail = Undecided, err.Error()
		}
		r.Findings = append(r.Findings, f)
		tell(f)
		return f.Verdict
	}
	var raw []Attempt
	for _, a := range s.Attempts() {
		if !a.Bucket {
			raw = append(raw, a)
			continue
		}
		if add(a, a.Try(ctx, "", nil)) == Undecided {
			break
		}
	}
	if !r.Fit() && len(r.Findings) > 0 {
		r.Left = s.Left()
		return r
	}
	for _, a := range through(s) {
		if add(a, a.Try(ctx, "", nil)) == Undecided {
			r.Left = s.Left()
			return r
		}
	}
	for n, a := range raw {
		key, b := fmt.Sprintf("trial/%03d", n), something(byte(n))
		if err := s.Put(ctx, key, b); err != nil {
			add(a, err)
			continue
		}
		add(a, a.Try(ctx, key, b))
	}
	r.Left = s.Left()
	return r
}

// something is bytes that differ for each n.
func something(n byte) []byte { return bytes.Repeat([]byte{n, 0, 0xff, '\n'}, size/4) }

// missing is nil if ok holds, else an ErrMissing with words.
func missing(ok bool, format string, v ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrMissing, fmt.Sprintf(format, v...))
}

// through are the checks that need nothing but what every caller may do.
func through(s Subject) []Attempt {
	b := something(200)
	keys := []string{objects.ContentKey(b), "trial/again", "keys/a0"}
	each := func(try func(ctx context.Context, key string) error) func(context.Context, string, []byte) error {
		return func(ctx context.Context, _ string, _ []byte) error {
			for _, key := range keys {
				if err := try(ctx, key); err != nil {
					return err
				}
			}
			return nil
		}
	}
	return []Attempt{
		{Name: Words{"写入后读回", "what is put is read back"}, Needs: Words{"可靠的写入", "reliable writes"},
			Try: each(func(ctx context.Context, key string) error {
				if err := s.Put(ctx, key, b); err != nil {
					return err
				}
				return reads(ctx, s, key, b)
			})},
		{Name: Words{"同样的再写一次不生变", "the same again changes nothing"}, Needs: Words{"重复写入的识别", "repeated writes that do no harm"},
			Try: each(func(ctx context.Context, key string) error {
				if err := s.Put(ctx, key, b); err != nil {
					return err
				}
				return reads(ctx, s, key, b)
			})},
		{Name: Words{"已有的不被改写", "what stands is not overwritten"}, Needs: Words{"只创建不改写", "create-only writes"},
			Try: func(ctx context.Context, _ string, _ []byte) error {
				for _, key := range keys[1:] {
					err := s.Put(ctx, key, something(201))
					if err != nil && !errors.Is(err, objects.ErrExists) {
						return err
					}
					if err == nil {
						return missing(false, "other bytes were taken under %s", key)
					}
					if err := reads(ctx, s, key, b); err != nil {
						return err
					}
				}
				return nil
			}},
		{Name: Words{"写入后立即可列出", "what is put is listed at once"}, Needs: Words{"强一致的列表", "lists that are consistent at once"},
			Try: func(ctx context.Context, _ string, _ []byte) error {
				listed := map[string]int64{}
				err := s.List(ctx, "", func(i objects.Info) error { listed[i.Key] = i.Size; return nil })
				if err != nil {
					return err
				}
				for _, key := range keys {
					if listed[key] != int64(len(b)) {
						return missing(false, "%s is not listed with its size", key)
					}
				}
				return nil
			}},
		{Name: Words{"十六个写者争一个名字，只有一个成功", "of sixteen writers of one name one wins"}, Needs: Words{"原子的只创建写入", "atomic create-only writes"},
			Try: func(ctx context.Context, _ string, _ []byte) error { return race(ctx, s) }},
		{Name: Words{"数据密钥可以销毁，且可另写", "a data key can be destroyed, and written anew"}, Needs: Words{"数据密钥的销毁", "deletion of data keys"},
			Try: func(ctx context.Context, _ string, _ []byte) error { return destroy(ctx, s, keys[2]) }},
	}
}

func reads(ctx context.Context, s Subject, key string, want []byte) error {
	got, err := s.Get(ctx, key)
	if err != nil && !errors.Is(err, objects.ErrNotFound) && !errors.Is(err, objects.ErrDamaged) {
		return err
	}
	return missing(err == nil && bytes.Equal(got, want), "%s does not read as it was put", key)
}

func race(ctx context.Context, s Subject) error {
	const writers, rounds = 16, 4
	for round := range rounds {
		key := fmt.Sprintf("keys/b%d", round)
		results := make([]error, writers)
		var all sync.WaitGroup
		start := make(chan struct{})
		for n := range writers {
			all.Go(func() {
				<-start
				results[n] = s.Put(ctx, key, something(byte(n)))
			})
		}
		close(start)
		all.Wait()
		winner, won := 0, 0
		for n, err := range results {
			switch {
			case err == nil:
				winner, won = n, won+1
			case !errors.Is(err, objects.ErrExists):
				return err
			}
		}
		if won != 1 {
			return missing(false, "%d writers of one name were told that they had won", won)
		}
		if err := reads(ctx, s, key, something(byte(winner))); err != nil {
			return err
		}
		if err := s.Delete(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

func destroy(ctx context.Context, s Subject, key string) error {
	for round := range byte(2) {
		if err := s.Delete(ctx, key); err != nil {
			if errors.Is(err, objects.ErrUnfit) {
				return missing(false, "%v", err)
			}
			return err
		}
		if _, err := s.Get(ctx, key); !errors.Is(err, objects.ErrNotFound) {
			return missing(false, "a deleted key can still be read")
		}
		if round == 1 {
			return nil
		}
		if err := s.Put(ctx, key, something(round)); err != nil {
			return err
		}
		if err := reads(ctx, s, key, something(round)); err != nil {
			return err
		}
	}
	return nil
}
