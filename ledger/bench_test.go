package ledger_test

import (
	"testing"

	"github.com/elicence/elicence/ledger"
)

// BenchmarkReceiptCheck is a reader's work for one receipt: parse, event signature, path, log and two cosignatures.
func BenchmarkReceiptCheck(b *testing.B) {
	seeds, trust := texts(b, "receipt/receipts.json")
	b.ReportAllocs()
	for b.Loop() {
		r, err := ledger.ParseReceipt(seeds[0])
		if err != nil {
			b.Fatal(err)
		}
		if _, err := r.Check(trust); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(seeds[0])), "bytes")
}
