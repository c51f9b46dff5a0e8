//go:build !unix

package ledger

import "errors"

// lockFile needs flock: on other systems this package reads, and cosigns nothing.
func lockFile(string) (unlock func(), err error) {
	return nil, errors.New("ledger: cosigning needs a Unix system")
}
