// Package access knows organisations, their people and what each may do, and lets a person prove who they are.
package access

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/elicence/elicence/licence"
	"golang.org/x/crypto/scrypt"
)

var (
	// ErrUnknownPerson says that no such person is registered with the organisation.
	ErrUnknownPerson = errors.New("no such person in this organisation")
	// ErrPassphrase says that the passphrase is not this person's.
	ErrPassphrase = errors.New("wrong passphrase for this person")
	// ErrRole says that the person is known but may not do this.
	ErrRole = errors.New("this person may not do this")
)

// Role is what a person may do inside their organisation.
type Role string

// Roles. Nobody holds two of Clerk, SealKeeper and StockKeeper at one organisation: paper, seal and printing stay in
// three hands.
const (
	Clerk       Role = "clerk"        // 签发人员: enters requests, asks for issue
	SealKeeper  Role = "seal-keeper"  // 盖章人: compares and approves
	StockKeeper Role = "stock-keeper" // 证件管理员: receives, spoils and counts sheets
	Officer     Role = "officer"      // 民警: verifies and registers households
	Archivist   Role = "archivist"    // 档案员: accepts or rejects what is handed over
	Supervisor  Role = "supervisor"   // 卫健委: allots stock, revokes, audits
)

// Person is somebody who acts for one organisation.
type Person struct {
	Organisation string // unified social credit code
	ID           string // unique inside the organisation
	Roles        []Role
	Salt         []byte
	Verifier     []byte // scrypt(passphrase, Salt)
}

// Directory finds organisations and people. Implementations are safe for concurrent use.
type Directory interface {
	// Organisation returns the organisation with this code; licence.ErrNotFound when there is none.
	Organisation(ctx context.Context, code string) (licence.Organisation, error)
	// Organisations returns all, ordered by code.
	Organisations(ctx context.Context) ([]licence.Organisation, error)
	// Person returns the person; ErrUnknownPerson when there is none.
	Person(ctx context.Context, organisation, id string) (Person, error)
	// People returns the people of one organisation, ordered by id.
	People(ctx context.Context, organisation string) ([]Person, error)
}

// Register adds organisations and people; the same again replaces the row. Durable on return.
type Register interface {
	PutOrganisation(ctx context.Context, o licence.Organisation) error
	PutPerson(ctx context.Context, p Person) error
}

// Interactive cost: a person proves themselves once a command, about 60 ms.
const (
	costN = 1 << 14
	costR = 8
	costP = 1
)

// NewPerson makes a person whose passphrase is known only as a salted verifier.
func NewPerson(organisation, id string, passphrase []byte, random io.Reader, roles ...Role) (Person, error) {
	salt := make([]byte, 16)
	if _, err := io.ReadFull(random, salt); err != nil {
		return Person{}, fmt.Errorf("access: salt: %w", err)
	}
	verifier, err := scrypt.Key(passphrase, salt, costN, costR, costP, 32)
	if err != nil {
		return Person{}, fmt.Errorf("access: verifier: %w", err)
	}
	return Person{Organisation: organisation, ID: id, Roles: roles, Salt: salt, Verifier: verifier}, nil
}

// Prove returns nil only for the person's own passphrase, else ErrPassphrase. It takes the same time either way.
func (p Person) Prove(passphrase []byte) error {
	got, err := scrypt.Key(passphrase, p.Salt, costN, costR, costP, 32)
	if err != nil {
		return fmt.Errorf("access: verifier: %w", err)
	}
	if len(p.Verifier) == 0 || subtle.ConstantTimeCompare(got, p.Verifier) != 1 {
		return fmt.Errorf("%w: %s", ErrPassphrase, p.ID)
	}
	return nil
}

// May returns nil if the person holds one of the roles, else ErrRole naming what is needed.
func (p Person) May(any ...Role) error {
	for _, have := range p.Roles {
		for _, want := range any {
			if have == want {
				return nil
			}
		}
	}
	names := make([]string, len(any))
	for i, r := range any {
		names[i] = string(r)
	}
	return fmt.Errorf("%w: %s needs the role %s", ErrRole, p.ID, strings.Join(names, " or "))
}

// ParseName splits "ORG/PERSON" at the slash.
func ParseName(s string) (organisation, person string, err error) {
	organisation, person, ok := strings.Cut(s, "/")
	if !ok || organisation == "" || person == "" || strings.Contains(person, "/") {
		return "", "", fmt.Errorf("%w: write ORG/PERSON, with ORG the organisation's code", ErrUnknownPerson)
	}
	return organisation, person, nil
}
