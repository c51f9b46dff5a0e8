package credential

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// ErrDisclosure says that bytes are not one licence.json in its one encoding, or that values cannot stand in one. The
// message names members and pointers, never a value.
var ErrDisclosure = errors.New("credential: not a licence.json")

const (
	// MaxDisclosure bounds licence.json in bytes.
	MaxDisclosure = 1 << 20

	disclosureFormat = "elicence/licence/1"
)

// ClearField says which field of the licence a credential repeats in the clear under Key, and whether masked.
type ClearField struct {
	Key     string
	Pointer string
	Mask    bool
}

// Disclosure is licence.json: all values of a licence with their salts, and what a reader needs to hold the part, the
// credential and the ledger against each other. It travels inside the signed part and nowhere else.
type Disclosure struct {
	Type          string
	SchemaVersion int
	Identifier    string
	Number        string
	Part          string
	PartIndex     int // from 1
	Parts         int
	Issuer        string // unified social credit code
	Specimen      bool
	Handle        [32]byte // of the licence in the ledger
	PartSalt      [32]byte // of this part's commitment
	Credential    []byte
	ClearSpec     []ClearField
	Fields        []Field // in the order of the field tree
}

// Root is the root of the field tree over d's fields.
func (d *Disclosure) Root() ([32]byte, error) { return Root(d.SchemaVersion, d.Fields) }

// Encode writes licence.json: canonical JSON (RFC 8785) of docs/formats/licence.schema.json.
func (d *Disclosure) Encode() ([]byte, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	return d.append(make([]byte, 0, 1024+len(d.Credential)*4/3+160*len(d.Fields))), nil
}

