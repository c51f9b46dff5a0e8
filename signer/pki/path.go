package pki

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

var (
	// ErrUntrusted says that no path leads from a certificate to a root.
	ErrUntrusted = errors.New("pki: no path to a trusted root")
	// ErrExpired says that a path exists, but one of its certificates is not valid at the time.
	ErrExpired = errors.New("pki: a certificate of the path is not valid at that time")
)

// longestPath bounds a path: leaf, CAs, without root.
const longestPath = 6

// Path returns leaf and the CAs above it, without root. Every signature, CA mark and path length is checked (RFC 5280,
// 6.1). ErrUntrusted if no root is reached; ErrExpired if one is, but not with certificates valid at that time.
func Path(leaf *Certificate, pool, roots []*Certificate, at time.Time) ([]*Certificate, error) {
	path, err := extend([]*Certificate{leaf}, pool, roots)
	if err != nil {
		return nil, err
	}
	root := path[len(path)-1]
	for _, c := range path {
		if at.Before(c.NotBefore()) || at.After(c.NotAfter()) {
			return nil, fmt.Errorf("%w: %s is valid from %s to %s", ErrExpired, c,
				c.NotBefore().UTC().Format(time.RFC3339), c.NotAfter().UTC().Format(time.RFC3339))
		}
	}
	if len(path) > 1 || root != leaf {
		path = path[:len(path)-1]
	}
	return path, nil
}

// extend returns a path that ends with a root.
func extend(path, pool, roots []*Certificate) ([]*Certificate, error) {
	last := path[len(path)-1]
	for _, root := range roots {
		if last.sum == root.sum {
			return path, nil
		}
		if fits(last, root, len(path)-1) {
			return append(path, root), nil
		}
	}
	if len(path) < longestPath {
		for _, ca := range pool {
			if contains(path, ca) || !fits(last, ca, len(path)-1) {
				continue
			}
			if full, err := extend(append(path[:len(path):len(path)], ca), pool, roots); err == nil {
				return full, nil
			}
		}
	}
	return nil, fmt.Errorf("%w: %s", ErrUntrusted, path[0])
}

// fits reports whether ca signed c; below is how many CAs stand below ca in the path.
func fits(c, ca *Certificate, below int) bool {
	if !bytes.Equal(c.c.RawIssuer, ca.c.RawSubject) || c.CheckSignedBy(ca) != nil {
		return false
	}
	limited := ca.c.MaxPathLen > 0 || ca.c.MaxPathLenZero
	return !limited || below <= ca.c.MaxPathLen
}

func contains(path []*Certificate, c *Certificate) bool {
	for _, p := range path {
		if p.sum == c.sum {
			return true
		}
	}
	return false
}
