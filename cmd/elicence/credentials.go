package main

import (
	"errors"
	"os"
	"path/filepath"
)

// Credentials that a service manager hands over (systemd.exec(5), LoadCredential=): elicence-NAME is the passphrase of the
// keystore NAME, elicence-passphrase that of every keystore without a credential of its own.
const (
	credentialPrefix = "elicence-"
	anyPassphrase    = "passphrase"
)

// handedPassphrase finds a keystore's passphrase among the credentials; nil if there is none. One that is there and cannot be
// used is an error: another passphrase would be tried in its place, and the message would be about that.
func (a *app) handedPassphrase(keystore string) ([]byte, error) {
	folder := a.environment("CREDENTIALS_DIRECTORY")
	if folder == "" {
		return nil, nil
	}
	for _, name := range []string{keystore, anyPassphrase} {
		b, err := readPassphrase(filepath.Join(folder, credentialPrefix+name))
		if err == nil || !errors.Is(err, os.ErrNotExist) {
			return b, err
		}
	}
	return nil, nil
}
