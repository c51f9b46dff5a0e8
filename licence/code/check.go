// Package code checks and builds the codes that licences carry: citizen id numbers, unified social credit codes, licence
// identifiers, sheet numbers, and the closed lists of ethnic groups, nationalities and regions. It imports nothing but
// a little of the standard library, so that a reader in a browser can carry it.
//
// No error of this package holds the value that was checked.
package code

import (
	"cmp"
	"errors"
	"fmt"
)

// What can be wrong with a code. Errors of this package wrap one of them.
var (
	ErrLength     = errors.New("code: wrong length")
	ErrCharacter  = errors.New("code: a character that cannot stand here")
	ErrCheckDigit = errors.New("code: the check character does not fit")
	ErrDate       = errors.New("code: not a real date")
	ErrRegion     = errors.New("code: no such province")
	ErrForm       = errors.New("code: wrong form")
)

var citizenWeights = [17]int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2}

const citizenChecks = "10X98765432"

// mod11 returns the check character of 17 digits, ISO 7064 MOD 11-2, for a number of 18 characters.
func mod11(s string) (check byte, err error) {
	if len(s) != 18 {
		return 0, fmt.Errorf("%w: 18 characters are needed", ErrLength)
	}
	sum := 0
	for i := 0; i < 17; i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, fmt.Errorf("%w: position %d", ErrCharacter, i+1)
		}
		sum += int(s[i]-'0') * citizenWeights[i]
	}
	if s[17] != 'X' && (s[17] < '0' || s[17] > '9') {
		return 0, fmt.Errorf("%w: position 18", ErrCharacter)
	}
	return citizenChecks[sum%11], nil
}

// CitizenID checks a citizen identity number: 17 digits and a check character (GB 11643-1999 4), a province that
// exists, a real birth date in digits 7–14, the check of ISO 7064 MOD 11-2. A lower-case x is refused: the standard
// knows only X.
func CitizenID(s string) error {
	want, err := mod11(s)
	if err != nil {
		return err
	}
	if !ProvinceKnown(s[:2]) {
		return ErrRegion
	}
	if !realDate(s[6:14]) || s[6:10] < "1800" {
		return ErrDate
	}
	if s[17] != want {
		return ErrCheckDigit
	}
	return nil
}

// realDate reports whether eight digits are a day of the calendar.
func realDate(yyyymmdd string) bool {
	n := 0
	for i := 0; i < 8; i++ {
		n = n*10 + int(yyyymmdd[i]-'0')
	}
	year, month, day := n/10000, n/100%100, n%100
	if month < 1 || month > 12 || day < 1 {
		return false
	}
	last := [12]int{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}[month-1]
	if month == 2 && year%4 == 0 && (year%100 != 0 || year%400 == 0) {
		last = 29
	}
	return day <= last
}

// CitizenBirthDate returns digits 7–14 as YYYY-MM-DD. The number must have passed CitizenID.
func CitizenBirthDate(s string) string { return s[6:10] + "-" + s[10:12] + "-" + s[12:14] }

// CitizenMale reports whether the order number (digit 17) is odd, GB 11643-1999 4.2.3. The number must have passed
// CitizenID.
func CitizenMale(s string) bool { return s[16]&1 == 1 }

const creditSymbols = "0123456789ABCDEFGHJKLMNPQRTUWXY"

var creditValues = func() (v [256]int8) {
	for i := range v {
		v[i] = -1
	}
	for i := 0; i < len(creditSymbols); i++ {
		v[creditSymbols[i]] = int8(i)
	}
	return v
}()

// SocialCreditCheck returns the check character of the first 17 characters of a unified social credit code,
// GB 32100-2015 5.
func SocialCreditCheck(first17 string) (byte, error) {
	if len(first17) != 17 {
		return 0, fmt.Errorf("%w: 17 characters stand before the check character", ErrLength)
	}
	sum, weight := 0, 1
	for i := 0; i < 17; i++ {
		v := creditValues[first17[i]]
		if v < 0 {
			return 0, fmt.Errorf("%w: position %d", ErrCharacter, i+1)
		}
		sum += int(v) * weight
		weight = weight * 3 % 31
	}
	return creditSymbols[(31-sum%31)%31], nil
}

// SocialCredit checks a unified social credit code: 18 of 31 symbols, digits 3–8 a region code, check character
// (GB 32100-2015 4 and 5).
func SocialCredit(s string) error {
	if len(s) != 18 {
		return fmt.Errorf("%w: a unified social credit code has 18 characters", ErrLength)
	}
	want, err := SocialCreditCheck(s[:17])
	if err != nil {
		return err
	}
	for i := 2; i < 8; i++ {
		if s[i] < '0' || s[i] > '9' {
			return fmt.Errorf("%w: position %d", ErrCharacter, i+1)
		}
	}
	if s[17] != want {
		return ErrCheckDigit
	}
	return nil
}

// Number checks a sheet number: one capital letter, the print batch, and nine digits of which the first two are a
// province (GB/T 2260) or 00, the mark of a demonstration. Any letter is accepted and no year is read from it.
func Number(s string) error {
	if len(s) != 10 {
		return fmt.Errorf("%w: a number is one letter and nine digits", ErrLength)
	}
	if s[0] < 'A' || s[0] > 'Z' {
		return fmt.Errorf("%w: position 1", ErrCharacter)
	}
	for i := 1; i < 10; i++ {
		if s[i] < '0' || s[i] > '9' {
			return fmt.Errorf("%w: position %d", ErrCharacter, i+1)
		}
	}
	if p := s[1:3]; p != "00" && !ProvinceKnown(p) {
		return ErrRegion
	}
	return nil
}

// DemonstrationNumber reports whether the number carries province digits 00. The number must have passed Number.
func DemonstrationNumber(s string) bool { return s[1:3] == "00" }

// Mask hides the middle of an identity document's number for a code that anybody may scan: at most the first three
// and the last two characters stay, of which together never more than a third; "*" for each other.
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

// RegionCode checks a county-level region code of GB/T 2260: six digits of a province that exists.
func RegionCode(s string) error {
	if len(s) != 6 {
		return fmt.Errorf("%w: a region code has six digits", ErrLength)
	}
	if !digits(s) {
		return ErrCharacter
	}
	if !ProvinceKnown(s[:2]) {
		return ErrRegion
	}
	return nil
}

// ResidencePermit checks the number of a residence permit: 港澳台居民居住证, built like a citizen identity number with
// province 81, 82 or 83; or a foreigner's permanent residence card, 18 digits beginning with 9 and the same check
// character, or the older 15 characters.
func ResidencePermit(s string) error {
	if len(s) == 15 {
		for i := 0; i < 3; i++ {
			if s[i] < 'A' || s[i] > 'Z' {
				return ErrCharacter
			}
		}
		if !digits(s[3:]) {
			return ErrCharacter
		}
		return nil
	}
	if len(s) == 18 && s[0] == '9' {
		if want, err := mod11(s); err != nil || want != s[17] {
			return cmp.Or(err, ErrCheckDigit)
		}
		return nil
	}
	if err := CitizenID(s); err != nil {
		return err
	}
	if s[:2] != "81" && s[:2] != "82" && s[:2] != "83" {
		return ErrRegion
	}
	return nil
}