func (d *Disclosure) append(b []byte) []byte {
	b = append(b, `{"clear":[`...)
	for i, c := range d.ClearSpec {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendJSONString(append(b, `{"key":`...), c.Key)
		b = strconv.AppendBool(append(b, `,"mask":`...), c.Mask)
		b = appendJSONString(append(b, `,"pointer":`...), c.Pointer)
		b = append(b, '}')
	}
	b = append(b, `],"credential":"`...)
	b = base64.StdEncoding.AppendEncode(b, d.Credential)
	b = append(b, `","fields":[`...)
	for i := range d.Fields {
		f := &d.Fields[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = appendJSONString(append(b, `{"pointer":`...), f.Pointer)
		b = hex.AppendEncode(append(b, `,"salt":"`...), f.Salt[:])
		b = append(b, `","value":`...)
		switch v := f.Value.(type) {
		case string:
			b = appendJSONString(b, v)
		case int64:
			b = strconv.AppendInt(b, v, 10)
		case bool:
			b = strconv.AppendBool(b, v)
		default:
			b = append(b, "null"...)
		}
		b = append(b, '}')
	}
	b = append(b, `],"format":"`+disclosureFormat+`","handle":"`...)
	b = hex.AppendEncode(b, d.Handle[:])
	b = appendJSONString(append(b, `","identifier":`...), d.Identifier)
	b = appendJSONString(append(b, `,"issuer":`...), d.Issuer)
	b = appendJSONString(append(b, `,"number":`...), d.Number)
	b = appendJSONString(append(b, `,"part":`...), d.Part)
	b = strconv.AppendInt(append(b, `,"partIndex":`...), int64(d.PartIndex), 10)
	b = hex.AppendEncode(append(b, `,"partSalt":"`...), d.PartSalt[:])
	b = strconv.AppendInt(append(b, `","parts":`...), int64(d.Parts), 10)
	b = strconv.AppendInt(append(b, `,"schemaVersion":`...), int64(d.SchemaVersion), 10)
	b = strconv.AppendBool(append(b, `,"specimen":`...), d.Specimen)
	b = appendJSONString(append(b, `,"type":`...), d.Type)
	return append(b, '}')
}

// ParseDisclosure reads what Encode writes, byte for byte: members in their order, no white space, no escape that JSON
// does not demand. Everything else wraps ErrDisclosure.
func ParseDisclosure(b []byte) (*Disclosure, error) {
	if len(b) > MaxDisclosure {
		return nil, fmt.Errorf("%w: %d bytes", ErrDisclosure, len(b))
	}
	if !utf8.Valid(b) {
		return nil, fmt.Errorf("%w: not UTF-8", ErrDisclosure)
	}
	var d Disclosure
	r := jsonReader{b: string(b)}
	r.want(`{"clear":[`)
	for r.more(len(d.ClearSpec)) {
		var c ClearField
		r.want(`{"key":`)
		c.Key = r.text()
		r.want(`,"mask":`)
		c.Mask = r.boolean()
		r.want(`,"pointer":`)
		c.Pointer = r.text()
		r.want(`}`)
		d.ClearSpec = append(d.ClearSpec, c)
	}
	r.want(`,"credential":`)
	d.Credential = r.base64()
	r.want(`,"fields":[`)
	for r.more(len(d.Fields)) {
		var f Field
		r.want(`{"pointer":`)
		f.Pointer = r.text()
		r.want(`,"salt":`)
		r.hex(f.Salt[:])
		r.want(`,"value":`)
		f.Value = r.scalar()
		r.want(`}`)
		d.Fields = append(d.Fields, f)
	}
	r.want(`,"format":"` + disclosureFormat + `","handle":`)
	r.hex(d.Handle[:])
	r.want(`,"identifier":`)
	d.Identifier = r.text()
	r.want(`,"issuer":`)
	d.Issuer = r.text()
	r.want(`,"number":`)
	d.Number = r.text()
	r.want(`,"part":`)
	d.Part = r.text()
	r.want(`,"partIndex":`)
	d.PartIndex = r.small()
	r.want(`,"partSalt":`)
	r.hex(d.PartSalt[:])
	r.want(`,"parts":`)
	d.Parts = r.small()
	r.want(`,"schemaVersion":`)
	d.SchemaVersion = r.small()
	r.want(`,"specimen":`)
	d.Specimen = r.boolean()
	r.want(`,"type":`)
	d.Type = r.text()
	r.want(`}`)
	if r.bad || len(r.b) != 0 {
		return nil, fmt.Errorf("%w: byte %d", ErrDisclosure, len(b)-len(r.b))
	}
	if err := d.check(); err != nil {
		return nil, err
	}
	if !bytes.Equal(d.append(make([]byte, 0, len(b))), b) {
		return nil, fmt.Errorf("%w: another encoding of the same", ErrDisclosure)
	}
	return &d, nil
}

func (d *Disclosure) check() error {
	for _, t := range []struct {
		member, text string
		most         int
	}{
		{"type", d.Type, maxType}, {"identifier", d.Identifier, maxIdentifier}, {"number", d.Number, maxNumber},
		{"part", d.Part, maxType}, {"issuer", d.Issuer, maxIssuer},
	} {
		if !validWord(t.text, t.most) {
			return fmt.Errorf("%w: %s", ErrDisclosure, t.member)
		}
	}
	switch {
	case d.Parts < 1 || d.Parts > maxParts || d.PartIndex < 1 || d.PartIndex > d.Parts:
		return fmt.Errorf("%w: part %d of %d", ErrDisclosure, d.PartIndex, d.Parts)
	case d.SchemaVersion < 1 || d.SchemaVersion > maxSchemaVersion:
		return fmt.Errorf("%w: schema version", ErrDisclosure)
	case len(d.Credential) == 0 || len(d.Credential) > MaxSize:
		return fmt.Errorf("%w: credential of %d bytes", ErrDisclosure, len(d.Credential))
	case len(d.ClearSpec) > maxClear:
		return fmt.Errorf("%w: %d clear fields", ErrDisclosure, len(d.ClearSpec))
	}
	if err := checkFields(d.Fields); err != nil {
		return fmt.Errorf("%w: %w", ErrDisclosure, err)
	}
	for i, c := range d.ClearSpec {
		if !validWord(c.Key, maxClearKey) {
			return fmt.Errorf("%w: key of clear field %d", ErrDisclosure, i)
		}
		for _, other := range d.ClearSpec[:i] {
			if other.Key == c.Key {
				return fmt.Errorf("%w: clear field %s stands twice", ErrDisclosure, c.Key)
			}
		}
		if _, ok := d.field(c.Pointer); !ok {
			return fmt.Errorf("%w: clear field %s points at no field", ErrDisclosure, c.Key)
		}
	}
	return nil
}

func (d *Disclosure) field(pointer string) (any, bool) {
	for i := range d.Fields {
		if d.Fields[i].Pointer == pointer {
			return d.Fields[i].Value, true
		}
	}
	return nil, false
}
