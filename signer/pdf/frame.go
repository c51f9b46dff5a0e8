package pdf

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

const (
	header = "%PDF-1.7\n%\xE2\xE3\xCF\xD3\n"
	footer = "\n%%EOF\n"
	// firstEntry and the shape of all others: ISO 32000-2 7.5.4.
	firstEntry = "0000000000 65535 f \n"
	entrySize  = len(firstEntry)
)

var errFrame = errors.New("header, cross-reference table or trailer")

// frame reads what holds the objects together: header, table, trailer. It sets r.file and r.ends such that object n lies
// from r.ends[n-1] to r.ends[n]; that it fills this place exactly is for the roles to see.
func (r *reader) frame(file []byte) error {
	if !bytes.HasPrefix(file, []byte(header)) {
		return fmt.Errorf("%w: header", errFrame)
	}
	if !bytes.HasSuffix(file, []byte(footer)) {
		return fmt.Errorf("%w: end of the file", errFrame)
	}
	last := bytes.LastIndexByte(file[:len(file)-len(footer)], '\n')
	s := scanner{b: file, at: last + 1}
	table := s.natural()
	if s.want(footer); s.done() != nil || table > last {
		return fmt.Errorf("%w: startxref", errFrame)
	}
	s = scanner{b: file, at: table}
	s.want("xref\n0 ")
	size := s.natural()
	s.want("\n" + firstEntry)
	if s.bad || size < 2 || size > maxObjects || len(file)-s.at < (size-1)*entrySize {
		return fmt.Errorf("%w: table", errFrame)
	}
	r.ends = r.ends[:0]
	least := len(header)
	for n := 1; n < size; n++ {
		at, ok := entry(file[s.at : s.at+entrySize])
		if !ok || at < least || n == 1 && at != least || at >= table {
			return fmt.Errorf("%w: entry %d", errFrame, n)
		}
		r.ends = append(r.ends, at)
		least = at + 1
		s.at += entrySize
	}
	r.ends = append(r.ends, table) // where the last object ends
	s.want("trailer\n<</Size " + strconv.Itoa(size) + "/Root 1 0 R/ID[<")
	id := s.until('>', "ID")
	s.want("<")
	again := s.until('>', "ID")
	s.want("]>>\nstartxref\n" + strconv.Itoa(table) + footer)
	if s.done() != nil || len(id) != 32 || !bytes.Equal(id, again) {
		return fmt.Errorf("%w: trailer", errFrame)
	}
	for _, c := range id {
		if lowerHex[c] < 0 {
			return fmt.Errorf("%w: ID", errFrame)
		}
	}
	r.file = file
	return nil
}

// entry reads "nnnnnnnnnn 00000 n \n".
func entry(b []byte) (at int, ok bool) {
	for _, c := range b[:10] {
		if c < '0' || c > '9' {
			return 0, false
		}
		at = 10*at + int(c-'0')
	}
	return at, string(b[10:]) == " 00000 n \n"
}
