package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emmansun/gmsm/sm3"

	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/contract"
	lab "github.com/elicence/elicence/ledger/fabric/network"
	"github.com/elicence/elicence/signer/credential"
)

// The network of this package's tests, with a ledger for each that asks. Bringing it up takes seconds: it is done once, when it
// is first asked for.
var (
	startNetwork = sync.OnceValues(func() (*lab.Network, error) {
		tools, err := lab.Tools()
		if err != nil {
			return nil, err
		}
		chaincode, err := lab.BuildChaincode(context.Background(), folder)
		if err != nil {
			return nil, err
		}
		n, err := lab.Up(context.Background(), filepath.Join(folder, "network"),
			lab.Options{Tools: tools, Chaincode: chaincode, Orderers: 1, BatchTimeout: 50 * time.Millisecond}, nil)
		if err != nil {
			return nil, err
		}
		startedNetwork.Store(n)
		return n, n.Deploy(context.Background(), ledgersOfTests...)
	})
	startedNetwork atomic.Pointer[lab.Network]
	ledgersOfTests = []string{"story", "search", "export"}
	ledgersDealt   atomic.Int64
)

func stopNetwork() error {
	if n := startedNetwork.Load(); n != nil {
		return n.Down()
	}
	return nil
}

// onNetwork makes an installation whose ledger is on a chain of its own.
func onNetwork(t *testing.T) (*lab.Network, string) {
	t.Helper()
	n, err := startNetwork()
	if err != nil {
		t.Fatal(err)
	}
	dealt := int(ledgersDealt.Add(1)) - 1
	if dealt >= len(ledgersOfTests) {
		t.Fatal("there are too few ledgers for the tests")
	}
	text, err := n.Settings(ledgersOfTests[dealt])
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "network.yaml")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	settings, err := networkFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(t.TempDir(), "data")
	err = appAt(data, aMinuteAgo, io.Discard, io.Discard).initialise(t.Context(), smallScheme(), func(c *config) {
		c.Ledger.Driver, c.Ledger.Fabric = onFabric, settings
	})
	if err != nil {
		t.Fatal(err)
	}
	return n, data
}

// following runs a folder's follower until the returned function is called, which waits for its end.
func following(t *testing.T, data string) func() called {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan called, 1)
	go func() { ended <- call(ctx, data, systemClock, "ledger", "follow", "--json") }()
	var once sync.Once
	var last called
	end := func() called {
		once.Do(func() {
			stop()
			last = <-ended
		})
		return last
	}
	t.Cleanup(func() { end() })
	return end
}

type ledgerState struct {
	Driver     string
	Size       uint64
	Lag        int
	Checkpoint string
	Signed     string
	Chain      *chainStatus
}

