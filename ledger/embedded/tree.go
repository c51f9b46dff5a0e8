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

// cachedTiles is how many tiles a tree remembers: 16 KB each.
const cachedTiles = 1024

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
	known     map[tileID]*tile
}

// tile is what is known of one tile: rows[0] are its hashes, from the first, and rows[k] the nodes above each complete
// group of 2^k of them. Rows only ever grow.
type tile struct {
	rows [9][][ledger.HashSize]byte
}

// grow appends hashes and the nodes that they complete.
func (t *tile) grow(hashes [][ledger.HashSize]byte) {
	t.rows[0] = append(t.rows[0], hashes...)
	for k := 1; k < len(t.rows); k++ {
		below := t.rows[k-1]
		for i := len(t.rows[k]); 2*i+1 < len(below); i++ {
			t.rows[k] = append(t.rows[k], [ledger.HashSize]byte(ledger.Hasher{}.HashChildren(below[2*i][:], below[2*i+1][:])))
		}
	}
}

func newTree(s Store, t Tiles) *tree {
	return &tree{store: s, tiles: t, known: map[tileID]*tile{}}
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
	row := id.Level % 8
	first := id.Index << row // among the hashes of the tile's level
	offset := first % ledger.TileWidth
	known, err := t.tile(ctx, tileID{int(id.Level / 8), first / ledger.TileWidth}, int(offset)+1<<row)
	if err != nil {
		return [ledger.HashSize]byte{}, err
	}
	return known.rows[row][offset>>row], nil
}

// tile returns a tile of which at least the first width hashes are known.
func (t *tree) tile(ctx context.Context, id tileID, width int) (*tile, error) {
	known := t.known[id]
	if known == nil {
		known = &tile{}
		known.grow(t.readTile(ctx, id))
	}
	if missing := width - len(known.rows[0]); missing > 0 {
		hashes, err := t.compute(ctx, id, len(known.rows[0]), width)
		if err != nil {
			return nil, err
		}
		known.grow(hashes)
	}
	if _, there := t.known[id]; !there && len(t.known) >= cachedTiles {
		for other := range t.known { // any one: proofs walk over all of them alike
			delete(t.known, other)
			break
		}
	}
	t.known[id] = known
	return known, nil
}

// compute makes the hashes from … to-1 of a tile from what is below it: from entries, or from full tiles.
func (t *tree) compute(ctx context.Context, id tileID, from, to int) ([][ledger.HashSize]byte, error) {
	first := id.index * ledger.TileWidth
	var hashes [][ledger.HashSize]byte
	if id.level == 0 {
		entries, err := readEntries(ctx, t.store, first+uint64(from), first+uint64(to))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			hashes = append(hashes, ledger.LeafHash(e))
		}
		return hashes, nil
	}
	for n := from; n < to; n++ {
		below, err := t.tile(ctx, tileID{id.level - 1, first + uint64(n)}, ledger.TileWidth)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, below.rows[8][0])
	}
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

// publishTile writes the bundle before the tile: of whatever a tile fixes for ever, the entries can then be had.
func (t *tree) publishTile(ctx context.Context, id tileID, width int) error {
	if id.level == 0 {
		first := id.index * ledger.TileWidth
		entries, err := readEntries(ctx, t.store, first, first+uint64(width))
		if err != nil {
			return err
		}
		b, err := ledger.EncodeEntries(entries)
		if err != nil {
			return err
		}
		if err := put(ctx, t.tiles, ledger.EntriesPath(id.index, width), b); err != nil {
			return err
		}
	}
	t.mu.Lock()
	known, err := t.tile(ctx, id, width)
	if err != nil {
		t.mu.Unlock()
		return err
	}
	hashes := ledger.EncodeTile(known.rows[0][:width])
	t.mu.Unlock()
	return put(ctx, t.tiles, ledger.TilePath(id.level, id.index, width), hashes)
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
