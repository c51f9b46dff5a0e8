package ledger_test

import (
	"bytes"
	"testing"

	"github.com/elicence/elicence/ledger"
)

func texts(tb testing.TB, path string) (texts [][]byte, trust ledger.Trust) {
	tb.Helper()
	var v receiptVectors
	readJSON(tb, path, &v)
	for _, x := range v.Vectors {
		texts = append(texts, []byte(x.Text))
	}
	return texts, v.trust(tb)
}

func TestFuzzSeedsExist(t *testing.T) {
	for path, parse := range map[string]func([]byte) error{
		"receipt/receipts.json":       func(b []byte) error { _, err := ledger.ParseReceipt(b); return err },
		"checkpoint/checkpoints.json": func(b []byte) error { _, err := ledger.ParseNote(b); return err },
	} {
		good, bad := 0, 0
		seeds, _ := texts(t, path)
		for _, b := range seeds {
			if parse(b) == nil {
				good++
			} else {
				bad++
			}
		}
		if good < 9 || bad < 5 {
			t.Errorf("%s: %d seeds parse, %d do not", path, good, bad)
		}
	}
}

// FuzzReceipt: what parses encodes to the same bytes, and only a receipt that the vectors have passes the check: nobody
// makes a good one without the keys.
func FuzzReceipt(f *testing.F) {
	seeds, trust := texts(f, "receipt/receipts.json")
	for _, b := range seeds {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ledger.ParseReceipt(b)
		if err != nil {
			return
		}
		again, err := r.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("encodes to other bytes: %v", err)
		}
		evidence, err := r.Check(trust)
		if err != nil {
			return
		}
		for _, s := range seeds {
			if good, err := ledger.ParseReceipt(s); err == nil && bytes.Equal(good.Event, r.Event) && good.Index == r.Index &&
				bytes.Equal(good.Note.Body, r.Note.Body) && evidence.Index == r.Index {
				return // the same statement, with a line of an unknown key more or less
			}
		}
		t.Fatalf("a receipt that nobody made passes:\n%s", b)
	})
}

// FuzzCheckpoint: the same for signed checkpoints, and their bodies.
func FuzzCheckpoint(f *testing.F) {
	seeds, trust := texts(f, "checkpoint/checkpoints.json")
	for _, b := range seeds {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := ledger.ParseNote(b)
		if err != nil {
			return
		}
		if !bytes.Equal(n.Encode(), b) {
			t.Fatal("encodes to other bytes")
		}
		body, err := n.Checkpoint.Body()
		if err != nil || !bytes.Equal(body, n.Body) {
			t.Fatalf("the body encodes to other bytes: %v", err)
		}
		if n.VerifyLog(trust.Logs[0].Certificate) != nil {
			return
		}
		for _, s := range seeds {
			if good, err := ledger.ParseNote(s); err == nil && bytes.Equal(good.Body, n.Body) {
				return
			}
		}
		t.Fatalf("a checkpoint that nobody signed passes:\n%s", b)
	})
}

// FuzzEntries: a bundle that parses encodes to the same bytes.
func FuzzEntries(f *testing.F) {
	f.Add([]byte("\x00\x02ab\x00\x00\x00\x01c"), 3)
	f.Add([]byte{}, 1)
	f.Add([]byte{0, 5, 1}, 1)
	f.Fuzz(func(t *testing.T, b []byte, width int) {
		entries, err := ledger.ParseEntries(b, width)
		if err != nil {
			return
		}
		again, err := ledger.EncodeEntries(entries)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("encodes to other bytes: %v", err)
		}
	})
}
