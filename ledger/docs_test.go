package ledger_test

import (
	"encoding/hex"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/elicence/elicence/ledger/contract"
	"github.com/fxamacker/cbor/v2"
)

func doc(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("../docs/formats/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var block = regexp.MustCompile("(?s)<!-- (bytes|diagnostic|text): ([^>]+) -->\n```\n(.*?)```\n")

func squeeze(s string) string { return strings.Join(strings.Fields(s), "") }

// TestWorkedBytes: every byte that the pages print is one of the vectors'.
func TestWorkedBytes(t *testing.T) {
	var events eventVectors
	readJSON(t, "event/forms.json", &events)
	var receipts receiptVectors
	readJSON(t, "receipt/receipts.json", &receipts)
	want := map[string]string{}
	for _, a := range events.Accepted {
		for field, b := range map[string]hexBytes{"payload": a.Payload, "toBeSigned": a.ToBeSigned, "event": a.Event, "hash": a.Hash, "leaf": a.Leaf} {
			want["bytes "+a.Name+" "+field] = hex.EncodeToString(b)
		}
		d, err := cbor.Diagnose(a.Payload)
		if err != nil {
			t.Fatal(err)
		}
		want["diagnostic "+a.Name+" payload"] = squeeze(d)
	}
	for _, r := range receipts.Vectors {
		want["text receipt "+r.Name] = r.Text
		if _, note, ok := strings.Cut(r.Text, "\n\n"); ok {
			body, _, _ := strings.Cut(note, "\n\n")
			want["text receipt "+r.Name+" body"] = body + "\n"
		}
	}
	for page, least := range map[string]int{"event.md": 6, "receipt.md": 2} {
		found := block.FindAllStringSubmatch(doc(t, page), -1)
		if len(found) < least {
			t.Errorf("%s has %d worked examples", page, len(found))
		}
		for _, m := range found {
			got := m[3]
			if m[1] != "text" {
				got = squeeze(got)
			}
			if w, ok := want[m[1]+" "+m[2]]; !ok || got != w {
				t.Errorf("%s: %s %s is not the vector", page, m[1], m[2])
			}
		}
	}
}

// TestPagesNameEverything: kinds, reasons and rules, with their words.
func TestPagesNameEverything(t *testing.T) {
	page := doc(t, "event.md")
	for _, r := range contract.Rules() {
		if !strings.Contains(page, "| `"+r.Rule+"` | "+r.ZH+" | "+r.EN+" |") {
			t.Errorf("event.md does not have the rule %s", r.Rule)
		}
	}
	for _, k := range contract.Kinds() {
		if !strings.Contains(page, "| `"+string(k)+"` |") {
			t.Errorf("event.md does not have the kind %s", k)
		}
		for _, reason := range contract.Reasons(k) {
			if !strings.Contains(page, "`"+reason+"`") {
				t.Errorf("event.md does not have the reason %s", reason)
			}
		}
	}
}
