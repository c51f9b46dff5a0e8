package pdf

import (
	"bytes"
	"fmt"
	"unicode/utf16"
)

// scanner goes through a piece of the file that must be a known text with places to fill. The first thing that does not
// fit makes it bad, and it stays so; callers ask at the end.
type scanner struct {
	b    []byte
	at   int
	bad  bool
	what string // where it went wrong
}

func (s *scanner) fail(what string) {
	if !s.bad {
		s.bad, s.what = true, what
	}
	s.at = len(s.b)
}

// want takes this very text.
func (s *scanner) want(text string) {
	if !s.maybe(text) {
		s.fail(text)
	}
}

// maybe takes this text if it stands there.
func (s *scanner) maybe(text string) bool {
	if len(s.b)-s.at < len(text) || string(s.b[s.at:s.at+len(text)]) != text {
		return false
	}
	s.at += len(text)
	return true
}

// until takes everything before the next c, and c.
func (s *scanner) until(c byte, what string) []byte {
	n := bytes.IndexByte(s.b[s.at:], c)
	if n < 0 {
		s.fail(what)
		return nil
	}
	b := s.b[s.at : s.at+n]
	s.at += n + 1
	return b
}

// natural takes a whole number without sign and without zeros before it.
func (s *scanner) natural() int {
	n, from := 0, s.at
	for s.at < len(s.b) && '0' <= s.b[s.at] && s.b[s.at] <= '9' && s.at-from < 9 {
		n = 10*n + int(s.b[s.at]-'0')
		s.at++
	}
	if s.at == from || s.b[from] == '0' && s.at-from > 1 {
		s.fail("a whole number")
		return 0
	}
	return n
}

// integer takes a whole number.
func (s *scanner) integer() int {
	if s.maybe("-") {
		n := s.natural()
		if n == 0 {
			s.fail("a whole number")
		}
		return -n
	}
	return s.natural()
}

// reference takes "n 0 R".
func (s *scanner) reference() int {
	n := s.natural()
	s.want(" 0 R")
	return n
}

// length takes a number of points that is not negative, in thousandths: at most three places, no zeros that say nothing.
func (s *scanner) length() int {
	n := s.natural()
	if n > 1<<20 {
		s.fail("a length")
	}
	n *= 1000
	if !s.maybe(".") {
		return n
	}
	from, unit := s.at, 100
	for s.at < len(s.b) && '0' <= s.b[s.at] && s.b[s.at] <= '9' && unit > 0 {
		n += int(s.b[s.at]-'0') * unit
		unit /= 10
		s.at++
	}
	if s.at == from || s.b[s.at-1] == '0' {
		s.fail("a length")
	}
	return n
}

// text takes "<FEFF…>": upper-case hex of UTF-16BE (ISO 32000-2 7.9.2.2).
func (s *scanner) text() string {
	s.want("<FEFF")
	digits := s.until('>', "a text")
	if len(digits)%4 != 0 || len(digits) == 0 || len(digits) > 4096 {
		s.fail("a text")
		return ""
	}
	units := make([]uint16, len(digits)/4)
	for i := range units {
		for _, c := range digits[4*i : 4*i+4] {
			v := upperHex[c]
			if v < 0 {
				s.fail("a text")
				return ""
			}
			units[i] = units[i]<<4 | uint16(v)
		}
	}
	runes := utf16.Decode(units)
	for _, r := range runes {
		if r == 0xfffd || r < ' ' || r == 0x7f {
			s.fail("a text")
			return ""
		}
	}
	return string(runes)
}

var (
	upperHex = hexValues("0123456789ABCDEF")
	lowerHex = hexValues("0123456789abcdef")
)

func hexValues(digits string) (v [256]int8) {
	for i := range v {
		v[i] = -1
	}
	for i := range len(digits) {
		v[digits[i]] = int8(i)
	}
	return v
}

// done is nil if everything fitted and nothing is left.
func (s *scanner) done() error {
	if !s.bad && s.at < len(s.b) {
		s.bad, s.what = true, "its end"
	}
	if s.bad {
		const most = 48 // bytes; some of the texts are pages long
		if len(s.what) > most {
			return fmt.Errorf("expected %q…", s.what[:most])
		}
		return fmt.Errorf("expected %q", s.what)
	}
	return nil
}
