// Package export writes a channel's blocks into files that outlive Fabric, and reads them again. Nothing in a block is judged
// here beyond what shows that the files are whole: package replay does that. The format is docs/formats/fabric-export.md.
package export

import (
	"bytes"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/big"
	"strconv"
	"strings"

	"github.com/emmansun/gmsm/sm3"

	"github.com/elicence/elicence/ledger"
	"github.com/elicence/elicence/ledger/fabric/protos"
)

// Names and first lines.
const (
	ManifestName      = "manifest"
	manifestFirstLine = "elicence/fabric-export/1"
	blocksFirstLine   = "elicence/fabric-blocks/1\n"
)

// Bounds.
const (
	MaxBlock    = 128 << 20 // bytes of one block
	maxManifest = 64 << 20
	maxName     = 250 // of channel and chaincode
)

// ErrManifest says that bytes are not a manifest in its one form.
var ErrManifest = errors.New("export: not a manifest")

// File is one file of blocks.
type File struct {
	First  uint64 // number of its first block
	Blocks uint64
	Bytes  int64
	SHA256 [32]byte
	SM3    [32]byte
}

// Name of the file in the export's folder.
func (f File) Name() string { return fileName(f.First) }

func fileName(first uint64) string { return fmt.Sprintf("blocks-%020d", first) }

// Checkpoint is a file with a signed checkpoint of the log: what its cosigners had seen when blocks were exported.
type Checkpoint struct {
	Size   uint64 // of the log
	Bytes  int64
	SHA256 [32]byte
	SM3    [32]byte
}

// Name of the file in the export's folder.
func (c Checkpoint) Name() string { return fmt.Sprintf("checkpoint-%020d", c.Size) }

// Manifest says what an export has.
type Manifest struct {
	Channel, Chaincode string
	Files              []File
	Checkpoints        []Checkpoint // by size, each size once
}

// Height is how many blocks the export has, from block 0 on.
func (m *Manifest) Height() uint64 {
	if len(m.Files) == 0 {
		return 0
	}
	last := m.Files[len(m.Files)-1]
	return last.First + last.Blocks
}

// Encode writes the manifest's one form.
func (m *Manifest) Encode() ([]byte, error) {
	if !isName(m.Channel) || !isName(m.Chaincode) {
		return nil, fmt.Errorf("%w: names of channel and chaincode", ErrManifest)
	}
	b := fmt.Appendf(nil, "%s\nchannel %s\nchaincode %s\nheight %d\n", manifestFirstLine, m.Channel, m.Chaincode, m.Height())
	next := uint64(0)
	for _, f := range m.Files {
		if f.First != next || f.Blocks == 0 || f.First+f.Blocks < f.First || f.Bytes <= int64(len(blocksFirstLine)) {
			return nil, fmt.Errorf("%w: file of block %d", ErrManifest, f.First)
		}
		next = f.First + f.Blocks
		b = fmt.Appendf(b, "file %s %d %d %d %x %x\n", f.Name(), f.First, f.Blocks, f.Bytes, f.SHA256, f.SM3)
	}
	size := uint64(0)
	for _, c := range m.Checkpoints {
		if c.Size <= size || c.Bytes <= 0 || c.Bytes > ledger.MaxNote {
			return nil, fmt.Errorf("%w: checkpoint of size %d", ErrManifest, c.Size)
		}
		size = c.Size
		b = fmt.Appendf(b, "checkpoint %s %d %d %x %x\n", c.Name(), c.Size, c.Bytes, c.SHA256, c.SM3)
	}
	return fmt.Appendf(b, "sm3 %x\n", sm3.Sum(b)), nil
}

// ParseManifest reads what Encode writes and nothing else.
func ParseManifest(b []byte) (*Manifest, error) {
	if len(b) > maxManifest {
		return nil, fmt.Errorf("%w: %d bytes", ErrManifest, len(b))
	}
	lines := strings.Split(string(b), "\n")
	if len(lines) < 6 || lines[0] != manifestFirstLine || lines[len(lines)-1] != "" {
		return nil, fmt.Errorf("%w: first or last line", ErrManifest)
	}
	m := &Manifest{}
	var ok, ok2 bool
	m.Channel, ok = strings.CutPrefix(lines[1], "channel ")
	m.Chaincode, ok2 = strings.CutPrefix(lines[2], "chaincode ")
	if !ok || !ok2 {
		return nil, fmt.Errorf("%w: channel or chaincode", ErrManifest)
	}
	for n, line := range lines[4 : len(lines)-2] {
		if err := m.parseLine(line); err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrManifest, n+5, err)
		}
	}
	again, err := m.Encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, b) { // the height and the sum of the manifest itself, too
		return nil, fmt.Errorf("%w: its parts do not fit together", ErrManifest)
	}
	return m, nil
}

// parseLine reads the line of a file or of a checkpoint. That they are in order, and names theirs, shows when they are written again.
func (m *Manifest) parseLine(line string) error {
	words := strings.Split(line, " ")
	var errs [5]error
	switch {
	case len(words) == 7 && words[0] == "file":
		var f File
		f.First, errs[0] = strconv.ParseUint(words[2], 10, 64)
		f.Blocks, errs[1] = strconv.ParseUint(words[3], 10, 64)
		f.Bytes, errs[2] = strconv.ParseInt(words[4], 10, 64)
		f.SHA256, errs[3] = parseDigest(words[5])
		f.SM3, errs[4] = parseDigest(words[6])
		m.Files = append(m.Files, f)
	case len(words) == 6 && words[0] == "checkpoint":
		var c Checkpoint
		c.Size, errs[0] = strconv.ParseUint(words[2], 10, 64)
		c.Bytes, errs[1] = strconv.ParseInt(words[3], 10, 64)
		c.SHA256, errs[2] = parseDigest(words[4])
		c.SM3, errs[3] = parseDigest(words[5])
		m.Checkpoints = append(m.Checkpoints, c)
	default:
		return errors.New("neither a file's line nor a checkpoint's")
	}
	return errors.Join(errs[:]...)
}

