package pki

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"
)

var (
	// ErrUntrusted says that no path leads from a certificate to a root.
	ErrUntrusted = errors.New("pki: no path to a trusted root")
	// ErrExpired says that a path exists, but none whose certificates are all valid at the time.
	ErrExpired = errors.New("pki: a certificate of the path is not valid at that time")
)

const (
	longestPath = 6  // certificates: leaf and CAs, without root
	mostChecks  = 64 // of signatures: a pool from outside could otherwise hold CAs that have all signed each other
)

// Path returns leaf and the CAs above it, without root, found among pool; a leaf that is a root itself stands alone. Of
// every certificate signature, CA mark, key usage and path length are checked (RFC 5280, 6.1), and of the whole path,
// root included, the validity at that time.
//
// ErrUntrusted if no root is reached, or the leaf may sign nothing; ErrExpired, with certificate and validity, if one is
// reached, but over no path that is valid at that time. It costs one SM2 verification for each step not seen before (see
// CheckSignedBy) and allocates little: callers that keep certificates need not keep paths.
func Path(leaf *Certificate, pool, roots []*Certificate, at time.Time) ([]*Certificate, error) {
	if !leaf.MaySign() && !leaf.IsCA() {
		return nil, fmt.Errorf("%w: %s is not for signatures", ErrUntrusted, leaf)
	}
	s := search{pool: pool, roots: roots, at: at}
	path := s.extend(append(make([]*Certificate, 0, longestPath+1), leaf))
	switch {
	case path == nil && s.expired != nil:
		return nil, fmt.Errorf("%w: %s is valid from %s to %s", ErrExpired, s.expired,
			s.expired.NotBefore().UTC().Format(time.RFC3339), s.expired.NotAfter().UTC().Format(time.RFC3339))
	case path == nil:
		return nil, fmt.Errorf("%w: %s", ErrUntrusted, leaf)
	case len(path) > 1:
		path = path[:len(path)-1]
	}
	return path, nil
}

// ValidAt returns ErrExpired with the first certificate that is not valid at that time.
func ValidAt(path []*Certificate, at time.Time) error {
	for _, c := range path {
		if !c.validAt(at) {
			return fmt.Errorf("%w: %s is valid from %s to %s", ErrExpired, c,
				c.NotBefore().UTC().Format(time.RFC3339), c.NotAfter().UTC().Format(time.RFC3339))
		}
	}
	return nil
}

func (c *Certificate) validAt(at time.Time) bool {
	return !at.Before(c.c.NotBefore) && !at.After(c.c.NotAfter)
}

type search struct {
	pool, roots []*Certificate
	at          time.Time
	checks      int
	expired     *Certificate // of a path that would do at another time
}

// extend returns path up to a root, every member valid, or nil.
func (s *search) extend(path []*Certificate) []*Certificate {
	last := path[len(path)-1]
	for _, root := range s.roots {
		full := path
		if last.sum != root.sum {
			if !s.signed(last, root, len(path)-1) {
				continue
			}
			full = append(full, root)
		}
		if i := slices.IndexFunc(full, func(c *Certificate) bool { return !c.validAt(s.at) }); i < 0 {
			return full
		} else if s.expired == nil {
			s.expired = full[i]
		}
	}
	if len(path) == longestPath {
		return nil
	}
	for _, ca := range s.pool {
		if contains(path, ca) || !s.signed(last, ca, len(path)-1) {
			continue
		}
		if full := s.extend(append(path, ca)); full != nil {
			return full
		}
	}
	return nil
}

// signed reports whether ca signed c; below is how many CAs stand between ca and the leaf.
func (s *search) signed(c, ca *Certificate, below int) bool {
	if !bytes.Equal(c.c.RawIssuer, ca.c.RawSubject) {
		return false
	}
	if limited := ca.c.MaxPathLen > 0 || ca.c.MaxPathLenZero; limited && below > ca.c.MaxPathLen {
		return false
	}
	if s.checks++; s.checks > mostChecks {
		return false
	}
	return c.CheckSignedBy(ca) == nil
}

func contains(path []*Certificate, c *Certificate) bool {
	return slices.ContainsFunc(path, func(p *Certificate) bool { return p.sum == c.sum })
}
