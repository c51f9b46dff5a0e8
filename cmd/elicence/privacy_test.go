package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/elicence/elicence/ledger/contract"
)

// needles are values that must not be found, by their first four bytes.
type needles map[uint32][]needle

type needle struct {
	bytes []byte
	what  string
}

// add looks for a value as it is, as UTF-16, as hexadecimal digits and in base64.
func (n needles) add(value, what string) {
	if len(value) < 6 {
		return // two Chinese characters: shorter ones stand in any text
	}
	wide := binary.BigEndian
	var utf16be []byte
	for _, u := range utf16.Encode([]rune(value)) {
		utf16be = wide.AppendUint16(utf16be, u)
	}
	forms := [][]byte{[]byte(value), []byte(hex.EncodeToString([]byte(value))), []byte(strings.ToUpper(hex.EncodeToString(utf16be)))}
	if len(utf16be) >= 6 { // four bytes stand in any megabytes of ciphertext, some day
		forms = append(forms, utf16be)
	}
	for shift := range 3 {
		// Of a longer text's base64 only the characters that hold nothing but this value are certain.
		whole := base64.RawStdEncoding.EncodeToString(append(make([]byte, shift), value...))
		from, to := (shift*8+5)/6, (shift+len(value))*8/6
		if to-from >= 8 {
			forms = append(forms, []byte(whole[from:to]))
		}
	}
	for _, f := range forms {
		n[wide.Uint32(f)] = append(n[wide.Uint32(f)], needle{f, what})
	}
}

// in returns what was found, "" for nothing.
func (n needles) in(b []byte) string {
	for i := 0; i+4 <= len(b); i++ {
		for _, v := range n[binary.BigEndian.Uint32(b[i:])] {
			if bytes.HasPrefix(b[i:], v.bytes) {
				return v.what
			}
		}
	}
	return ""
}

// personal are the values of a request that name or describe people.
func personal(t *testing.T, lines []string) needles {
	t.Helper()
	n := needles{}
	for _, line := range lines {
		var b struct {
			BusinessID            string
			Child, Mother, Father struct{ Name, IDNumber, Address string }
			Midwife               string
		}
		if err := json.Unmarshal([]byte(line), &b); err != nil {
			t.Fatal(err)
		}
		for what, v := range map[string]string{
			"child's name": b.Child.Name, "mother's name": b.Mother.Name, "mother's id number": b.Mother.IDNumber,
			"mother's address": b.Mother.Address, "father's name": b.Father.Name, "father's id number": b.Father.IDNumber,
			"father's address": b.Father.Address, "attendant's name": b.Midwife,
		} {
			n.add(v, b.BusinessID+" "+what)
		}
	}
	return n
}

func TestNeedlesAreFound(t *testing.T) {
	t.Parallel()
	n := needles{}
	n.add("上海市杨浦区", "address")
	for _, text := range []string{"at 上海市杨浦区!", hex.EncodeToString([]byte("上海市杨浦区")), base64.StdEncoding.EncodeToString([]byte("x上海市杨浦区y")),
		base64.StdEncoding.EncodeToString([]byte("xy上海市杨浦区")), base64.StdEncoding.EncodeToString([]byte("xyz上海市杨浦区"))} {
		if n.in([]byte(text)) == "" {
			t.Errorf("not found in %q", text)
		}
	}
	if got := n.in([]byte("上海市徐汇区 上海市杨浦")); got != "" {
		t.Errorf("found in what is something else: %s", got)
	}
}

