package code

import (
	"fmt"
	"strconv"
	"strings"
)

// Root is the object identifier under which licence identifiers stand, GB/T 36904-2018 5.2.
const Root = "1.2.156.3005.2"

const alphabet36 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

func value36(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'A' && c <= 'Z':
		return int(c-'A') + 10
	}
	return -1
}

// Check37 returns the check character of s by ISO 7064 MOD 37,36 (hybrid system). s is of 0-9A-Z.
func Check37(s string) (byte, error) {
	p := 36
	for i := 0; i < len(s); i++ {
		v := value36(s[i])
		if v < 0 {
			return 0, fmt.Errorf("%w: position %d", ErrCharacter, i+1)
		}
		p = (p + v) % 36
		if p == 0 {
			p = 36
		}
		p = p * 2 % 37
	}
	return alphabet36[(37-p)%36], nil
}

// Identifier is the electronic licence identifier of GB/T 36904-2018 5.
type Identifier struct {
	TypeCode string // 21: unified social credit code of the defining authority and three characters
	Issuer   string // 18: unified social credit code of the issuer; others' may be a bare region code
	Serial   string // 0-9A-Z
	Version  string // three digits, 001 first
	Check    byte
}

// String gives the identifier with root and dots.
func (i Identifier) String() string {
	return Root + "." + i.TypeCode + "." + i.Issuer + "." + i.Serial + "." + i.Version + "." + string(i.Check)
}

func (i Identifier) check() (byte, error) {
	return Check37(i.TypeCode + i.Issuer + i.Serial + i.Version)
}

// NewIdentifier builds an identifier, as strict as ParseIdentifier. version is 1 to 999.
func NewIdentifier(typeCode, issuer, serial string, version int) (Identifier, error) {
	if version < 1 || version > 999 {
		return Identifier{}, fmt.Errorf("%w: version is 1 to 999", ErrForm)
	}
	id := Identifier{TypeCode: typeCode, Issuer: issuer, Serial: serial, Version: fmt.Sprintf("%03d", version)}
	var err error
	if id.Check, err = id.check(); err != nil {
		return Identifier{}, err
	}
	return ParseIdentifier(id.String())
}

// ParseIdentifier reads an identifier as we issue it. Whatever deviates from GB/T 36904-2018 is an error.
func ParseIdentifier(s string) (Identifier, error) {
	id, warnings, err := ReadIdentifier(s)
	if err != nil {
		return Identifier{}, err
	}
	if len(warnings) > 0 {
		return Identifier{}, fmt.Errorf("%w: %s", ErrForm, warnings[0])
	}
	return id, nil
}

// Warning names a deviation that ReadIdentifier tolerates in the identifiers of other systems.
type Warning string

// Deviations seen in the field.
const (
	WarnCheck      Warning = "identifier-check"       // check character does not fit
	WarnTypeCode   Warning = "identifier-type-code"   // type code is not a social credit code and three characters
	WarnIssuer     Warning = "identifier-issuer"      // issuer is neither a social credit code nor a region code
	WarnRegion     Warning = "identifier-region"      // issuer is a bare region code
	WarnLowerCase  Warning = "identifier-lower-case"  // lower-case letters
	WarnSerial     Warning = "identifier-serial"      // serial is longer than 22 characters
	WarnWhiteSpace Warning = "identifier-white-space" // white space around it
)

// maxSerial bounds the serial of our own identifiers.
const maxSerial = 22

// ReadIdentifier reads an identifier of any system: what can be read is returned with named warnings, what has not
// the shape at all is ErrForm. Not all identifiers in the field pass their own standard.
func ReadIdentifier(s string) (Identifier, []Warning, error) {
	var w []Warning
	if len(s) > 256 {
		return Identifier{}, nil, fmt.Errorf("%w: an identifier", ErrLength)
	}
	if t := strings.TrimSpace(s); t != s {
		s, w = t, append(w, WarnWhiteSpace)
	}
	if u := strings.ToUpper(s); u != s && len(u) == len(s) {
		s, w = u, append(w, WarnLowerCase)
	}
	rest, ok := strings.CutPrefix(s, Root+".")
	if !ok {
		return Identifier{}, nil, fmt.Errorf("%w: an identifier begins with %s", ErrForm, Root)
	}
	f := strings.Split(rest, ".")
	if len(f) != 5 || f[0] == "" || f[1] == "" || f[2] == "" || len(f[3]) != 3 || len(f[4]) != 1 {
		return Identifier{}, nil, fmt.Errorf("%w: five parts stand after the root", ErrForm)
	}
	if _, err := strconv.ParseUint(f[3], 10, 16); err != nil {
		return Identifier{}, nil, fmt.Errorf("%w: the version is three digits", ErrForm)
	}
	if value36(f[4][0]) < 0 {
		return Identifier{}, nil, fmt.Errorf("%w: the check character", ErrCharacter)
	}
	id := Identifier{TypeCode: f[0], Issuer: f[1], Serial: f[2], Version: f[3], Check: f[4][0]}
	want, err := id.check()
	if err != nil {
		return Identifier{}, nil, fmt.Errorf("%w: only 0-9 and A-Z stand in an identifier", ErrCharacter)
	}
	if len(id.TypeCode) != 21 || SocialCredit(id.TypeCode[:18]) != nil {
		w = append(w, WarnTypeCode)
	}
	switch {
	case SocialCredit(id.Issuer) == nil:
	case len(id.Issuer) == 6 && digits(id.Issuer):
		w = append(w, WarnRegion)
	default:
		w = append(w, WarnIssuer)
	}
	if len(id.Serial) > maxSerial {
		w = append(w, WarnSerial)
	}
	if id.Check != want {
		w = append(w, WarnCheck)
	}
	return id, w, nil
}

func digits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
