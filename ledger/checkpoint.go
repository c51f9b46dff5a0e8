package ledger

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrCheckpoint says that bytes are not a checkpoint in its one canonical form.
var ErrCheckpoint = errors.New("ledger: not a checkpoint")

// MaxOrigin bounds an origin and a key name, in bytes.
const MaxOrigin = 128

// Checkpoint is the state of the log at one size: C2SP tlog-checkpoint with one extension line, "time".
type Checkpoint struct {
	Origin string // names the log; also the key name on the log's signature lines
	Size   uint64 // entries; never 0: an empty log has no checkpoint
	Root   [HashSize]byte
	Time   int64 // time of the latest event so far, microseconds since the epoch
}

// Body is the text that is signed:
//
//	origin\n
//	size, decimal\n
//	root, base64\n
//	time SP microseconds, decimal\n
//
// It is fixed in the transaction that appends, so that all cosign the same bytes.
func (c Checkpoint) Body() ([]byte, error) {
	if !IsName(c.Origin) || c.Size == 0 || c.Time <= 0 {
		return nil, fmt.Errorf("%w: origin, size or time", ErrCheckpoint)
	}
	b := make([]byte, 0, 160)
	b = append(append(b, c.Origin...), '\n')
	b = append(strconv.AppendUint(b, c.Size, 10), '\n')
	b = append(base64.StdEncoding.AppendEncode(b, c.Root[:]), '\n')
	b = append(b, "time "...)
	return append(strconv.AppendInt(b, c.Time, 10), '\n'), nil
}

// ParseCheckpoint reads a body. What it accepts is exactly what Body writes.
func ParseCheckpoint(body []byte) (Checkpoint, error) {
	if len(body) > 512 {
		return Checkpoint{}, fmt.Errorf("%w: %d bytes", ErrCheckpoint, len(body))
	}
	lines := strings.Split(string(body), "\n")
	if len(lines) != 5 || lines[4] != "" {
		return Checkpoint{}, fmt.Errorf("%w: not four lines", ErrCheckpoint)
	}
	c := Checkpoint{Origin: lines[0]}
	var err error
	if c.Size, err = strconv.ParseUint(lines[1], 10, 63); err != nil {
		return Checkpoint{}, fmt.Errorf("%w: size", ErrCheckpoint)
	}
	root, err := decodeHash(lines[2])
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: root", ErrCheckpoint)
	}
	c.Root = root
	micros, ok := strings.CutPrefix(lines[3], "time ")
	if !ok {
		return Checkpoint{}, fmt.Errorf("%w: no time line", ErrCheckpoint)
	}
	if c.Time, err = strconv.ParseInt(micros, 10, 64); err != nil {
		return Checkpoint{}, fmt.Errorf("%w: time", ErrCheckpoint)
	}
	again, err := c.Body()
	if err != nil {
		return Checkpoint{}, err
	}
	if !bytes.Equal(again, body) {
		return Checkpoint{}, fmt.Errorf("%w: another spelling of the same", ErrCheckpoint)
	}
	return c, nil
}

// IsName tells whether s can be an origin or a key name: 1 to MaxOrigin printable ASCII characters without space and
// plus sign (C2SP signed-note), and not the first line of another signed text.
func IsName(s string) bool {
	if len(s) == 0 || len(s) > MaxOrigin || s == "cosignature/v1" || strings.HasPrefix(s, "elicence/status/") || strings.HasPrefix(s, "elicence/trust/") {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || s[i] == '+' {
			return false
		}
	}
	return true
}

// decodeBase64 is strict: standard alphabet, padded, unused bits zero, no line breaks.
func decodeBase64(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, base64.CorruptInputError(0)
	}
	return base64.StdEncoding.Strict().DecodeString(s)
}

func decodeHash(s string) (h [HashSize]byte, err error) {
	b, err := decodeBase64(s)
	if err != nil {
		return h, err
	}
	if len(b) != HashSize {
		return h, errors.New("not 32 bytes")
	}
	return [HashSize]byte(b), nil
}
