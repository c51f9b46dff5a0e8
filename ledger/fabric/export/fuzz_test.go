package export_test

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"

	"github.com/elicence/elicence/ledger/fabric/export"
	"github.com/emmansun/gmsm/sm3"
)

func seeded(f *testing.F, name string) {
	seeds, err := os.ReadDir("testdata/fuzz/" + name)
	if err != nil || len(seeds) == 0 {
		f.Fatal("no seeds", err)
	}
}

// FuzzManifest: what is read is written again to the same bytes, and hangs together.
func FuzzManifest(f *testing.F) {
	seeded(f, "FuzzManifest")
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := export.ParseManifest(b)
		if err != nil {
			return
		}
		again, err := m.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%q, %v", again, err)
		}
		next := uint64(0)
		for _, x := range m.Files {
			if x.First != next || x.Blocks == 0 {
				t.Fatalf("%+v", x)
			}
			next += x.Blocks
		}
		if m.Height() != next {
			t.Fatal(m.Height())
		}
	})
}

// FuzzBlocks: whatever lies in a file of blocks, with a manifest made to fit, it is read to the last byte or refused.
func FuzzBlocks(f *testing.F) {
	seeded(f, "FuzzBlocks")
	f.Fuzz(func(t *testing.T, b []byte, count uint16) {
		dir := t.TempDir()
		m := export.Manifest{Channel: "channel", Chaincode: "licence", Files: []export.File{
			{Blocks: uint64(count), Bytes: int64(len(b)), SHA256: sha256.Sum256(b), SM3: sm3.Sum(b)},
		}}
		manifest, err := m.Encode()
		if err != nil {
			return
		}
		for name, content := range map[string][]byte{export.ManifestName: manifest, m.Files[0].Name(): b} {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		e, err := export.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		read, blocks := 0, 0
		var c export.Chain
		if err := e.Blocks(t.Context(), func(raw []byte) error {
			read, blocks = read+4+len(raw), blocks+1
			_, _ = c.Take(raw)
			return nil
		}); err != nil {
			return
		}
		if read += len("elicence/fabric-blocks/1\n"); read != len(b) || blocks != int(count) {
			t.Fatalf("%d of %d bytes, %d of %d blocks", read, len(b), blocks, count)
		}
	})
}
