package s3

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Names of the two secrets, in the environment and in a credentials file.
const (
	AccessKeyName = "ELICENCE_S3_ACCESS_KEY"
	SecretKeyName = "ELICENCE_S3_SECRET_KEY"
)

// SystemdCredential is the name under which systemd hands the credentials file over (LoadCredential=).
const SystemdCredential = "elicence-s3"

// ErrCredentials says that there are no credentials, or that they lie open.
var ErrCredentials = errors.New("s3: 没有可用的对象存储凭据 / no usable credentials for the object store")

// Credentials is what the store knows its caller by. Printing it shows nothing.
type Credentials struct{ access, secret string }

// String keeps the secrets out of every print.
func (Credentials) String() string { return "(credentials)" }

// GoString keeps the secrets out of every print.
func (Credentials) GoString() string { return "(credentials)" }

// FindCredentials takes them from the environment, else from the file that the configuration names, else from the
// folder that systemd made for this service ($CREDENTIALS_DIRECTORY/elicence-s3). A file has two lines,
// ELICENCE_S3_ACCESS_KEY=… and ELICENCE_S3_SECRET_KEY=…, and is for its owner alone. Errors wrap ErrCredentials and say
// which place is meant.
func FindCredentials(c Config, environment func(string) string) (Credentials, error) {
	k := Credentials{environment(AccessKeyName), environment(SecretKeyName)}
	switch {
	case k.access != "" && k.secret != "":
		return k, nil
	case k.access != "" || k.secret != "":
		return Credentials{}, fmt.Errorf("%w: of $%s and $%s only one is set", ErrCredentials, AccessKeyName, SecretKeyName)
	case c.CredentialsFile != "":
		if info, err := os.Stat(c.CredentialsFile); err == nil && info.Mode().Perm()&0o077 != 0 {
			return Credentials{}, fmt.Errorf("%w: %s can be read by others: chmod 600", ErrCredentials, c.CredentialsFile)
		}
		return readCredentials(c.CredentialsFile)
	}
	// The mode of systemd's files says nothing: with an ACL for the service's user they are 0440, in a folder for it alone.
	if folder := environment("CREDENTIALS_DIRECTORY"); folder != "" {
		k, err := readCredentials(filepath.Join(folder, SystemdCredential))
		if !errors.Is(err, fs.ErrNotExist) {
			return k, err
		}
	}
	return Credentials{}, fmt.Errorf("%w: set $%s and $%s, or name a file in credentialsFile", ErrCredentials, AccessKeyName, SecretKeyName)
}

func readCredentials(path string) (Credentials, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Credentials{}, fmt.Errorf("%w: %w", ErrCredentials, err)
	}
	var k Credentials
	lines := bufio.NewScanner(bytes.NewReader(b))
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, _ := strings.Cut(line, "=")
		switch value = strings.Trim(strings.TrimSpace(value), `"`); strings.TrimSpace(name) {
		case AccessKeyName:
			k.access = value
		case SecretKeyName:
			k.secret = value
		default: // the line may be a secret: its number must do
			return Credentials{}, fmt.Errorf("%w: %s line %d: neither %s= nor %s=", ErrCredentials, path, number, AccessKeyName, SecretKeyName)
		}
	}
	if lines.Err() != nil || k.access == "" || k.secret == "" {
		return Credentials{}, fmt.Errorf("%w: %s must have %s= and %s=", ErrCredentials, path, AccessKeyName, SecretKeyName)
	}
	return k, nil
}
