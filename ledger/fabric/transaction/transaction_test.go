package transaction_test

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/fabric/transaction"
)

func three(more ...transaction.Member) []transaction.Member {
	return append([]transaction.Member{{MSP: "P", Kind: contract.Police}, {MSP: "C", Kind: contract.Commission}, {MSP: "A", Kind: contract.Archive}}, more...)
}

func TestRegistryEncoding(t *testing.T) {
	r := transaction.NewRegistry(1, three()...)
	b, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := transaction.ParseRegistry(b)
	if err != nil || again.Kind("C") != contract.Commission || again.Kind("X") != "" || len(again.Of(contract.Archive)) != 1 {
		t.Fatalf("%+v, %v", again, err)
	}
	unordered := transaction.Registry{Number: 1, Members: three()}
	many := transaction.NewRegistry(1, three()...)
	for i := range transaction.MaxMembers {
		many.Members = append(many.Members, transaction.Member{MSP: "Z" + strings.Repeat("z", i/60) + string(rune('0'+i%60)), Kind: contract.Archive})
	}
	for name, r := range map[string]transaction.Registry{
		"number zero":     transaction.NewRegistry(0, three()...),
		"nobody":          transaction.NewRegistry(1),
		"a kind missing":  transaction.NewRegistry(1, three()[:2]...),
		"twice":           transaction.NewRegistry(1, three(transaction.Member{MSP: "A", Kind: contract.Archive})...),
		"not in order":    unordered,
		"a hospital":      transaction.NewRegistry(1, three(transaction.Member{MSP: "H", Kind: contract.Hospital})...),
		"no name":         transaction.NewRegistry(1, three(transaction.Member{Kind: contract.Archive})...),
		"a long name":     transaction.NewRegistry(1, three(transaction.Member{MSP: strings.Repeat("x", 65), Kind: contract.Archive})...),
		"a path for name": transaction.NewRegistry(1, three(transaction.Member{MSP: "a/b", Kind: contract.Archive})...),
		"too many":        many,
	} {
		if _, err := r.Encode(); !errors.Is(err, transaction.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnswerIsForItsBatch(t *testing.T) {
	b, err := transaction.Answer{"", contract.RuleStale}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if a, err := transaction.ParseAnswer(b, 2); err != nil || a.Accepted() != 1 {
		t.Fatal(a, err)
	}
	for _, n := range []int{0, 1, 3} {
		if _, err := transaction.ParseAnswer(b, n); !errors.Is(err, transaction.ErrMalformed) {
			t.Errorf("for %d events: %v", n, err)
		}
	}
}

func TestBatchFits(t *testing.T) {
	for name, events := range map[string][][]byte{
		"none": nil, "too many": make([][]byte, transaction.MaxEvents+1), "too large": {make([]byte, transaction.MaxBytes), {1}},
	} {
		if transaction.Fits(events) == nil {
			t.Errorf("%s: fits", name)
		}
	}
	if err := transaction.Fits([][]byte{make([]byte, transaction.MaxBytes)}); err != nil {
		t.Error(err)
	}
}

// seeded fails unless the folder of committed seeds is there: a target without seeds tests nothing.
func seeded(f *testing.F) {
	f.Helper()
	seeds, err := os.ReadDir("testdata/fuzz/" + f.Name())
	if err != nil || len(seeds) == 0 {
		f.Fatal("no seeds", err)
	}
}

func FuzzRegistry(f *testing.F) {
	seeded(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := transaction.ParseRegistry(b)
		if err != nil {
			return
		}
		again, err := r.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x is read and written as %x, %v", b, again, err)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	seeded(f)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		a, err := transaction.ParseAnswer(b, n)
		if err != nil {
			return
		}
		again, err := a.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x is read and written as %x, %v", b, again, err)
		}
	})
}

func TestPage(t *testing.T) {
	encode := func(p transaction.Page) []byte {
		t.Helper()
		b, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	one, two := transaction.Entry{Key: "a", Value: []byte{1}}, transaction.Entry{Key: "b", Value: []byte{2}}
	for name, c := range map[string]struct {
		page  transaction.Page
		first string
		good  bool
	}{
		"nothing":                    {transaction.Page{}, "", true},
		"two keys":                   {transaction.Page{Entries: []transaction.Entry{one, two}, Next: "c"}, "a", true},
		"before the first":           {transaction.Page{Entries: []transaction.Entry{one, two}}, "b", false},
		"not in order":               {transaction.Page{Entries: []transaction.Entry{two, one}}, "", false},
		"twice":                      {transaction.Page{Entries: []transaction.Entry{one, one}}, "", false},
		"it would never come to end": {transaction.Page{Entries: []transaction.Entry{one}, Next: "a"}, "", false},
		"nothing, and yet more":      {transaction.Page{Next: "a"}, "", false},
	} {
		p, err := transaction.ParsePage(encode(c.page), c.first)
		if (err == nil) != c.good || err != nil && !errors.Is(err, transaction.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && (len(p.Entries) != len(c.page.Entries) || p.Next != c.page.Next) {
			t.Errorf("%s: %+v", name, p)
		}
	}
	if _, err := transaction.ParsePage([]byte{0x80}, ""); !errors.Is(err, transaction.ErrMalformed) {
		t.Error(err)
	}
}