// spoilt makes of good requests ones that are refused, each with a personal value where it hurts.
func spoilt(t *testing.T, lines []string) []string {
	t.Helper()
	var out []string
	for k, spoil := range []func(m map[string]any){
		func(m map[string]any) { m["mother"].(map[string]any)["idNumber"] = "310196200312200308" },
		func(m map[string]any) { m["child"].(map[string]any)["name"] = "曹宸书\u0007曹宸书" },
		func(m map[string]any) {
			m["father"].(map[string]any)["address"] = strings.Repeat("上海市黄浦区沪太路703弄", 12)
		},
		func(m map[string]any) { m[m["child"].(map[string]any)["name"].(string)] = "unknown key" },
		func(m map[string]any) { m["licenceType"] = m["child"].(map[string]any)["name"] },
		func(m map[string]any) { m["kind"] = m["mother"].(map[string]any)["name"] },
		func(m map[string]any) { m["institution"] = m["mother"].(map[string]any)["name"] },
		func(m map[string]any) { m["child"].(map[string]any)["sex"] = m["mother"].(map[string]any)["name"] },
		func(m map[string]any) {
			m["child"].(map[string]any)["bornAt"] = m["mother"].(map[string]any)["address"]
		},
		func(m map[string]any) {
			m["child"].(map[string]any)["weightGrams"] = m["mother"].(map[string]any)["idNumber"]
		},
		func(m map[string]any) {
			m["mother"].(map[string]any)["ethnicGroup"] = m["father"].(map[string]any)["name"]
		},
		func(m map[string]any) { m["replaces"] = m["mother"].(map[string]any)["name"] },
		func(m map[string]any) { m["child"] = m["mother"].(map[string]any)["name"] },
	} {
		var m map[string]any
		if err := json.Unmarshal([]byte(lines[k]), &m); err != nil {
			t.Fatal(err)
		}
		spoil(m)
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(b))
	}
	broken := lines[len(out)]
	return append(out, broken[:len(broken)-30], strings.Replace(broken, `"name"`, `"name":"曹宸书","name"`, 1))
}

