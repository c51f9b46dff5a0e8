package records

import (
	"context"
	"errors"
	"fmt"

	"github.com/elicence/elicence/access"
	"github.com/elicence/elicence/licence"
)

// Organisation implements access.Directory.
func (db *DB) Organisation(ctx context.Context, code string) (licence.Organisation, error) {
	o := licence.Organisation{Code: code}
	err := db.row(ctx, `SELECT name, name_en, kind, region FROM organisations WHERE issuer = $1`, code).
		Scan(&o.Name, &o.NameEN, &o.Kind, &o.Region)
	if err != nil {
		return licence.Organisation{}, absent(err, "organisation "+code)
	}
	return o, nil
}

// Organisations implements access.Directory.
func (db *DB) Organisations(ctx context.Context) ([]licence.Organisation, error) {
	rows, err := db.rows(ctx, `SELECT issuer, name, name_en, kind, region FROM organisations ORDER BY issuer`)
	if err != nil {
		return nil, say("read organisations", err)
	}
	var all []licence.Organisation
	err = collect(rows, func(r row) error {
		var o licence.Organisation
		if err := r.Scan(&o.Code, &o.Name, &o.NameEN, &o.Kind, &o.Region); err != nil {
			return err
		}
		all = append(all, o)
		return nil
	})
	return all, say("read organisations", err)
}

// Person implements access.Directory.
func (db *DB) Person(ctx context.Context, organisation, id string) (access.Person, error) {
	people, err := db.people(ctx, `WHERE issuer = $1 AND id = $2`, organisation, id)
	if err != nil {
		return access.Person{}, err
	}
	if len(people) == 0 {
		return access.Person{}, fmt.Errorf("%w: %s/%s", access.ErrUnknownPerson, organisation, id)
	}
	return people[0], nil
}

// People implements access.Directory.
func (db *DB) People(ctx context.Context, organisation string) ([]access.Person, error) {
	return db.people(ctx, `WHERE issuer = $1 ORDER BY id`, organisation)
}

func (db *DB) people(ctx context.Context, where string, args ...any) ([]access.Person, error) {
	rows, err := db.rows(ctx, `SELECT issuer, id, roles, salt, verifier FROM people `+where, args...)
	if err != nil {
		return nil, say("read people", err)
	}
	var all []access.Person
	err = collect(rows, func(r row) error {
		var p access.Person
		var roles string
		if err := r.Scan(&p.Organisation, &p.ID, &roles, &p.Salt, &p.Verifier); err != nil {
			return err
		}
		for _, role := range unwords(roles) {
			p.Roles = append(p.Roles, access.Role(role))
		}
		all = append(all, p)
		return nil
	})
	return all, say("read people", err)
}

// PutOrganisation implements access.Register.
func (db *DB) PutOrganisation(ctx context.Context, o licence.Organisation) error {
	if o.Code == "" {
		return errors.New("records: an organisation has a code")
	}
	return db.write(ctx, func(ctx context.Context, s *session) error {
		if err := putOrganisation(ctx, s, o); err != nil {
			return err
		}
		return act(ctx, s, o.Code, actOrganisation, organisationAct{o.Code, o.Name, o.NameEN, o.Kind, o.Region})
	})
}

func putOrganisation(ctx context.Context, s *session, o licence.Organisation) error {
	return s.later(ctx, `INSERT INTO organisations (issuer, name, name_en, kind, region) VALUES ($1,$2,$3,$4,$5)
		ON CONFLICT (issuer) DO UPDATE SET name = excluded.name, name_en = excluded.name_en, kind = excluded.kind,
		region = excluded.region`, o.Code, o.Name, o.NameEN, o.Kind, o.Region)
}

// PutPerson implements access.Register.
func (db *DB) PutPerson(ctx context.Context, p access.Person) error {
	if p.Organisation == "" || p.ID == "" {
		return errors.New("records: a person has an organisation and an id")
	}
	return db.write(ctx, func(ctx context.Context, s *session) error {
		if err := putPerson(ctx, s, p); err != nil {
			return err
		}
		return act(ctx, s, p.Organisation, actPerson, personAct{p.Organisation, p.ID, rolesOf(p), notNil(p.Salt), notNil(p.Verifier)})
	})
}

func rolesOf(p access.Person) []string {
	roles := make([]string, len(p.Roles))
	for i, r := range p.Roles {
		roles[i] = string(r)
	}
	return roles
}

func putPerson(ctx context.Context, s *session, p access.Person) error {
	return s.later(ctx, `INSERT INTO people (issuer, id, roles, salt, verifier) VALUES ($1,$2,$3,$4,$5)
		ON CONFLICT (issuer, id) DO UPDATE SET roles = excluded.roles, salt = excluded.salt, verifier = excluded.verifier`,
		p.Organisation, p.ID, words(rolesOf(p)), notNil(p.Salt), notNil(p.Verifier))
}

// notNil keeps an empty value from becoming NULL.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
