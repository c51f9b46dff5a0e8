package ledger_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/elicence/elicence/ledger"
)

const goodBody = "example.org/log\n7\nAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\ntime 1790812800000000\n"

func TestCheckpointBody(t *testing.T) {
	c, err := ledger.ParseCheckpoint([]byte(goodBody))
	if err != nil {
		t.Fatal(err)
	}
	want := ledger.Checkpoint{Origin: "example.org/log", Size: 7, Root: [32]byte{1}, Time: 1790812800000000}
	if c != want {
		t.Fatalf("%+v", c)
	}
	body, err := c.Body()
	if err != nil || string(body) != goodBody {
		t.Fatalf("%q, %v", body, err)
	}
}

func TestCheckpointBodyHasOneSpelling(t *testing.T) {
	for name, change := range map[string][2]string{
		"no last newline":          {"000\n", "000"},
		"a line more":              {"000000\n", "000000\nmore\n"},
		"carriage returns":         {"\n", "\r\n"},
		"size with a zero":         {"\n7\n", "\n07\n"},
		"size with a sign":         {"\n7\n", "\n+7\n"},
		"size 0":                   {"\n7\n", "\n0\n"},
		"size beyond 63 bits":      {"\n7\n", "\n9223372036854775808\n"},
		"root without padding":     {"AAA=", "AAA"},
		"root with unused bits":    {"AAA=", "AAB="},
		"root of the web alphabet": {"AQAA", "-_AA"},
		"root too short":           {"AQAA", ""},
		"time with a zero":         {"time 1", "time 01"},
		"time 0":                   {"time 1790812800000000", "time 0"},
		"negative time":            {"time 1", "time -1"},
		"no time":                  {"time ", "date "},
		"two spaces":               {"time ", "time  "},
		"empty origin":             {"example.org/log", ""},
		"origin with a space":      {"example.org/log", "example org"},
		"origin with a plus":       {"example.org/log", "example+org"},
		"origin in Chinese":        {"example.org/log", "出生"},
		"cosignature as origin":    {"example.org/log", "cosignature/v1"},
		"trust file as origin":     {"example.org/log", "elicence/trust/1"},
		"origin too long":          {"example.org/log", strings.Repeat("a", ledger.MaxOrigin+1)},
		"huge":                     {"time 1", "time " + strings.Repeat("0", 1000) + "1"},
	} {
		b := strings.ReplaceAll(goodBody, change[0], change[1])
		if b == goodBody {
			t.Fatalf("%s: nothing changed", name)
		}
		if _, err := ledger.ParseCheckpoint([]byte(b)); !errors.Is(err, ledger.ErrCheckpoint) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := (ledger.Checkpoint{Origin: "a b", Size: 1, Time: 1}).Body(); !errors.Is(err, ledger.ErrCheckpoint) {
		t.Errorf("a body with a bad origin: %v", err)
	}
}

func TestTilePaths(t *testing.T) {
	for _, x := range []struct {
		level int
		index uint64
		width int
		want  string
		size  uint64
	}{
		{0, 0, 256, "tile/0/000", 256},
		{0, 1234067, 256, "tile/0/x001/x234/067", 1234068 * 256}, // the example of C2SP tlog-tiles
		{3, 999, 256, "tile/3/999", 1000 << 32},
		{1, 1000, 5, "tile/1/x001/000.p/5", (256000 + 5) * 256},
		{0, 67, 1, "tile/0/067.p/1", 67*256 + 1},
	} {
		if got := ledger.TilePath(x.level, x.index, x.width); got != x.want {
			t.Errorf("%+v: %s", x, got)
		}
		if size, ok := ledger.SizeWithTile(x.want); !ok || size != x.size {
			t.Errorf("%s is of a log of %d, %v, want %d", x.want, size, ok, x.size)
		}
	}
	if got := ledger.EntriesPath(1000, 8); got != "tile/entries/x001/000.p/8" {
		t.Error(got)
	}
	if size, ok := ledger.SizeWithTile("tile/entries/x001/000.p/8"); !ok || size != 256008 {
		t.Error(size, ok)
	}
	for _, path := range []string{"", "tile/", "tile/0", "tile/0/", "tile/-1/000", "tile/8/000", "tile/0/0", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/", "tile/0/1000", "tile/entries/x01/000", "checkpoint/000", "tile/7/256"} {
		if size, ok := ledger.SizeWithTile(path); ok {
			t.Errorf("%q passes for a tile of a log of %d", path, size)
		}
	}
}

func TestTiles(t *testing.T) {
	hashes := [][32]byte{{1}, {2}, {3}}
	b := ledger.EncodeTile(hashes)
	got, err := ledger.ParseTile(b, 3)
	if err != nil || got[2] != hashes[2] {
		t.Fatalf("%v, %v", got, err)
	}
	for _, width := range []int{0, 2, 4, 257, -1} {
		if _, err := ledger.ParseTile(b, width); !errors.Is(err, ledger.ErrTile) {
			t.Errorf("width %d: %v", width, err)
		}
	}
	entries, err := ledger.EncodeEntries([][]byte{[]byte("ab"), {}, []byte("c")})
	if err != nil || string(entries) != "\x00\x02ab\x00\x00\x00\x01c" {
		t.Fatalf("%q, %v", entries, err)
	}
	if back, err := ledger.ParseEntries(entries, 3); err != nil || string(back[2]) != "c" {
		t.Fatalf("%q, %v", back, err)
	}
	for name, bad := range map[string][]byte{"cut": entries[:len(entries)-1], "tail": append(entries, 0), "two": entries[:6]} {
		if _, err := ledger.ParseEntries(bad, 3); !errors.Is(err, ledger.ErrTile) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ledger.EncodeEntries([][]byte{make([]byte, 65536)}); !errors.Is(err, ledger.ErrTile) {
		t.Errorf("an entry too large: %v", err)
	}
}
