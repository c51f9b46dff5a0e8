package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/elicence/elicence/storage/objects/s3/versitygwtest"
)

// The line to the object store is bad: one request in six is refused, cut on its way or on the way back, answered with an
// error, or done without an answer; two are never answered in time. The same command, given until it says that all is
// done, issues every birth exactly once, and nothing is left to mend.
func TestIssueOnABadLine(t *testing.T) {
	t.Parallel()
	count, first := killsOr(t, 20)
	for n := range max(2, count/20) {
		seed := first + uint64(n)
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 5<<33))
			o, s := installedOnS3(t), smallScheme()
			folder := t.TempDir()
			file, report := filepath.Join(folder, "births.jsonl"), filepath.Join(folder, "report.jsonl")
			const births = 30
			if err := writeBirths(file, 1, births, s.hospitals[0].Code); err != nil {
				t.Fatal(err)
			}
			bad := []versitygwtest.Fault{versitygwtest.Broken, versitygwtest.Busy, versitygwtest.Refused, versitygwtest.CutRequest, versitygwtest.CutAnswer, versitygwtest.Lost}
			slow := map[int]versitygwtest.Fault{40 + random.IntN(40): versitygwtest.Late, 100 + random.IntN(40): versitygwtest.Silent}
			met := map[versitygwtest.Fault]int{}
			line := func(r versitygwtest.Request) versitygwtest.Fault {
				fault, ok := slow[r.Number]
				if !ok && random.IntN(6) == 0 {
					fault = bad[random.IntN(len(bad))]
				}
				delete(slow, r.Number) // each once
				met[fault]++
				return fault
			}
			o.proxy.Decide(line)
			numbers := map[string]string{}
			for try := 1; ; try++ {
				if err := os.RemoveAll(report); err != nil {
					t.Fatal(err)
				}
				c := call(t.Context(), o.data, systemClock, "issue", "--births", file, "--report", report, "--workers", "4")
				if c.code == exitYes {
					break
				}
				// A birth that failed is named and keeps its number, or the store is said to be away.
				says(t, "issue on a bad line", c, c.code, "does not answer now")
				if c.code != exitUnavailable && c.code != exitBatch || try == 20 {
					t.Fatalf("try %d: exit %d: %s%s", try, c.code, c.stdout, c.stderr)
				}
				issuedOf(t, numbers, report)
			}
			remember(t, numbers, report)
			o.proxy.Decide(noFault)
			for _, f := range append(bad, versitygwtest.Late, versitygwtest.Silent) {
				if met[f] == 0 {
					t.Errorf("the line was never bad by %q", f)
				}
			}
			if len(numbers) != births {
				t.Fatalf("%d births were answered, want %d", len(numbers), births)
			}
			whole(t, o.data, numbers, s.agencies[0].Code)
			o.once(t)
			says(t, "reconcile", call(t.Context(), o.data, systemClock, "reconcile"), exitYes)
		})
	}
}
