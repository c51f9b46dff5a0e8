package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/elicence/elicence/ledger/fabric/replay"
)

// A chain is exported, gone on with, and judged where there is neither an installation nor a network; and the peer that delivers
// it is audited against it.
func TestExportedChainIsAuditedAlone(t *testing.T) {
	n, data := onNetwork(t)
	s := demonstrationScheme()
	report := filepath.Join(t.TempDir(), "report.jsonl")
	must(t, data, "issue", "--births", birthsOf(t, 1, 3), "--report", report)
	number := numbersIn(t, report)[0].Number
	must(t, data, "handover", number, "--as", s.hospitals[0].Code+"/stock-1", "--to", s.cityArchive.Code)

	out := filepath.Join(t.TempDir(), "out")
	must(t, data, "ledger", "export", "--out", out)
	before := map[string][]byte{}
	files(t, out, func(path string, b []byte) { before[path] = b })
	must(t, data, "issue", "--births", birthsOf(t, 4, 1))
	must(t, data, "ledger", "export", "--out", out)
	for path, b := range before {
		if now, err := os.ReadFile(path); filepath.Base(path) != "manifest" && (err != nil || !bytes.Equal(now, b)) {
			t.Errorf("%s was rewritten, %v", path, err)
		}
	}

	// The peer, its state and the log here.
	var here struct {
		Clean   bool
		Entries uint64
		Chain   replay.Report
	}
	if err := decode(must(t, data, "ledger", "audit", "--json"), &here); err != nil {
		t.Fatal(err)
	}
	slices.Sort(here.Chain.Compared)
	if !here.Clean || here.Chain.Entries != here.Entries || !slices.Equal(here.Chain.Compared, []string{replay.WithLog, replay.WithLogState, replay.WithPeerState}) {
		t.Fatalf("%+v", here)
	}
	// The export alone, with what an archive has: the trust file, its pin, a receipt of a family.
	kept := t.TempDir()
	must(t, data, "export", number, "--out", kept)
	pin, err := os.ReadFile(filepath.Join(data, "trust.pin"))
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"ledger", "audit", "--export", out, "--trust", filepath.Join(kept, "trust.json"), "--pin", strings.TrimSpace(string(pin)),
		"--checkpoint", filepath.Join(kept, number+".receipt")}
	nowhere := filepath.Join(t.TempDir(), "nowhere")
	var alone struct {
		Clean bool
		replay.Report
	}
	c := call(t.Context(), nowhere, systemClock, append(args, "--json")...)
	if err := decode(c.stdout, &alone); err != nil || c.code != exitYes {
		t.Fatalf("exit %d %s, %v", c.code, c.stderr, err)
	}
	if !alone.Clean || alone.Entries != here.Entries || alone.Cosigned != here.Entries || alone.Checkpoints < 3 || alone.Root != here.Chain.Root || alone.CommitHash == "" {
		t.Fatalf("%+v", alone)
	}
	says(t, "alone", call(t.Context(), nowhere, systemClock, args...), exitYes, "all fit", "足数会签")
	says(t, "without trust", call(t.Context(), nowhere, systemClock, "ledger", "audit", "--export", out), exitYes, "their signatures were not checked")
	if _, err := os.Stat(nowhere); err == nil {
		t.Error("an audit of an export made an installation")
	}

	// One byte in a block.
	var name string
	for path := range before {
		if strings.Contains(path, "blocks-") {
			name = path
		}
	}
	b := bytes.Clone(before[name])
	b[len(b)-2000] ^= 1
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	says(t, "altered", call(t.Context(), nowhere, systemClock, args...), exitNo, "✗", filepath.Base(name), "block ")
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	says(t, "missing", call(t.Context(), nowhere, systemClock, args...), exitNo, "file-missing", filepath.Base(name))

	// The peer is away: that is said, and nothing is taken for clean.
	if err := n.Kill("peer.commission"); err != nil {
		t.Fatal(err)
	}
	says(t, "audit without the peer", call(t.Context(), data, systemClock, "ledger", "audit"), exitUnavailable, "本方区块链节点没有应答")
	says(t, "export without the peer", call(t.Context(), data, systemClock, "ledger", "export", "--out", filepath.Join(t.TempDir(), "none")), exitUnavailable, "本方区块链节点没有应答")
	if err := n.Start("peer.commission"); err != nil {
		t.Fatal(err)
	}
	if err := n.Listening(t.Context(), "peer.commission"); err != nil {
		t.Fatal(err)
	}

	// What is no chain cannot be exported.
	embedded := copyOf(t, fresh)
	says(t, "no chain", call(t.Context(), embedded, systemClock, "ledger", "export", "--out", filepath.Join(t.TempDir(), "none")), exitNo, "init --fabric")
	i, err := appAt(data, systemClock, io.Discard, io.Discard).openForReading(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer i.close()
	v, err := i.history(t.Context(), number)
	if err != nil || len(v.Steps) != 2 || v.Steps[1].Index == nil {
		t.Fatalf("%+v, %v", v, err)
	}
}
