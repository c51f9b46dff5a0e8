package embedded

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/elicence/elicence/ledger"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
)

// cachedTiles is how many tiles a tree remembers: 8 KB each.
const cachedTiles = 1024

// entriesAtOnce bounds what is read from the store in one go while tiles are rebuilt.
const entriesAtOnce = 4 * ledger.TileWidth

type tileID struct {
	level int
	index uint64
}

// tree answers for the hash of any perfect subtree. It takes it from a tile that was published, and where there is none, or
// none can be had, from the entries: tiles make it fast, the entries make it right. It is safe for concurrent use.
type tree struct {
	store Store
	tiles Tiles

	mu        sync.Mutex
	published uint64 // tiles of this size have been written
	distrust  bool   // tiles do not agree with the entries: they are not read
	known     map[tileID][][ledger.HashSize]byte
}

func newTree(s Store, t Tiles) *tree {
	return &tree{store: s, tiles: t, known: map[tileID][][ledger.HashSize]byte{}}
}

// setPublished says up to which size tiles can be read.
func (t *tree) setPublished(size uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.published = max(t.published, size)
}

// onlyEntries forgets all that came from tiles and reads none from now on.
func (t *tree) onlyEntries() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.distrust = true
	clear(t.known)
}

// hash returns the node (level, index); the log must have all its leaves.
func (t *tree) hash(ctx context.Context, id compact.NodeID) ([ledger.HashSize]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.node(ctx, id)
}

func (t *tree) node(ctx context.Context, id compact.NodeID) ([ledger.HashSize]byte, error) {
	below := id.Level % 8
	first := id.Index << below // among the hashes of the tile's level
	offset, count := int(first%ledger.TileWidth), 1<<below
	hashes, err := t.tile(ctx, tileID{int(id.Level / 8), first / ledger.TileWidth}, offset+count)
	if err != nil {
		return [ledger.HashSize]byte{}, err
	}
	return ledger.TileRoot(hashes[offset : offset+count]), nil
}

// tile returns the first width hashes of a tile, or more.
func (t *tree) tile(ctx context.Context, id tileID, width int) ([][ledger.HashSize]byte, error) {
	hashes := t.known[id]
	if len(hashes) >= width {
		return hashes, nil
	}
	if hashes == nil {
		hashes = t.readTile(ctx, id)
	}
	var err error
	switch {
	case len(hashes) >= width:
	case id.level == 0:
		hashes, err = t.leaves(ctx, hashes, id.index, width)
	default:
		for len(hashes) < width && err == nil {
			var below [][ledger.HashSize]byte
			below, err = t.tile(ctx, tileID{id.level - 1, id.index*ledger.TileWidth + uint64(len(hashes))}, ledger.TileWidth)
			if err == nil {
				hashes = append(hashes, ledger.TileRoot(below[:ledger.TileWidth]))
			}
		}
	}
	if err != nil {
		return nil, err
	}
	if len(t.known) >= cachedTiles {
		for other := range t.known { // any one: proofs walk over all of them alike
			delete(t.known, other)
			break
		}
	}
	t.known[id] = hashes
	return hashes, nil
}

// readTile returns what a published tile has, nil if there is none or it cannot be read: the entries are there then.
func (t *tree) readTile(ctx context.Context, id tileID) [][ledger.HashSize]byte {
	if t.distrust {
		return nil
	}
	width := widthOf(id, t.published)
	if width == 0 {
		return nil
	}
	b, err := t.tiles.Get(ctx, ledger.TilePath(id.level, id.index, width))
	if err != nil {
		return nil
	}
	hashes, err := ledger.ParseTile(b, width)
	if err != nil {
		return nil
	}
	return hashes
}

// widthOf is how many hashes a tile has in a log of that size.
func widthOf(id tileID, size uint64) int {
	row, before := size>>(8*id.level), id.index*ledger.TileWidth
	if row <= before {
		return 0
	}
	return int(min(row-before, ledger.TileWidth))
}

func (t *tree) leaves(ctx context.Context, hashes [][ledger.HashSize]byte, index uint64, width int) ([][ledger.HashSize]byte, error) {
	first := index * ledger.TileWidth
	entries, err := readEntries(ctx, t.store, first+uint64(len(hashes)), first+uint64(width))
	if err != nil {
		return nil, err
	}
	// The cached slice may be in a reader's hands: append to a copy.
	hashes = append(make([][ledger.HashSize]byte, 0, ledger.TileWidth), hashes...)
	for _, e := range entries {
		hashes = append(hashes, ledger.LeafHash(e))
	}
	return hashes, nil
}

func readEntries(ctx context.Context, s Store, from, to uint64) ([][]byte, error) {
	entries, err := s.Entries(ctx, from, to)
	if err != nil {
		return nil, fmt.Errorf("embedded: entries: %w", err)
	}
	if uint64(len(entries)) != to-from {
		return nil, fmt.Errorf("%w: %d entries where there must be %d", ErrDamaged, len(entries), to-from)
	}
	return entries, nil
}

// compactRange returns the right edge of the tree of that size.
func (t *tree) compactRange(ctx context.Context, f *compact.RangeFactory, size uint64) (*compact.Range, error) {
	var hashes [][]byte
	for _, id := range compact.RangeNodes(0, size, nil) {
		h, err := t.hash(ctx, id)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, h[:])
	}
	return f.NewRange(0, size, hashes)
}

// prove collects the nodes of a proof.
func (t *tree) prove(ctx context.Context, nodes proof.Nodes) ([][]byte, error) {
	hashes := make([][]byte, 0, len(nodes.IDs))
	for _, id := range nodes.IDs {
		h, err := t.hash(ctx, id)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, h[:])
	}
	return nodes.Rehash(hashes, ledger.Hasher{}.HashChildren)
}

// publish writes every tile and bundle that a log of size to has and one of size from has not.
func (t *tree) publish(ctx context.Context, from, to uint64) error {
	for level := 0; to>>(8*level) > 0; level++ {
		for index := from >> (8 * level) / ledger.TileWidth; ; index++ {
			id := tileID{level, index}
			width := widthOf(id, to)
			if width == 0 || width == widthOf(id, from) {
				if width == ledger.TileWidth {
					continue // the last tile of from was full
				}
				break
			}
			if err := t.publishTile(ctx, id, width); err != nil {
				return err
			}
		}
	}
	t.setPublished(to)
	return nil
}

func (t *tree) publishTile(ctx context.Context, id tileID, width int) error {
	t.mu.Lock()
	hashes, err := t.tile(ctx, id, width)
	t.mu.Unlock()
	if err != nil {
		return err
	}
	if err := put(ctx, t.tiles, ledger.TilePath(id.level, id.index, width), ledger.EncodeTile(hashes[:width])); err != nil {
		return err
	}
	if id.level > 0 {
		return nil
	}
	first := id.index * ledger.TileWidth
	entries, err := readEntries(ctx, t.store, first, first+uint64(width))
	if err != nil {
		return err
	}
	b, err := ledger.EncodeEntries(entries)
	if err != nil {
		return err
	}
	return put(ctx, t.tiles, ledger.EntriesPath(id.index, width), b)
}

func put(ctx context.Context, t Tiles, path string, b []byte) error {
	if err := t.Put(ctx, path, b); err != nil {
		return fmt.Errorf("embedded: %s: %w", path, err)
	}
	return nil
}

// ErrDamaged says that the log's own records contradict each other. Nothing is appended or signed any more; an audit
// names the entry.
var ErrDamaged = errors.New("embedded: the log is damaged")
