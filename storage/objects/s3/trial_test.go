package s3

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/elicence/elicence/storage/objects"
	"github.com/elicence/elicence/storage/objects/s3/versitygwtest"
	"github.com/elicence/elicence/storage/objects/storecheck"
)

func silent(storecheck.Finding) {}

func TestTrialOfAFitStore(t *testing.T) {
	s := fresh(t)
	must(t, s.Put(ctx, "tile/0/000", []byte("the house's own")))
	r := storecheck.Run(ctx, s.Trial(), silent)
	for _, f := range r.Findings {
		if f.Verdict != storecheck.Passed {
			t.Errorf("%s: %s %s", f.Check.EN, f.Verdict, f.Detail)
		}
	}
	if !r.Fit() || len(r.Findings) != 16 || r.Missing() != (storecheck.Words{}) {
		t.Errorf("%d findings, fit %v, missing %+v", len(r.Findings), r.Fit(), r.Missing())
	}
	if !strings.Contains(r.Left, s.prefix+".storage-check/") || !strings.Contains(r.Left, " until ") {
		t.Errorf("left is %q", r.Left)
	}
	count := 0
	must(t, s.List(ctx, "", func(objects.Info) error { count++; return nil }))
	if count != 1 {
		t.Errorf("the trial shows among the house's objects: %d", count)
	}
}

func TestTrialOfUnfitBuckets(t *testing.T) {
	plain, err := server.MakeBucket(false)
	must(t, err)
	byDefault, err := server.Bucket()
	must(t, err)
	mode, one, unit := minio.Compliance, uint(1), minio.Days
	must(t, raw.SetObjectLockConfig(ctx, byDefault, &mode, &one, &unit))
	for name, missing := range map[string]string{plain: "versioning, object lock", byDefault: "removal of the default retention"} {
		c := settings()
		c.Bucket = name
		r := storecheck.Run(ctx, open(t, c).Trial(), silent)
		if r.Fit() || r.Missing().EN != missing || r.Left != "" {
			t.Errorf("missing %q, want %q; left %q", r.Missing().EN, missing, r.Left)
		}
	}
	// Nothing is known of a store that does not answer: that is no verdict on it.
	away, _ := behind(t, func(versitygwtest.Request) versitygwtest.Fault { return versitygwtest.Refused })
	if r := storecheck.Run(ctx, away.Trial(), silent); r.Fit() || !r.Undecided() || r.Missing().EN != "" {
		t.Errorf("of a store that is away: %+v", r)
	}
}

// TestAttemptsFindWhatIsWrong lets the attempts work on objects that are badly protected, or not at all: each must notice.
func TestAttemptsFindWhatIsWrong(t *testing.T) {
	plain, err := server.MakeBucket(false)
	must(t, err)
	for name, want := range map[string][]string{
		bucket: {"an object has its COMPLIANCE lock and date", "a version cannot be deleted", "a lock cannot be shortened, weakened or removed"},
		plain:  {"a version laid over it changes nothing", "a delete marker does not hide it"},
	} {
		c := settings()
		c.Bucket = name
		trial := open(t, c).Trial()
		for n, a := range trial.Attempts() {
			expected := false
			for _, w := range want {
				expected = expected || w == a.Name.EN
			}
			if !expected {
				continue
			}
			want = want[1:]
			key, b := "trial/"+string(rune('a'+n)), []byte("without a lock")
			o := minio.PutObjectOptions{}
			if name == bucket { // a lock that administrators can break
				o.Mode, o.RetainUntilDate = minio.Governance, time.Now().Add(trialRetention).UTC()
			}
			_, err := raw.Client.PutObject(ctx, name, trial.prefix+key, bytes.NewReader(b), int64(len(b)), o)
			must(t, err)
			if err := a.Try(ctx, key, b); !errors.Is(err, storecheck.ErrMissing) {
				t.Errorf("%s: %v", a.Name.EN, err)
			}
		}
		if len(want) != 0 {
			t.Errorf("there is no attempt %q", want)
		}
	}
}
