package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/elicence/elicence/ledger"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
)

// numbers is a Store whose entry n is the text n: large logs without signatures.
type numbers struct {
	Store
	size  uint64
	reads uint64 // entries read
}

func (n *numbers) Entries(_ context.Context, from, to uint64) ([][]byte, error) {
	var entries [][]byte
	for i := from; i < min(to, n.size); i++ {
		entries = append(entries, fmt.Append(nil, i))
	}
	n.reads += uint64(len(entries))
	return entries, nil
}

type objects map[string][]byte

func (o objects) Put(_ context.Context, path string, b []byte) error {
	if old, ok := o[path]; ok && !bytes.Equal(old, b) {
		return fmt.Errorf("%s would change", path)
	}
	o[path] = b
	return nil
}

func (o objects) Get(_ context.Context, path string) ([]byte, error) {
	if b, ok := o[path]; ok {
		return b, nil
	}
	return nil, fs.ErrNotExist
}

// allNodes computes every perfect subtree in the plain way.
func allNodes(size uint64) map[compact.NodeID][32]byte {
	nodes := map[compact.NodeID][32]byte{}
	for i := range size {
		nodes[compact.NewNodeID(0, i)] = ledger.LeafHash(fmt.Append(nil, i))
	}
	for level := uint(1); size>>level > 0; level++ {
		for i := range size >> level {
			l, r := nodes[compact.NewNodeID(level-1, 2*i)], nodes[compact.NewNodeID(level-1, 2*i+1)]
			nodes[compact.NewNodeID(level, i)] = [32]byte(ledger.Hasher{}.HashChildren(l[:], r[:]))
		}
	}
	return nodes
}

// TestTilesOfThreeLevels grows a log over 65,536 entries, where a third level of tiles begins, in steps that end inside,
// at and behind tile borders, and holds every object to C2SP tlog-tiles and every proof to the library's check.
func TestTilesOfThreeLevels(t *testing.T) {
	const last = 65536 + 3*256 + 17
	nodes := allNodes(last)
	store, tiles := &numbers{}, objects{}
	from := uint64(0)
	for _, size := range []uint64{1, 255, 256, 257, 1000, 65535, 65536, 65537, last} {
		store.size = size
		if err := newTree(store, tiles).publish(t.Context(), from, size); err != nil { // a restart each time
			t.Fatal(err)
		}
		reader := newTree(store, tiles)
		reader.setPublished(size)
		store.reads = 0
		root := checkRoot(t, reader, nodes, size)
		if store.reads != 0 {
			t.Errorf("size %d: %d entries were read although all tiles are there", size, store.reads)
		}
		for index := uint64(0); index < size; index += 1 + size/13 {
			n, err := proof.Inclusion(index, size)
			if err != nil {
				t.Fatal(err)
			}
			path, err := reader.prove(t.Context(), n)
			if err != nil {
				t.Fatal(err)
			}
			leaf := ledger.LeafHash(fmt.Append(nil, index))
			if err := proof.VerifyInclusion(ledger.Hasher{}, index, size, leaf[:], path, root); err != nil {
				t.Errorf("size %d, index %d: %v", size, index, err)
			}
		}
		from = size
	}
	for level := 0; level < 3; level++ {
		row := uint64(last) >> (8 * level)
		for index := uint64(0); index*256 < row; index++ {
			width := int(min(row-index*256, 256))
			b := tiles[ledger.TilePath(level, index, width)]
			hashes, err := ledger.ParseTile(b, width)
			if err != nil {
				t.Fatalf("tile %d/%d of %d: %v", level, index, width, err)
			}
			for i, h := range hashes {
				if h != nodes[compact.NewNodeID(uint(8*level), index*256+uint64(i))] {
					t.Fatalf("tile %d/%d: hash %d", level, index, i)
				}
			}
			if level > 0 {
				continue
			}
			entries, err := ledger.ParseEntries(tiles[ledger.EntriesPath(index, width)], width)
			if err != nil || string(entries[width-1]) != fmt.Sprint(index*256+uint64(width)-1) {
				t.Fatalf("bundle %d: %v", index, err)
			}
		}
	}
	// Every kept size is consistent with every later one.
	reader := newTree(store, tiles)
	reader.setPublished(last)
	sizes := []uint64{1, 255, 256, 257, 1000, 65535, 65536, 65537, last}
	for i, a := range sizes {
		for _, b := range sizes[i:] {
			n, err := proof.Consistency(a, b)
			if err != nil {
				t.Fatal(err)
			}
			path, err := reader.prove(t.Context(), n)
			if err != nil {
				t.Fatal(err)
			}
			if err := proof.VerifyConsistency(ledger.Hasher{}, a, b, path, checkRoot(t, reader, nodes, a), checkRoot(t, reader, nodes, b)); err != nil {
				t.Errorf("%d to %d: %v", a, b, err)
			}
		}
	}
}