// No personal value of any birth is in what a batch says, refusals included, nor anywhere in the data folder but inside
// what only the licence's key opens; and the log, the objects and what is published know no number or identifier either.
func TestNothingPersonalInTheClear(t *testing.T) {
	t.Parallel()
	data, s := copyOf(t, fresh), demonstrationScheme()
	hospital := s.hospitals[0].Code
	good, err := births(1, 20, hospital)
	if err != nil {
		t.Fatal(err)
	}
	bad, err := births(21, 20, hospital)
	if err != nil {
		t.Fatal(err)
	}
	wrong := spoilt(t, bad)
	file, report := filepath.Join(t.TempDir(), "births.jsonl"), filepath.Join(t.TempDir(), "report.jsonl")
	if err := os.WriteFile(file, []byte(strings.Join(append(append([]string(nil), good...), wrong...), "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	values := personal(t, append(append([]string(nil), good...), bad...))
	values.add("曹宸书", "a name")
	var said strings.Builder
	run := func(code int, args ...string) called {
		t.Helper()
		c := call(t.Context(), data, systemClock, args...)
		if c.code != code {
			t.Fatalf("elicence %s: exit %d: %s%s", strings.Join(args[:1], " "), c.code, c.stdout, c.stderr)
		}
		said.WriteString(c.stdout + c.stderr)
		return c
	}
	run(exitBatch, "issue", "--births", file, "--report", report)
	run(exitBatch, "issue", "--births", file, "--strict", "--json")
	numbers := numbersIn(t, report)
	if len(numbers) != len(good) {
		t.Fatalf("%d births were issued, want %d", len(numbers), len(good))
	}
	first := numbers[0].Number
	run(exitYes, "handover", first, "--as", hospital+"/stock-1", "--to", s.cityArchive.Code)
	run(exitYes, "reject", first, "--as", s.cityArchive.Code+"/archivist-1", "--reason", "incomplete", "--note", "曹宸书的登记表缺页")
	run(exitYes, "register", numbers[1].Number, "--as", s.police.Code+"/officer-1", "--registration", registrationFile(t))
	run(exitYes, "replace", numbers[2].Number, "--as", hospital+"/clerk-1", "--approver", "seal-1", "--grounds", "lost", "--business", "R-1")
	run(exitYes, "revoke", numbers[3].Number, "--as", s.commission.Code+"/supervisor-1", "--reason", "false-evidence", "--note", "曹宸书之母的证件系伪造")
	run(exitYes, "list", "--json")
	run(exitYes, "show", first, "--json")
	run(exitNo, "show", "無此人之姓名")
	run(exitYes, "ledger", "audit", "--json")
	values.add("無此人之姓名", "a name that was searched for")
	values.add("曹宸书的登记表缺页", "a note")
	values.add("示范路1号101室", "a registered address")
	b, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	for where, text := range map[string]string{"what the commands said": said.String(), "the report": string(b)} {
		if got := values.in([]byte(text)); got != "" {
			t.Errorf("%s holds the %s", where, got)
		}
	}
	// With a reader's row still in the spool, and no process that holds anything back.
	names := needles{}
	for _, l := range numbers {
		names.add(l.Number, "number "+l.Number)
		names.add(l.Identifier, "identifier of "+l.Number)
	}
	seen := map[string]int{}
	files(t, data, func(path string, b []byte) {
		if got := values.in(b); got != "" {
			t.Errorf("%s holds the %s", path, got)
		}
		top := strings.SplitN(strings.TrimPrefix(path, data+string(filepath.Separator)), string(filepath.Separator), 2)[0]
		seen[top]++
		if top != "records" {
			if got := names.in(b); got != "" {
				t.Errorf("%s holds the %s", path, got)
			}
			if got := names.in([]byte(path)); got != "" {
				t.Errorf("the path %s holds the %s", path, got)
			}
		}
	})
	for _, top := range []string{"records", "objects", "publish", "cosigners"} {
		if seen[top] == 0 {
			t.Errorf("nothing was looked at in %s", top)
		}
	}
	entriesSayNothing(t, data, values, names)
}

// entriesSayNothing looks at the log's raw entries, which the records keep compressed or not.
func entriesSayNothing(t *testing.T, data string, lists ...needles) {
	t.Helper()
	i, err := appAt(data, systemClock, io.Discard, io.Discard).openForReading(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer i.close()
	head, err := i.db.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	entries, err := i.db.Entries(t.Context(), 0, head.Size)
	if err != nil || len(entries) < 30 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	for n, e := range entries {
		if _, err := contract.ParseEvent(e); err != nil {
			t.Fatalf("entry %d: %v", n, err)
		}
		for _, list := range lists {
			if got := list.in(e); got != "" {
				t.Errorf("entry %d holds the %s", n, got)
			}
		}
	}
}

func numbersIn(t *testing.T, report string) []batchLine {
	t.Helper()
	b, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var out []batchLine
	d := json.NewDecoder(bytes.NewReader(b))
	for d.More() {
		var l batchLine
		if err := d.Decode(&l); err != nil {
			t.Fatal(err)
		}
		if l.Number != "" {
			out = append(out, l)
		}
	}
	return out
}

func registrationFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "registration.json")
	if err := os.WriteFile(path, []byte(`{"name":"曹宸书","address":"示范路1号101室","station":"示范派出所"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The same birth issued in two installations has nothing in common that somebody with both logs could match: not the
// handle, not the commitments, not the fields' salts, not the place in the status list.
func TestTwoInstallationsHaveUnrelatedCommitments(t *testing.T) {
	t.Parallel()
	hospital := demonstrationScheme().hospitals[0].Code
	file := birthsOf(t, 1, 1)
	var handles, commitments [][32]byte
	var salts []string
	for _, made := range []func() (string, error){fresh, other, fresh} {
		data := copyOf(t, made)
		must(t, data, "issue", "--births", file)
		i, err := appAt(data, systemClock, io.Discard, io.Discard).openForReading(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		found, err := i.db.ByBusinessID(t.Context(), hospital, "D1-000001")
		if err != nil || len(found) != 1 {
			t.Fatalf("%d licences, %v", len(found), err)
		}
		events, err := i.db.EventsOf(t.Context(), found[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		signed, err := contract.ParseEvent(events[0].Bytes)
		if err != nil {
			t.Fatal(err)
		}
		handles = append(handles, signed.Event.Handle)
		if len(signed.Event.Parts) != 2 {
			t.Fatalf("%d parts are committed to", len(signed.Event.Parts))
		}
		for _, p := range signed.Event.Parts {
			commitments = append(commitments, p.Commitment)
		}
		salts = append(salts, string(found[0].Seed[:]))
		i.close()
	}
	for _, list := range [][][32]byte{handles, commitments} {
		for a := range list {
			for b := range a {
				if list[a] == list[b] {
					t.Errorf("%d and %d are equal: %x", a, b, list[a])
				}
			}
		}
	}
	if salts[0] == salts[1] || salts[0] == salts[2] {
		t.Error("two licences have the same seed")
	}
}