func stateOfLedger(t *testing.T, data string) (s ledgerState) {
	t.Helper()
	if err := decode(must(t, data, "ledger", "status", "--json"), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// A hospital's births and their custody on a Fabric network: every member's step goes through its own peer, police and archive
// follow with their own folders and keys and cosign through the chain, a peer that is away holds up no birth, and everybody has
// the same log in the end.
func TestOnFabric(t *testing.T) {
	n, data := onNetwork(t)
	s := demonstrationScheme()
	hospital := s.hospitals[0].Code
	report := filepath.Join(t.TempDir(), "report.jsonl")
	must(t, data, "issue", "--births", birthsOf(t, 1, 8), "--report", report)
	var numbers []string
	for _, l := range numbersIn(t, report) {
		numbers = append(numbers, l.Number)
	}
	if len(numbers) != 8 {
		t.Fatalf("%d licences", len(numbers))
	}
	must(t, data, "handover", numbers[1], "--as", hospital+"/stock-1", "--to", s.cityArchive.Code)
	must(t, data, "handover", numbers[0], "--as", hospital+"/stock-1", "--to", s.cityArchive.Code)
	must(t, data, "accept", numbers[0], "--as", s.cityArchive.Code+"/archivist-1")
	must(t, data, "reject", numbers[1], "--as", s.cityArchive.Code+"/archivist-1", "--reason", "incomplete")
	must(t, data, "register", numbers[2], "--as", s.police.Code+"/officer-1", "--registration", registrationFile(t))
	must(t, data, "revoke", numbers[3], "--as", s.commission.Code+"/supervisor-1", "--reason", "false-evidence")
	must(t, data, "ledger", "audit")
	before := stateOfLedger(t, data)
	if before.Driver != onFabric || before.Lag != 0 || before.Chain == nil || before.Chain.Away != "" || before.Chain.Next == 0 || before.Chain.Next > before.Chain.Height {
		t.Fatalf("%+v, %+v", before, before.Chain)
	}

	// Police and archive go into folders of their own: from now on nobody here can sign for them.
	police, archive := filepath.Join(t.TempDir(), "police"), filepath.Join(t.TempDir(), "archive")
	must(t, data, "ledger", "join", s.police.Code, "--out", police)
	must(t, data, "ledger", "join", s.cityArchive.Code, "--out", archive)
	if c := call(t.Context(), data, systemClock, "ledger", "join", s.police.Code, "--out", filepath.Join(t.TempDir(), "again")); c.code != exitNo {
		t.Errorf("joined twice: exit %d %s", c.code, c.stderr)
	}
	stopPolice, stopArchive := following(t, police), following(t, archive)
	must(t, data, "issue", "--births", birthsOf(t, 9, 4))
	after := stateOfLedger(t, data)
	note, err := ledger.ParseNote([]byte(after.Signed))
	if err != nil || len(note.Lines) != 3 || after.Size <= before.Size {
		t.Fatalf("the newest checkpoint, of %d entries, has %d lines: %v", after.Size, len(note.Lines), err)
	}
	// What a family holds is verified without anything of Fabric.
	out := filepath.Join(t.TempDir(), "out")
	must(t, data, "export", "--all", "--out", out)
	for _, number := range numbers[:3] {
		must(t, data, "verify", "--trust", filepath.Join(out, "trust.json"), "--receipt", filepath.Join(out, number+".receipt"), filepath.Join(out, number+"-main.pdf"))
	}

	// A member's peer is away: births go on, and it is said that the ledger lags behind.
	if err := n.Kill("peer.police"); err != nil {
		t.Fatal(err)
	}
	c := call(t.Context(), data, systemClock, "issue", "--births", birthsOf(t, 13, 3))
	if c.code != exitYes || !strings.Contains(c.stderr, "the ledger lags behind") {
		t.Fatalf("exit %d: %s", c.code, c.stderr)
	}
	if lag := stateOfLedger(t, data).Lag; lag != 3 {
		t.Errorf("lag of %d events", lag)
	}
	if err := n.Start("peer.police"); err != nil {
		t.Fatal(err)
	}
	if err := n.Listening(t.Context(), "peer.police"); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		if c = call(t.Context(), data, systemClock, "ledger", "cosign"); c.code == exitYes {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("it does not catch up: %s", c.stderr)
		}
	}
	if last := stateOfLedger(t, data); last.Lag != 0 || last.Size <= after.Size {
		t.Fatalf("%+v", last)
	}
	must(t, data, "ledger", "audit")

	// Everybody has the same log. An own peer that was away is asked again, so each gets there.
	want := stateOfLedger(t, data).Checkpoint
	for deadline := time.Now().Add(time.Minute); stateOfLedger(t, police).Checkpoint != want || stateOfLedger(t, archive).Checkpoint != want; {
		if time.Now().After(deadline) {
			t.Fatalf("logs differ:\n%s\n%s\n%s", want, stateOfLedger(t, police).Checkpoint, stateOfLedger(t, archive).Checkpoint)
		}
	}
	for name, end := range map[string]func() called{"police": stopPolice, "archive": stopArchive} {
		if c := end(); c.code != exitYes {
			t.Errorf("%s: exit %d %s", name, c.code, c.stderr)
		}
	}
	must(t, police, "ledger", "follow", "--once")
	must(t, police, "ledger", "audit")
	// A member more is let in by all kinds together, each by its own administrator.
	all := "CommissionMSP=commission,PoliceMSP=police,ArchiveMSP=archive,CountyMSP=archive"
	propose := func(o lab.Organisation) membersView {
		t.Helper()
		admin := n.Endpoint(o, "admin", ledgersOfTests[0])
		folder := data
		if o.Kind == contract.Police {
			folder = police
		} else if o.Kind == contract.Archive {
			folder = archive
		}
		var v membersView
		c := call(t.Context(), folder, systemClock, "ledger", "members", "--propose", all, "--cert", admin.Cert, "--key", admin.Key, "--json")
		if c.code != exitYes {
			t.Fatalf("exit %d: %s", c.code, c.stderr)
		}
		if err := decode(c.stdout, &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	for k, o := range lab.Organisations() {
		v, last := propose(o), k == len(lab.Organisations())-1
		if (v.Proposal == "in force") != last || (len(v.Members) == 4) != last || (v.Number == 2) != last {
			t.Fatalf("proposed by %s: %+v", o.Name, v)
		}
	}
	says(t, "no kind", call(t.Context(), data, systemClock, "ledger", "members", "--propose", "CommissionMSP=hospital", "--cert", "c", "--key", "k"), exitUsage, "--propose")
	says(t, "a client is no administrator", call(t.Context(), data, systemClock, "ledger", "members", "--propose", all,
		"--cert", n.Endpoint(lab.Organisations()[0], "client", "").Cert, "--key", n.Endpoint(lab.Organisations()[0], "client", "").Key), exitUnavailable, "admin")
	// A folder that is not on a network has nothing to follow.
	if c := call(t.Context(), copyOf(t, fresh), systemClock, "ledger", "follow", "--once"); c.code != exitNo || !strings.Contains(c.stderr, "init --fabric") {
		t.Errorf("exit %d: %s", c.code, c.stderr)
	}
}

// Whoever holds the whole chain, its state and every log line of its nodes learns no name, number or identifier, and cannot
// test guesses: there is no digest of a value, with a constant salt or with one that stands beside it.
func TestNothingPersonalOnTheChain(t *testing.T) {
	_, data := onNetwork(t)
	hospital := demonstrationScheme().hospitals[0].Code
	lines, err := births(1, 200, hospital)
	if err != nil {
		t.Fatal(err)
	}
	file, report := filepath.Join(t.TempDir(), "births.jsonl"), filepath.Join(t.TempDir(), "report.jsonl")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	must(t, data, "issue", "--births", file, "--report", report)
	issued := numbersIn(t, report)
	if len(issued) != 200 {
		t.Fatalf("%d licences", len(issued))
	}
	must(t, data, "handover", issued[0].Number, "--as", hospital+"/stock-1", "--to", demonstrationScheme().cityArchive.Code)
	must(t, data, "register", issued[1].Number, "--as", demonstrationScheme().police.Code+"/officer-1", "--registration", registrationFile(t))

	values := personal(t, lines)
	guesses := map[string]string{} // what somebody could compute a digest of
	for _, list := range values {
		for _, v := range list {
			guesses[string(v.bytes)] = v.what
		}
	}
	out := filepath.Join(t.TempDir(), "out")
	must(t, data, "export", "--all", "--out", out)
	parts := map[string][]byte{}
	files(t, out, func(path string, b []byte) {
		if strings.HasSuffix(path, ".pdf") {
			parts[strings.TrimSuffix(filepath.Base(path), ".pdf")] = b
		}
	})
	if len(parts) != 400 {
		t.Fatalf("%d parts", len(parts))
	}
	for _, l := range issued {
		values.add(l.Number, "number "+l.Number)
		values.add(l.Identifier, "identifier of "+l.Number)
		guesses[l.Number], guesses[l.Identifier] = "number "+l.Number, "identifier of "+l.Number
	}
	for value, what := range guesses {
		values.digests(value, what)
	}
	handles := handlesOf(t, data)
	if len(handles) < 200 {
		t.Fatalf("%d handles", len(handles))
	}
	identifier := map[string]string{}
	for _, l := range issued {
		identifier[l.Number] = l.Identifier
	}
	for name, pdf := range parts {
		number, part, _ := strings.Cut(name, "-")
		values.digests(string(pdf), "part "+name)
		digest := sm3.Sum(pdf)
		salts := append([][32]byte{{}, sm3.Sum([]byte(number)), sm3.Sum([]byte(identifier[number])), digest}, handles[number]...)
		for _, salt := range salts {
			c := credential.PartCommitment(salt, digest, identifier[number], part)
			values.addBytes(c[:], "a commitment to "+name+" with a salt that can be guessed")
		}
	}

	seen := map[string]int{}
	files(t, filepath.Join(folder, "network"), func(path string, b []byte) {
		kind := filepath.Base(path)
		switch {
		case strings.HasPrefix(kind, "blockfile_"):
			seen["blocks"]++
			for _, beside := range handles {
				if !bytes.Contains(b, beside[0][:]) {
					t.Errorf("%s: a licence's handle is not in it, so nothing else would be found", path)
					break
				}
			}
		case strings.HasSuffix(kind, ".log") && strings.Contains(path, "logs"):
			seen["logs"]++
		case strings.Contains(path, "stateLeveldb"):
			seen["state"]++
		}
		if got := values.in(b); got != "" {
			t.Errorf("%s holds the %s", strings.TrimPrefix(path, folder), got)
		}
	})
	for kind, least := range map[string]int{"blocks": 4, "logs": 7, "state": 3} {
		if seen[kind] < least {
			t.Errorf("only %d files of %s were looked at", seen[kind], kind)
		}
	}
}

// addBytes looks for bytes as they are, and as hexadecimal digits.
func (n needles) addBytes(b []byte, what string) {
	for _, form := range [][]byte{b, []byte(hex.EncodeToString(b)), []byte(strings.ToUpper(hex.EncodeToString(b)))} {
		n[binary.BigEndian.Uint32(form)] = append(n[binary.BigEndian.Uint32(form)], needle{form, what})
	}
}

// digests looks for what a stranger would compute of a guess.
func (n needles) digests(value, what string) {
	var zero [32]byte
	for _, salt := range [][]byte{nil, zero[:]} {
		salted := append(bytes.Clone(salt), value...)
		a, b := sm3.Sum(salted), sha256.Sum256(salted)
		n.addBytes(a[:], "SM3 of the "+what)
		n.addBytes(b[:], "SHA-256 of the "+what)
	}
}

// handlesOf are the ledger's names of each licence, and what else stands beside its commitments on the chain.
func handlesOf(t *testing.T, data string) map[string][][32]byte {
	t.Helper()
	i, err := appAt(data, systemClock, io.Discard, io.Discard).openForReading(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer i.close()
	found := map[string][][32]byte{}
	for after := ""; ; {
		page, err := i.db.List(t.Context(), issuing.Filter{}, after, 100)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return found
		}
		for _, l := range page {
			after = l.ID
			events, err := i.db.EventsOf(t.Context(), l.ID)
			if err != nil {
				t.Fatal(err)
			}
			signed, err := contract.ParseEvent(events[0].Bytes)
			if err != nil {
				t.Fatal(err)
			}
			found[l.Number] = append(found[l.Number], signed.Event.Handle, signed.Hash, signed.Certificate, sm3.Sum(signed.Event.Handle[:]))
		}
	}
}
