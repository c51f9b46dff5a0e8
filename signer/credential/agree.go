package credential

import (
	"errors"
	"fmt"
	"strings"
)

// ErrDisagree says that licence.json and the credential tell different things. The message lists them by key, never by
// value.
var ErrDisagree = errors.New("credential: licence.json and the credential disagree")

// Agree holds a licence.json against the payload of a credential: type, identifier, number, count of parts, issuer,
// specimen mark, count of fields, and every clear field against the field that it repeats. The root of the field tree is
// left to the caller (Disclosure.Root), because it costs the most.
func Agree(d *Disclosure, p *Payload) error {
	var on []string
	check := func(key string, same bool) {
		if !same {
			on = append(on, key)
		}
	}
	check("type", d.Type == p.Type)
	check("identifier", d.Identifier == p.Identifier)
	check("number", d.Number == p.Number)
	check("parts", d.Parts == p.Parts)
	check("issuer", d.Issuer == p.Issuer)
	check("specimen", d.Specimen == p.Specimen)
	check("fields", len(d.Fields) == p.TreeSize)
	if len(d.ClearSpec) != len(p.Clear) {
		check("clear", false)
	} else {
		for i, c := range d.ClearSpec {
			value, known := d.field(c.Pointer)
			if c.Mask {
				if s, ok := value.(string); ok {
					value = Mask(s)
				}
			}
			check(c.Key, known && c.Key == p.Clear[i].Key && validScalar(value) && value == p.Clear[i].Value)
		}
	}
	if on == nil {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrDisagree, strings.Join(on, ", "))
}

// Mask hides the middle of an identity number and keeps its length: of 18 characters the first three and the last two
// remain, of others at most a sixth at each end, three and two at most. It is part of the format: readers mask the value
// in licence.json to hold it against the credential.
func Mask(s string) string {
	r := []rune(s)
	head, tail := min(3, len(r)/6), min(2, len(r)/6)
	if len(r) == 18 {
		head, tail = 3, 2
	}
	for i := head; i < len(r)-tail; i++ {
		r[i] = '*'
	}
	return string(r)
}