func parseDigest(s string) (d [32]byte, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(d) {
		return d, errors.New("not a digest")
	}
	return [32]byte(b), nil
}

// isName holds for the names that Fabric allows, and more.
func isName(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// sums are the digests of a file.
type sums struct{ sha256, sm3 hash.Hash }

func newSums() sums { return sums{sha256.New(), sm3.New()} }

func (s sums) Write(b []byte) (int, error) {
	_, _ = s.sha256.Write(b)
	return s.sm3.Write(b)
}

func (s sums) into(f *File) {
	s.sha256.Sum(f.SHA256[:0])
	s.sm3.Sum(f.SM3[:0])
}

var errTruncated = errors.New("it ends in the middle")

// readBlocks reads a file of blocks of which size bytes are said to be there. A file that is no file of blocks is
// errTruncated or another error; those of do come back as they are.
func readBlocks(r io.Reader, size int64, do func(raw []byte) error) error {
	head := make([]byte, len(blocksFirstLine))
	if _, err := io.ReadFull(r, head); err != nil {
		return ended(err)
	}
	if string(head) != blocksFirstLine {
		return errors.New("it does not begin as a file of blocks")
	}
	size -= int64(len(head))
	for {
		var length [4]byte
		if _, err := io.ReadFull(r, length[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return ended(err)
		}
		n := int64(binary.BigEndian.Uint32(length[:]))
		if size -= int64(len(length)) + n; size < 0 {
			return errTruncated
		}
		if n == 0 || n > MaxBlock {
			return fmt.Errorf("a block of %d bytes", n)
		}
		raw := make([]byte, n)
		if _, err := io.ReadFull(r, raw); err != nil {
			return ended(err)
		}
		if err := do(raw); err != nil {
			return err
		}
	}
}

func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errTruncated
	}
	return err
}

// HeaderHash is a block's hash: SHA-256 of its header in DER.
func HeaderHash(h *protos.BlockHeader) [32]byte { return sha256.Sum256(HeaderBytes(h)) }

// HeaderBytes is SEQUENCE { number INTEGER, previousHash OCTET STRING, dataHash OCTET STRING } in DER: what is hashed and
// signed of a header.
func HeaderBytes(h *protos.BlockHeader) []byte {
	b, err := asn1.Marshal(struct {
		Number       *big.Int
		PreviousHash []byte
		DataHash     []byte
	}{new(big.Int).SetUint64(h.GetNumber()), h.GetPreviousHash(), h.GetDataHash()})
	if err != nil { // of such a value there is always an encoding
		panic(err)
	}
	return b
}

// DataHash is SHA-256 of a block's transactions one after the other.
func DataHash(d *protos.BlockData) [32]byte {
	h := sha256.New()
	for _, t := range d.GetData() {
		h.Write(t)
	}
	return [32]byte(h.Sum(nil))
}

// Rules of the chain of headers.
const (
	RuleBlock    = "not-a-block"
	RuleNumber   = "block-number"
	RulePrevious = "previous-hash"
	RuleData     = "data-hash"
)

// Break is where blocks are no chain.
type Break struct {
	Block  uint64 // number of the block that must be here
	Rule   string
	Detail string
}

func (b *Break) Error() string {
	return fmt.Sprintf("export: block %d: %s: %s", b.Block, b.Rule, b.Detail)
}

// Chain follows headers and data hashes. The zero value expects block 0.
type Chain struct {
	next uint64
	last [32]byte
}

// Next is the number of the block that comes next.
func (c *Chain) Next() uint64 { return c.next }

// Last is the hash of the newest block, zero before block 0.
func (c *Chain) Last() [32]byte { return c.last }

// Take parses a block and holds it against the one before. A *Break if it is not the next one; nothing changes then.
func (c *Chain) Take(raw []byte) (*protos.Block, error) {
	b := &protos.Block{}
	if err := protos.Unmarshal(raw, b); err != nil {
		return nil, &Break{c.next, RuleBlock, "it cannot be read"}
	}
	h := b.GetHeader()
	if h.GetNumber() != c.next {
		return nil, &Break{c.next, RuleNumber, fmt.Sprintf("block %d stands here", h.GetNumber())}
	}
	if c.next > 0 && !bytes.Equal(h.GetPreviousHash(), c.last[:]) || c.next == 0 && len(h.GetPreviousHash()) > 0 {
		return nil, &Break{c.next, RulePrevious, fmt.Sprintf("it follows %x, and the block before is %x", h.GetPreviousHash(), c.last)}
	}
	if d := DataHash(b.GetData()); !bytes.Equal(d[:], h.GetDataHash()) {
		return nil, &Break{c.next, RuleData, fmt.Sprintf("its header says %x, its transactions give %x", h.GetDataHash(), d)}
	}
	c.next, c.last = c.next+1, HeaderHash(h)
	return b, nil
}

// joinAt begins a chain in the middle, with a block that is believed.
func joinAt(raw []byte, number uint64) (Chain, error) {
	b := &protos.Block{}
	if err := protos.Unmarshal(raw, b); err != nil {
		return Chain{}, &Break{number, RuleBlock, "it cannot be read"}
	}
	if n := b.GetHeader().GetNumber(); n != number {
		return Chain{}, &Break{number, RuleNumber, fmt.Sprintf("block %d stands here", n)}
	}
	return Chain{next: number + 1, last: HeaderHash(b.GetHeader())}, nil
}