func checkRoot(t *testing.T, reader *tree, nodes map[compact.NodeID][32]byte, size uint64) []byte {
	t.Helper()
	f := &compact.RangeFactory{Hash: ledger.Hasher{}.HashChildren}
	edge, err := reader.compactRange(t.Context(), f, size)
	if err != nil {
		t.Fatal(err)
	}
	var hashes [][]byte
	for _, id := range compact.RangeNodes(0, size, nil) {
		h := nodes[id]
		hashes = append(hashes, h[:])
	}
	want, err := f.NewRange(0, size, hashes)
	if err != nil {
		t.Fatal(err)
	}
	a, err := edge.GetRootHash(nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := want.GetRootHash(nil)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Fatalf("size %d: another root", size)
	}
	return a
}

// TestTilesAreOnlyAProjection: without any tile, and with some of them gone, every hash is the same.
func TestTilesAreOnlyAProjection(t *testing.T) {
	const size = 3000
	nodes := allNodes(size)
	store, tiles := &numbers{size: size}, objects{}
	if err := newTree(store, tiles).publish(t.Context(), 0, size); err != nil {
		t.Fatal(err)
	}
	n := 0
	for path := range tiles {
		if n++; n%2 == 0 {
			delete(tiles, path)
		}
	}
	for _, left := range []objects{tiles, {}} {
		reader := newTree(store, left)
		reader.setPublished(size)
		for id, want := range nodes {
			got, err := reader.hash(t.Context(), id)
			if err != nil || got != want {
				t.Fatalf("node %+v: %v", id, err)
			}
		}
		// Published again, what is missing comes back and nothing else changes.
		if err := reader.publish(t.Context(), 0, size); err != nil {
			t.Fatal(err)
		}
	}
	if want := 12*2 + 1; len(tiles) != want {
		t.Errorf("%d objects, want %d", len(tiles), want)
	}
}

func TestMissingEntriesAreDamage(t *testing.T) {
	reader := newTree(&numbers{size: 10}, objects{})
	if _, err := reader.hash(t.Context(), compact.NewNodeID(0, 10)); !errors.Is(err, ErrDamaged) {
		t.Errorf("%v", err)
	}
	if _, err := reader.hash(t.Context(), compact.NewNodeID(9, 0)); !errors.Is(err, ErrDamaged) {
		t.Errorf("%v", err)
	}
}

// TestTheCacheIsBounded: a log of more tiles than the cache takes is still answered right.
func TestTheCacheIsBounded(t *testing.T) {
	size := uint64((cachedTiles + 50) * ledger.TileWidth)
	store := &numbers{size: size}
	reader := newTree(store, objects{})
	a, err := reader.hash(t.Context(), compact.NewNodeID(18, 0))
	if err != nil {
		t.Fatal(err)
	}
	for i := range size / ledger.TileWidth {
		if _, err := reader.hash(t.Context(), compact.NewNodeID(0, i*ledger.TileWidth)); err != nil {
			t.Fatal(err)
		}
	}
	if len(reader.known) > cachedTiles {
		t.Errorf("%d tiles are remembered", len(reader.known))
	}
	if b, err := reader.hash(t.Context(), compact.NewNodeID(18, 0)); err != nil || a != b {
		t.Errorf("%v", err)
	}
}
