package licence

import (
	"errors"
	"time"

	"github.com/elicence/elicence/licence/code"
	"github.com/elicence/elicence/licence/region"
	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

// Functions of rules and layouts. Texts of time are RFC 3339 or a date YYYY-MM-DD and are read in UTC+08:00.
//
//	age(birthDate, at) int          full years at a time: 年龄 is the age at the child's birth
//	year(t) month(t) day(t) hour(t) minute(t) int
//	months(from, to) int            full months from one time to another, negative when to is earlier
//	days(from, to) int              calendar days
//	minutes(from, to) int
//	date(t) string                  YYYY-MM-DD
//	pad2(n) string                  two digits
//	nationality(alpha3), idType(word) string                    names in Chinese, "" if unknown
//	box(idType) int                                             tick box: 1 identity card, 2 passport, 3 others
//	province(code), city(code), county(code) string             of a region code, in full, "" if there is none
//	short(name) string                                          province or city without 省, 市, 自治区
//	placeKnown(code) bool, placeAgrees(code, text) bool
//	citizenDate(id) string, citizenMale(id) bool                of a citizen identity number
//	mask(number) string
//	han(name) bool, mixed(name) bool                            all Chinese; Chinese and other letters
//	uncommon(name) bool                                         a character outside 通用规范汉字表
//	surname(name), givenName(name) string                       of a Chinese name; surname is "" for others
//	sameSurname(name, other) bool                               or one of them has no Chinese surname
func functions() []cel.EnvOption {
	s, i, b := cel.StringType, cel.IntType, cel.BoolType
	return []cel.EnvOption{
		binary("age", i, func(a, c string) (ref.Val, error) { return count(age(a, c)) }),
		binary("months", i, func(a, c string) (ref.Val, error) { return count(months(a, c)) }),
		binary("days", i, func(a, c string) (ref.Val, error) { return count(days(a, c)) }),
		binary("minutes", i, func(a, c string) (ref.Val, error) { return count(minutes(a, c)) }),
		unary("year", i, func(a string) (ref.Val, error) { t, err := moment(a); return types.Int(t.Year()), err }),
		unary("month", i, func(a string) (ref.Val, error) { t, err := moment(a); return types.Int(t.Month()), err }),
		unary("day", i, func(a string) (ref.Val, error) { t, err := moment(a); return types.Int(t.Day()), err }),
		unary("hour", i, func(a string) (ref.Val, error) { t, err := moment(a); return types.Int(t.Hour()), err }),
		unary("minute", i, func(a string) (ref.Val, error) { t, err := moment(a); return types.Int(t.Minute()), err }),
		unary("date", s, func(a string) (ref.Val, error) {
			t, err := moment(a)
			return types.String(t.Format(time.DateOnly)), err
		}),
		unary("nationality", s, plain(code.NationalityName)),
		unary("idType", s, plain(code.IDTypeName)),
		unary("box", i, func(a string) (ref.Val, error) { return types.Int(code.IDTypeBox(a)), nil }),
		unary("province", s, func(a string) (ref.Val, error) { p, _ := region.Lookup(a); return types.String(p.Province), nil }),
		unary("city", s, func(a string) (ref.Val, error) { p, _ := region.Lookup(a); return types.String(p.City), nil }),
		unary("county", s, func(a string) (ref.Val, error) { p, _ := region.Lookup(a); return types.String(p.County), nil }),
		unary("short", s, plain(region.Short)),
		unary("placeKnown", b, func(a string) (ref.Val, error) { _, known := region.Lookup(a); return types.Bool(known), nil }),
		binary("placeAgrees", b, func(a, c string) (ref.Val, error) { return types.Bool(region.Agrees(a, c)), nil }),
		unary("mask", s, plain(code.Mask)),
		unary("surname", s, plain(surname)),
		unary("givenName", s, plain(givenName)),
		unary("citizenDate", s, func(a string) (ref.Val, error) {
			if err := code.CitizenID(a); err != nil {
				return nil, err
			}
			return types.String(code.CitizenBirthDate(a)), nil
		}),
		unary("citizenMale", b, func(a string) (ref.Val, error) {
			if err := code.CitizenID(a); err != nil {
				return nil, err
			}
			return types.Bool(code.CitizenMale(a)), nil
		}),
		unary("han", b, func(a string) (ref.Val, error) { return types.Bool(isHan(a)), nil }),
		unary("mixed", b, func(a string) (ref.Val, error) { return types.Bool(isMixed(a)), nil }),
		unary("uncommon", b, func(a string) (ref.Val, error) { return types.Bool(isUncommon(a)), nil }),
		binary("sameSurname", b, func(a, c string) (ref.Val, error) { return types.Bool(sameSurname(a, c)), nil }),
		cel.Function("pad2", cel.Overload("pad2_int", []*cel.Type{i}, s, cel.UnaryBinding(func(v ref.Val) ref.Val {
			n, ok := v.(types.Int)
			if !ok || n < 0 || n > 99 {
				return types.NewErr("pad2")
			}
			return types.String([]byte{byte('0' + n/10), byte('0' + n%10)})
		}))),
	}
}

func unary(name string, result *cel.Type, f func(string) (ref.Val, error)) cel.EnvOption {
	return cel.Function(name, cel.Overload(name+"_string", []*cel.Type{cel.StringType}, result,
		cel.UnaryBinding(func(v ref.Val) ref.Val {
			s, ok := v.(types.String)
			if !ok {
				return types.MaybeNoSuchOverloadErr(v)
			}
			out, err := f(string(s))
			if err != nil {
				return types.NewErr("%s", name)
			}
			return out
		})))
}

func binary(name string, result *cel.Type, f func(a, b string) (ref.Val, error)) cel.EnvOption {
	return cel.Function(name, cel.Overload(name+"_string_string", []*cel.Type{cel.StringType, cel.StringType}, result,
		cel.BinaryBinding(func(l, r ref.Val) ref.Val {
			a, ok := l.(types.String)
			b, ok2 := r.(types.String)
			if !ok || !ok2 {
				return types.NewErr("%s", name)
			}
			out, err := f(string(a), string(b))
			if err != nil {
				return types.NewErr("%s", name)
			}
			return out
		})))
}

func plain(f func(string) string) func(string) (ref.Val, error) {
	return func(a string) (ref.Val, error) { return types.String(f(a)), nil }
}

func count(n int, err error) (ref.Val, error) { return types.Int(n), err }

var errMoment = errors.New("licence: not a time")

// moment reads a date or a time in UTC+08:00.
func moment(s string) (time.Time, error) {
	if len(s) == len(time.DateOnly) {
		t, err := time.ParseInLocation(time.DateOnly, s, Zone)
		if err != nil {
			return time.Time{}, errMoment
		}
		return t, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, errMoment
	}
	return t.In(Zone), nil
}

func two(a, b string) (from, to time.Time, err error) {
	if from, err = moment(a); err != nil {
		return from, to, err
	}
	to, err = moment(b)
	return from, to, err
}

// age counts full years as 民法典 and the form do: one more on each birthday; who is born on 29 February has it on
// 1 March in other years.
func age(birth, at string) (int, error) {
	from, to, err := two(birth, at)
	if err != nil {
		return 0, err
	}
	n := to.Year() - from.Year()
	if to.Month() < from.Month() || to.Month() == from.Month() && to.Day() < from.Day() {
		n--
	}
	return n, nil
}

// months counts full calendar months; the last day of a shorter month completes one.
func months(a, b string) (int, error) {
	from, to, err := two(a, b)
	if err != nil {
		return 0, err
	}
	if to.Before(from) {
		n, err := months(b, a)
		return -n, err
	}
	n := (to.Year()-from.Year())*12 + int(to.Month()) - int(from.Month())
	last := to.AddDate(0, 0, 1).Month() != to.Month()
	fromOfDay := from.Sub(time.Date(from.Year(), from.Month(), from.Day(), 0, 0, 0, 0, Zone))
	toOfDay := to.Sub(time.Date(to.Year(), to.Month(), to.Day(), 0, 0, 0, 0, Zone))
	if d := to.Day() - from.Day(); d < 0 && !last || d <= 0 && toOfDay < fromOfDay {
		n--
	}
	return n, nil
}

func days(a, b string) (int, error) {
	from, to, err := two(a, b)
	if err != nil {
		return 0, err
	}
	midnight := func(t time.Time) time.Time {
		return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	}
	return int(midnight(to).Sub(midnight(from)) / (24 * time.Hour)), nil
}

func minutes(a, b string) (int, error) {
	from, to, err := two(a, b)
	if err != nil {
		return 0, err
	}
	return int(to.Sub(from) / time.Minute), nil
}
