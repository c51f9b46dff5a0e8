package verify_test

import (
	"context"
	"testing"
	"time"

	"github.com/elicence/elicence/verify"
	"github.com/elicence/elicence/verify/trust"
	"github.com/elicence/elicence/verify/verifytest"
)

// Files a second and core: 1e9 / (ns/op). Every licence is another one, as in a reader's day; its two parts and its
// receipt are seen once.
func benchmarkFiles(b *testing.B, withReceipt bool) {
	s := verifytest.New(b, "bench")
	const licences = 64
	var all []*made
	var events, files, receipts [][]byte
	for i := range licences {
		all = append(all, recipe{scheme: s, birth: i, index: uint64(i)}.make(b))
		events = append(events, all[i].event)
	}
	batch := log{}.receipts(b, all[0], events)
	for i, m := range all {
		for _, part := range []string{"main", "counterfoil"} {
			files, receipts = append(files, m.parts[part]), append(receipts, nil)
			if withReceipt {
				receipts[len(receipts)-1] = batch[i]
			}
		}
	}
	f := s.Trust(nil)
	pin := trust.SM3(f.Pin())
	o := verify.Options{Pin: &pin, Status: s.Status(signedAt, nil), Now: func() time.Time { return signedAt.Add(time.Hour) }}
	var v *verify.Verifier
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		if i%len(files) == 0 { // what the verifier remembers must not make the second round cheaper
			var err error
			if v, err = verify.New(f, o); err != nil {
				b.Fatal(err)
			}
		}
		if r := v.File(context.Background(), files[i%len(files)], receipts[i%len(files)]); !r.Good() {
			b.Fatal(open(r))
		}
		i++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "files/s")
}

func BenchmarkFile(b *testing.B)            { benchmarkFiles(b, false) }
func BenchmarkFileWithReceipt(b *testing.B) { benchmarkFiles(b, true) }

func BenchmarkCode(b *testing.B) {
	s := verifytest.New(b, "bench")
	var codes []string
	for i := range 64 {
		codes = append(codes, recipe{scheme: s, birth: i}.make(b).code)
	}
	f := s.Trust(nil)
	var v *verify.Verifier
	i := 0
	for b.Loop() {
		if i%len(codes) == 0 {
			var err error
			if v, err = verify.New(f, verify.Options{Now: func() time.Time { return signedAt.Add(time.Hour) }}); err != nil {
				b.Fatal(err)
			}
		}
		if r := v.Code(context.Background(), codes[i%len(codes)]); !r.Passed() {
			b.Fatal(open(r))
		}
		i++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "codes/s")
}
