package licence

import (
	"crypto/subtle"
	"fmt"

	"github.com/emmansun/gmsm/sm3"
)

// Draft is a request that passed Check: nothing in it can change any more. The zero Draft is no draft; it can be made,
// but not approved, and its methods return zero values.
type Draft struct{ d *draft }

type draft struct {
	t         *Type
	issuer    Organisation
	clerk     string
	document  map[string]any
	canonical []byte
	digest    [32]byte
	warnings  []Finding
	kind      KindSpec
	parts     []PartSpec
}

// Valid reports whether this is a draft at all.
func (d Draft) Valid() bool { return d.d != nil }

func (d Draft) get() *draft {
	if d.d == nil {
		return &draft{}
	}
	return d.d
}

// Digest is SM3 of Canonical. Approval names it, and idempotency compares it.
func (d Draft) Digest() [32]byte { return d.get().digest }

// Canonical is the draft as it is recorded: canonical JSON (RFC 8785) of {"issuer", "request", "schemaVersion",
// "type"}. Open reads it back.
func (d Draft) Canonical() []byte { return append([]byte(nil), d.get().canonical...) }

// Document is the canonical request, for rendering and search. It is a copy.
func (d Draft) Document() map[string]any {
	if d.d == nil {
		return nil
	}
	return copyValue(d.d.document).(map[string]any)
}

// Warnings are the findings that a person confirms by approving, in order of pointers.
func (d Draft) Warnings() []Finding { return append([]Finding(nil), d.get().warnings...) }

// Kind is the word of the request: one of Type.Kinds.
func (d Draft) Kind() string { return d.get().kind.Name }

// KindSpec is what the type says of the kind.
func (d Draft) KindSpec() KindSpec { return d.get().kind }

// Parts are the parts to be made: what the type's kind says for this request.
func (d Draft) Parts() []PartSpec { return append([]PartSpec(nil), d.get().parts...) }

// BusinessID is the issuer's own id of the matter, unique for one birth.
func (d Draft) BusinessID() string { return d.text("businessId") }

// Replaces is the number of the licence that this one replaces, "" for none.
func (d Draft) Replaces() string { return d.text("replaces") }

// Grounds is the ground given, "" for none.
func (d Draft) Grounds() string { return d.text("grounds") }

// Returned are the old parts that the request says have come back, in the order of the type's parts.
func (d Draft) Returned() []string {
	if d.d == nil {
		return nil
	}
	m, _ := d.d.document["returned"].(map[string]any)
	var out []string
	for _, p := range d.d.t.Parts {
		if yes, _ := m[p.Name].(bool); yes {
			out = append(out, p.Name)
		}
	}
	return out
}

// Paper returns number and date (YYYY-MM-DD) of the paper that a backfile repeats, "" for other kinds.
func (d Draft) Paper() (number, issueDate string) {
	p, _ := d.get().document["paper"].(map[string]any)
	number, _ = p["number"].(string)
	issueDate, _ = p["issueDate"].(string)
	return number, issueDate
}

// Type is the licence type.
func (d Draft) Type() *Type { return d.get().t }

// Issuer is the organisation that will sign.
func (d Draft) Issuer() Organisation { return d.get().issuer }

// Clerk is the person who entered the request.
func (d Draft) Clerk() string { return d.get().clerk }

func (d Draft) text(key string) string {
	s, _ := d.get().document[key].(string)
	return s
}

// Approve is the second person's word: by names the person, digest the draft that they saw. ErrSamePerson if it is the
// clerk, ErrOtherDraft if the digest is another's, ErrRefused for no draft or no person.
func (d Draft) Approve(by string, digest [32]byte) (Approved, error) {
	switch {
	case d.d == nil:
		return Approved{}, fmt.Errorf("%w: there is no draft", ErrRefused)
	case by == "":
		return Approved{}, fmt.Errorf("%w: an approval needs a person", ErrRefused)
	case by == d.d.clerk:
		return Approved{}, ErrSamePerson
	case subtle.ConstantTimeCompare(digest[:], d.d.digest[:]) != 1:
		return Approved{}, ErrOtherDraft
	}
	return Approved{draft: d, by: by}, nil
}

// Approved is a draft that a second person has approved. Only Draft.Approve makes one; issuing takes nothing else.
type Approved struct {
	draft Draft
	by    string
}

// Valid reports whether this is an approval at all: the zero value is not.
func (a Approved) Valid() bool { return a.draft.d != nil }

// Draft is what was approved.
func (a Approved) Draft() Draft { return a.draft }

// By is the person who approved.
func (a Approved) By() string { return a.by }

func (t *Type) newDraft(in Input, document map[string]any, kind KindSpec, parts []PartSpec, w []Finding) (Draft, error) {
	canonical, err := CanonicalJSON(map[string]any{
		"issuer": in.Issuer.Code, "request": document, "schemaVersion": int64(t.SchemaVersion), "type": t.Name,
	})
	if err != nil {
		return Draft{}, err
	}
	return Draft{&draft{t: t, issuer: in.Issuer, clerk: in.Clerk, document: document, canonical: canonical,
		digest: sm3.Sum(canonical), warnings: w, kind: kind, parts: parts}}, nil
}

func copyValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		c := make(map[string]any, len(v))
		for k, e := range v {
			c[k] = copyValue(e)
		}
		return c
	case []any:
		c := make([]any, len(v))
		for i, e := range v {
			c[i] = copyValue(e)
		}
		return c
	}
	return v
}

// Recorded is a draft read back from its canonical bytes.
type Recorded struct {
	Type          string
	SchemaVersion int
	Issuer        string // unified social credit code
	Document      map[string]any
	Digest        [32]byte
}

// Open reads what Draft.Canonical wrote. Other bytes, or bytes that would not be written the same again, are ErrState.
func Open(canonical []byte) (Recorded, error) {
	bad := func(why string) (Recorded, error) {
		return Recorded{}, fmt.Errorf("%w: the recorded draft %s", ErrState, why)
	}
	if len(canonical) > 2*MaxRequest {
		return bad("is too long")
	}
	faults := false
	r := reader{in: canonical, note: func(string, string) { faults = true }, text: func(string, string) {}}
	v, err := r.document()
	if err != nil || faults {
		return bad("cannot be read")
	}
	again, err := CanonicalJSON(v)
	if err != nil || string(again) != string(canonical) {
		return bad("is not canonical")
	}
	m, _ := v.(map[string]any)
	out := Recorded{Digest: sm3.Sum(canonical)}
	var ok [4]bool
	var version int64
	out.Type, ok[0] = m["type"].(string)
	version, ok[1] = m["schemaVersion"].(int64)
	out.Issuer, ok[2] = m["issuer"].(string)
	out.Document, ok[3] = m["request"].(map[string]any)
	if ok != [4]bool{true, true, true, true} || len(m) != 4 {
		return bad("has other members")
	}
	out.SchemaVersion = int(version)
	return out, nil
}
