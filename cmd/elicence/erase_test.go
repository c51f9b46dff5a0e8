package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/storage/objects"
)

// licenceOf reads one licence beside whoever has the folder open.
func licenceOf(t *testing.T, data, number string) (l issuing.Licence) {
	t.Helper()
	reader, err := appAt(data, systemClock, io.Discard, io.Discard).openForReading(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.close()
	if l, err = reader.db.ByNumber(t.Context(), number); err != nil {
		t.Fatal(err)
	}
	return l
}

func eraseArgs(numbers ...string) []string {
	s := demonstrationScheme()
	return append([]string{"erase", "--as", s.commission.Code + "/supervisor-1", "--approver", s.hospitals[0].Code + "/seal-1",
		"--reason", "court-decision", "--why", "file 1"}, numbers...)
}

// gone holds a licence to being erased for good: no copy of its key in any file, nothing personal to be had, and all that
// names nobody still there.
func gone(t *testing.T, data string, l issuing.Licence) {
	t.Helper()
	files(t, data, func(path string, b []byte) {
		if bytes.Contains(b, l.DataKey) {
			t.Errorf("the wrapped data key still lies in %s", path)
		}
	})
	if _, err := os.Stat(filepath.Join(data, "objects", "keys", l.DataKeyID[:2], l.DataKeyID)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the keys/ object of %s is still there: %v", l.Number, err)
	}
	var views []licenceView
	if err := decode(must(t, data, "show", l.Number, "--fields", "--json"), &views); err != nil || len(views) != 1 {
		t.Fatalf("%d licences, %v", len(views), err)
	}
	v := views[0]
	if v.Erased == nil || !strings.HasPrefix(v.Erased.Reason, "court-decision; approved by ") || v.Erased.At.IsZero() || v.Fields != nil {
		t.Errorf("show: erased %+v, fields %v", v.Erased, v.Fields)
	}
	if len(v.Events) == 0 || v.Events[0].Kind != "issued" || v.Events[0].Index == nil || len(v.Parts) != len(l.Parts) {
		t.Errorf("its events and parts are gone: %+v", v)
	}
	says(t, "show", call(t.Context(), data, systemClock, "show", l.Number), exitYes, "已销毁 erased")
	says(t, "export", call(t.Context(), data, systemClock, "export", l.Number, "--out", t.TempDir()), exitNo, "已销毁", "verify as before")
}

// balanced holds ledger, trail, books and status to being good.
func balanced(t *testing.T, data string) {
	t.Helper()
	must(t, data, "trust", "publish")
	must(t, data, "ledger", "cosign")
	must(t, data, "ledger", "audit")
	must(t, data, "audit", "verify")
	must(t, data, "number", "reconcile")
}

func TestErase(t *testing.T) {
	t.Parallel()
	data, s := copyOf(t, issued), demonstrationScheme()
	hospital, commission := s.hospitals[0].Code, s.commission.Code
	out := filepath.Join(t.TempDir(), "before")
	must(t, data, "export", "--all", "--out", out)
	const number = "X000000003"
	l := licenceOf(t, data, number)
	file := filepath.Join(t.TempDir(), "wrong")
	if err := os.WriteFile(file, []byte("not the passphrase"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		code  int
		words string
		args  []string
	}{
		{exitUsage, "--reason", []string{"--as", commission + "/supervisor-1", "--approver", hospital + "/seal-1", "--reason", "because", number}},
		{exitUsage, "two people", []string{"--as", commission + "/supervisor-1", "--reason", "request", number}},
		{exitNo, "不得为同一人", []string{"--as", hospital + "/seal-1", "--approver", "seal-1", "--reason", "request", number}},
		{exitNo, "needs the role", []string{"--as", hospital + "/clerk-1", "--approver", "seal-1", "--reason", "request", number}},
		{exitNo, "needs the role", []string{"--as", commission + "/supervisor-1", "--approver", hospital + "/stock-1", "--reason", "request", number}},
		{exitNo, "neither its issuer", []string{"--as", commission + "/supervisor-1", "--approver", s.hospitals[1].Code + "/seal-1", "--reason", "request", number}},
		{exitNo, "passphrase", []string{"--as", commission + "/supervisor-1", "--approver", hospital + "/seal-1", "--reason", "request", "--approver-passphrase-file", file, number}},
		{exitNo, "not found", append(eraseArgs()[1:], number, "X000009999")},
	} {
		says(t, strings.Join(c.args, " "), call(t.Context(), data, systemClock, append([]string{"erase"}, c.args...)...), c.code, c.words)
	}
	must(t, data, "show", number, "--fields") // nothing was destroyed by what was refused
	must(t, data, eraseArgs(number, "X000000005")...)
	gone(t, data, l)
	balanced(t, data)
	// What was given out verifies, the erased one's too; receipts of others are made as before.
	must(t, data, "export", "X000000001", "--out", out) // newer trust and status lists
	verifies(t, data, out, 2*issuedCount, true)
	var e exported
	if err := decode(must(t, data, "export", "--all", "--out", filepath.Join(t.TempDir(), "after"), "--json"), &e); err != nil ||
		e.Licences != issuedCount-2 || fmt.Sprint(e.Erased) != "[X000000003 X000000005]" {
		t.Errorf("export --all: %+v, %v", e, err)
	}
	// The same again is answered; the same birth again is not issued a second time.
	says(t, "erase again", call(t.Context(), data, systemClock, append(eraseArgs(number), "--json")...), exitYes, `"stands"`)
	says(t, "issue again", call(t.Context(), data, systemClock, "issue", "--births", birthsOf(t, 1, issuedCount), "--json"), exitYes, `"issued": 0`, `"standing": 12`)
	// Custody goes on with the files that others hold; nothing personal can be added.
	must(t, data, "handover", number, "--as", hospital+"/stock-1", "--to", s.cityArchive.Code)
	accept := []string{"accept", number, "--as", s.cityArchive.Code + "/archivist-1"}
	says(t, "accept", call(t.Context(), data, systemClock, accept...), exitNo, "--file")
	must(t, data, append(accept, "--file", filepath.Join(out, number+"-counterfoil.pdf"))...)
	says(t, "register", call(t.Context(), data, systemClock, "register", number, "--as", s.police.Code+"/officer-1", "--registration", registrationFile(t),
		"--file", filepath.Join(out, number+"-main.pdf")), exitNo, "已销毁")
	says(t, "replace", call(t.Context(), data, systemClock, "replace", number, "--as", hospital+"/clerk-1", "--approver", "seal-1", "--grounds", "lost",
		"--business", "R-9"), exitNo, "已销毁")
	must(t, data, "revoke", number, "--as", commission+"/supervisor-1", "--reason", "court-decision")
	must(t, data, "key", "rotate-data", "--former", "destroy")
	balanced(t, data)
	gone(t, data, l)
	var rows []trailRow
	if err := decode(must(t, data, "audit", "list", "--licence", number, "--what", "erase", "--json"), &rows); err != nil || len(rows) != 1 ||
		rows[0].Organisation != commission || rows[0].Person != "supervisor-1" || !strings.Contains(rows[0].Why, hospital+"/seal-1") || !strings.Contains(rows[0].Why, "file 1") {
		t.Errorf("the trail says %+v, %v", rows, err)
	}
}

// An erasure that is killed is finished by the same command; from the note on among the objects there is no way back.
func TestKilledWhileErasing(t *testing.T) {
	t.Parallel()
	count, seed := kills(t)
	random := rand.New(rand.NewPCG(seed, 1<<35))
	data := copyOf(t, issued)
	hit := 0
	for n := range min(issuedCount-2, max(5, count/4)) {
		l := licenceOf(t, data, fmt.Sprintf("X%09d", n+1))
		notes := filepath.Join(data, "objects", "erased", l.DataKeyID)
		when := func() bool { _, err := os.Stat(notes); return err == nil }
		if random.IntN(2) == 0 {
			when = grown(walOf(data), int64(random.IntN(60<<10)))
		}
		args := eraseArgs(l.Number)
		if ended, said := killed(t, when, append([]string{args[0], "--data", data}, args[1:]...)...); !ended {
			hit++
		} else if !strings.Contains(said, "erased") {
			t.Fatalf("erase: %s", said)
		}
		must(t, data, args...)
		gone(t, data, l)
		must(t, data, "show", "X000000012", "--fields")
	}
	if hit == 0 {
		t.Fatal("no kill hit a living process: this shows nothing")
	}
	balanced(t, data)
	if keys := stored(t, data, objects.Deletable); keys > issuedCount {
		t.Errorf("%d keys are left", keys)
	}
}
