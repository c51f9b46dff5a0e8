package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// TileWidth is how many hashes or entries a full tile has: C2SP tlog-tiles.
const TileWidth = 256

// ErrTile says that bytes are not a tile of the asked width.
var ErrTile = errors.New("ledger: not a tile of this width")

// TilePath is where the tile of a level and index stands, "tile/1/x001/234.p/5": the index in groups of three digits, all
// but the last with an x, and ".p/width" if the tile is partial. Level is 0 for the leaves.
func TilePath(level int, index uint64, width int) string {
	return "tile/" + strconv.Itoa(level) + "/" + tileIndex(index, width)
}

// EntriesPath is where the bundle of entries stands that has the leaves of level-0 tile index.
func EntriesPath(index uint64, width int) string { return "tile/entries/" + tileIndex(index, width) }

func tileIndex(index uint64, width int) string {
	s := fmt.Sprintf("%03d", index%1000)
	for index >= 1000 {
		index /= 1000
		s = fmt.Sprintf("x%03d/%s", index%1000, s)
	}
	if width < TileWidth {
		s += ".p/" + strconv.Itoa(width)
	}
	return s
}

// SizeWithTile returns the size of the smallest log that has the tile or the bundle at this path, and false for any other
// path.
func SizeWithTile(path string) (size uint64, ok bool) {
	rest, ok := strings.CutPrefix(path, "tile/")
	if !ok {
		return 0, false
	}
	kind, rest, _ := strings.Cut(rest, "/")
	level, isLevel := 0, true
	if kind != "entries" {
		var err error
		level, err = strconv.Atoi(kind)
		isLevel = err == nil && level >= 0 && level < 8
	}
	groups, last, partial := strings.Cut(rest, ".p/")
	width := TileWidth
	if partial {
		var err error
		if width, err = strconv.Atoi(last); err != nil || width < 1 || width >= TileWidth {
			return 0, false
		}
	}
	index, err := strconv.ParseUint(strings.NewReplacer("x", "", "/", "").Replace(groups), 10, 64)
	if err != nil || !isLevel || index >= 1<<(56-8*level) {
		return 0, false
	}
	if again := tileIndex(index, width); again != rest {
		return 0, false
	}
	return (index*TileWidth + uint64(width)) << (8 * level), true
}

// EncodeTile puts hashes one after another.
func EncodeTile(hashes [][HashSize]byte) []byte {
	b := make([]byte, 0, len(hashes)*HashSize)
	for i := range hashes {
		b = append(b, hashes[i][:]...)
	}
	return b
}

// ParseTile is the way back; ErrTile unless there are exactly width hashes.
func ParseTile(b []byte, width int) ([][HashSize]byte, error) {
	if width < 1 || width > TileWidth || len(b) != width*HashSize {
		return nil, ErrTile
	}
	hashes := make([][HashSize]byte, width)
	for i := range hashes {
		copy(hashes[i][:], b[i*HashSize:])
	}
	return hashes, nil
}

// EncodeEntries puts entries one after another, each behind its length, 2 bytes big-endian.
func EncodeEntries(entries [][]byte) ([]byte, error) {
	var b []byte
	for _, e := range entries {
		if len(e) > 0xffff {
			return nil, fmt.Errorf("%w: entry of %d bytes", ErrTile, len(e))
		}
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(e))), e...)
	}
	return b, nil
}

// ParseEntries is the way back; ErrTile unless there are exactly width entries.
func ParseEntries(b []byte, width int) ([][]byte, error) {
	if width < 1 || width > TileWidth {
		return nil, ErrTile
	}
	entries := make([][]byte, 0, width)
	for len(b) >= 2 {
		n := int(binary.BigEndian.Uint16(b))
		if len(b) < 2+n {
			return nil, ErrTile
		}
		entries = append(entries, b[2:2+n:2+n])
		b = b[2+n:]
	}
	if len(b) != 0 || len(entries) != width {
		return nil, ErrTile
	}
	return entries, nil
}
