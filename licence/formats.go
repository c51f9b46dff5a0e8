package licence

import (
	"errors"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/elicence/elicence/licence/code"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// formatError is what a format says of a value, in both languages, without the value.
type formatError struct {
	code   string
	text   Text
	clause string
}

func (e *formatError) Error() string { return e.code }

func fault(code, zh, en, clause string) *formatError { return &formatError{code, Text{zh, en}, clause} }

var (
	faultDateTime = fault("format.date-time", "应为北京时间，形如 2026-10-01T08:30:00+08:00，且真实存在", "must be a real time in UTC+08:00 like 2026-10-01T08:30:00+08:00", "GB/T 7408.1-2023")
	faultDate     = fault("format.date", "应为真实日期，形如 2026-10-01", "must be a real date like 2026-10-01", "GB/T 7408.1-2023")
	faultName     = fault("format.person-name", "姓名含有不能出现的字符，或多余的空格、间隔号", "the name holds a character that cannot stand in it, or a surplus space or dot", "")
	faultText     = fault("format.text", "首尾不能有空格，中间不能连续空格", "no space at either end, no two together", "")
	faultRegion   = fault("format.region-code", "不是行政区划代码", "not a region code", "GB/T 2260-2007")
	faultEthnic   = fault("format.ethnic-group", "不是民族名称", "not the name of an ethnic group", "GB/T 3304-1991")
	faultNation   = fault("format.nationality", "不是国籍代码（三位字母）", "not a nationality (three letters)", "GB/T 2659.1-2022")
	faultPassport = fault("format.passport", "不是护照号码", "not a passport number", "ICAO 9303-4")
	faultHKMacao  = fault("format.hk-macao-permit", "不是港澳居民来往内地通行证号码", "not a number of a permit for residents of Hong Kong and Macao", "")
	faultTaiwan   = fault("format.taiwan-permit", "不是台湾居民来往大陆通行证号码", "not a number of a permit for residents of Taiwan", "")
	faultResident = fault("format.residence-permit", "不是居住证号码", "not a number of a residence permit", "")
	faultBusiness = fault("format.business-id", "业务编号只能用字母、数字和 - _ . : /，1 至 64 位", "letters, digits and - _ . : / only, 1 to 64 of them", "")
)

var (
	passportForm = regexp.MustCompile(`^[A-Z0-9]{5,15}$`)
	hkMacaoForm  = regexp.MustCompile(`^[HM][0-9]{8}([0-9]{2})?$`)
	taiwanForm   = regexp.MustCompile(`^[0-9]{8}([0-9]{2}\([A-Z]\))?$`)
	businessForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$`)
)

// formats are the words for "format" in a type's schema. Each judges strings only; another type is the schema's matter.
func formats() []*jsonschema.Format {
	simple := func(name string, bad *formatError, ok func(string) bool) *jsonschema.Format {
		return &jsonschema.Format{Name: name, Validate: func(v any) error {
			if s, isText := v.(string); isText && !ok(s) {
				return bad
			}
			return nil
		}}
	}
	coded := func(name, zh, en, clause string, check func(string) error) *jsonschema.Format {
		bad := map[error]*formatError{}
		for sentinel, why := range codeFaults {
			bad[sentinel] = fault("format."+name+"."+why.suffix, zh+why.ZH, en+": "+why.EN, clause)
		}
		return &jsonschema.Format{Name: name, Validate: func(v any) error {
			s, isText := v.(string)
			if !isText {
				return nil
			}
			err := check(s)
			if err == nil {
				return nil
			}
			for sentinel, f := range bad {
				if errors.Is(err, sentinel) {
					return f
				}
			}
			return bad[code.ErrForm]
		}}
	}
	return []*jsonschema.Format{
		coded("citizen-id", "公民身份号码", "citizen identity number", "GB 11643-1999 4", code.CitizenID),
		coded("social-credit-code", "统一社会信用代码", "unified social credit code", "GB 32100-2015 4", code.SocialCredit),
		coded("licence-number", "证件编号", "licence number", "GB/T 2260-2007", code.Number),
		simple("date-time", faultDateTime, isDateTime),
		simple("date", faultDate, isDate),
		simple("person-name", faultName, isPersonName),
		simple("text", faultText, isText),
		simple("region-code", faultRegion, func(s string) bool { return code.RegionCode(s) == nil }),
		simple("ethnic-group", faultEthnic, func(s string) bool { return s == "/" || code.EthnicKnown(s) }),
		simple("nationality", faultNation, func(s string) bool { return code.NationalityName(s) != "" }),
		simple("passport", faultPassport, passportForm.MatchString),
		simple("hk-macao-permit", faultHKMacao, hkMacaoForm.MatchString),
		simple("taiwan-permit", faultTaiwan, taiwanForm.MatchString),
		simple("residence-permit", faultResident, func(s string) bool { return code.ResidencePermit(s) == nil }),
		simple("business-id", faultBusiness, businessForm.MatchString),
	}
}

type codeFault struct {
	suffix string
	Text
}

var codeFaults = map[error]codeFault{
	code.ErrLength:     {"length", Text{"位数不对", "wrong length"}},
	code.ErrCharacter:  {"character", Text{"含有不能出现的字符", "a character that cannot stand there"}},
	code.ErrCheckDigit: {"check", Text{"校验码不对", "the check character does not fit"}},
	code.ErrDate:       {"date", Text{"日期不存在", "its date does not exist"}},
	code.ErrRegion:     {"region", Text{"省级代码不存在", "its province does not exist"}},
	code.ErrForm:       {"form", Text{"格式不对", "wrong form"}},
}

func isDateTime(s string) bool {
	if len(s) != len("2026-10-01T08:30:00+08:00") || !strings.HasSuffix(s, "+08:00") || s[10] != 'T' {
		return false
	}
	t, err := time.Parse(time.RFC3339, s)
	return err == nil && t.Year() >= 1900
}

func isDate(s string) bool {
	t, err := time.Parse(time.DateOnly, s)
	return err == nil && len(s) == 10 && t.Year() >= 1850
}

// isPersonName accepts letters and marks of any script, and between them single spaces, middle dots, hyphens,
// apostrophes, and full stops after a letter.
func isPersonName(s string) bool {
	joint := true // a joint may not stand first, nor beside another
	for _, r := range s {
		switch {
		case unicode.IsLetter(r) || unicode.IsMark(r) && !joint || r == '〇':
			joint = false
		case r == ' ' || r == '·' || r == '-' || r == '\'' || r == '’' || r == '.':
			if joint && r != ' ' {
				return false
			}
			if joint {
				return false
			}
			joint = r != '.'
		default:
			return false
		}
	}
	return !joint
}

func isText(s string) bool {
	if s == "" || s[0] == ' ' || s[len(s)-1] == ' ' {
		return false
	}
	return !strings.Contains(s, "  ")
}
