package licence

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/unicode/norm"
)

// Input is one request and who asks.
type Input struct {
	Raw    []byte       // one JSON object, at most MaxRequest bytes
	Issuer Organisation // who is signed in: the request never chooses its issuer
	Now    time.Time
	Strict bool   // warnings refuse, too
	Clerk  string // person id
	// Registered says that the receiving authority has registered the matter already; the request may say so, too.
	Registered bool
}

// Check judges a request by its type and makes the draft. All faults are told at once, in order of pointers; warnings
// alone leave a draft, unless Strict. The error is ErrRefused when the findings refuse, and ErrType when the type
// itself is at fault; findings never hold a value of the document. It is safe for concurrent use.
func Check(t *Type, in Input) (Draft, []Finding, error) {
	c := checking{t: t}
	document := c.read(in.Raw)
	if document == nil {
		return c.refuse()
	}
	c.alias(document)
	c.schema(document)
	clean := len(c.findings) == 0
	name, _ := document["kind"].(string)
	spec, ok := t.Kinds[name]
	told, _ := document["householdRegistered"].(bool)
	registered := in.Registered || told
	if !ok && name != "" && !c.has("/kind") {
		c.add("/kind", "kind.unknown", Text{"没有这种签发类别", "there is no such kind of issue"}, "")
	}
	s := t.Scope(Values{Document: document, Issuer: in.Issuer, Now: in.Now, IssueTime: in.Now})
	for i := range t.rules {
		f, err := t.rules[i].judge(name, s)
		if err != nil && clean {
			return Draft{}, nil, fmt.Errorf("rule %s: %w", t.rules[i].finding.Code, err)
		}
		if f != nil {
			c.findings = append(c.findings, *f)
		}
	}
	if ok {
		c.needs(spec, document, registered)
	}
	c.sort()
	if Refused(c.findings) || in.Strict && len(c.findings) > 0 {
		return c.refuse()
	}
	names := t.PartsOf(name, registered)
	parts := make([]PartSpec, len(names))
	for i, n := range names {
		parts[i], _ = t.Part(n)
	}
	d, err := t.newDraft(in, document, spec, parts, c.findings)
	return d, c.findings, err
}

type checking struct {
	t        *Type
	findings []Finding
}

func (c *checking) add(pointer, code string, text Text, clause string) {
	c.findings = append(c.findings, Finding{Pointer: pointer, Code: code, ZH: text.ZH, EN: text.EN, Clause: clause})
}

func (c *checking) has(pointer string) bool {
	return slices.ContainsFunc(c.findings, func(f Finding) bool { return f.Pointer == pointer })
}

func (c *checking) sort() {
	slices.SortStableFunc(c.findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Pointer, b.Pointer), cmp.Compare(a.Code, b.Code))
	})
	c.findings = slices.CompactFunc(c.findings, func(a, b Finding) bool { return a.Pointer == b.Pointer && a.Code == b.Code })
}

func (c *checking) refuse() (Draft, []Finding, error) {
	c.sort()
	return Draft{}, c.findings, fmt.Errorf("%w: %d findings", ErrRefused, len(c.findings))
}

var jsonFaults = map[string]Text{
	"json.size":          {"请求过大", "the request is too large"},
	"json.syntax":        {"不是合法的 JSON", "not valid JSON"},
	"json.object":        {"请求须为一个 JSON 对象", "a request is one JSON object"},
	"json.duplicate-key": {"键重复", "a key stands twice"},
	"json.integer":       {"须为整数，不带小数点和指数", "must be a whole number without fraction or exponent"},
	"json.unknown-key":   {"有未知的键", "holds an unknown key"},
	"text.nfc":           {"文字须为 Unicode NFC 规范形式", "text must be in Unicode normalisation form C"},
	"text.character":     {"含有控制、私用、未编码或不可见字符", "holds a control, private-use, unassigned or invisible character"},
}

func (c *checking) read(raw []byte) map[string]any {
	plain := func(pointer, code string) { c.add(pointer, code, jsonFaults[code], "") }
	if len(raw) > MaxRequest {
		plain("", "json.size")
		return nil
	}
	r := reader{in: raw, known: c.t.known, note: plain, text: func(pointer, s string) {
		if !norm.NFC.IsNormalString(s) {
			plain(pointer, "text.nfc")
		}
		if !printable(s) {
			plain(pointer, "text.character")
		}
	}}
	v, err := r.document()
	if err != nil {
		c.findings = nil
		plain("", "json.syntax")
		return nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		plain("", "json.object")
	}
	return m
}

// printable reports whether every character is assigned, visible and of common use: GB 18030-2022 encodes the others,
// too, but nobody can read or print them.
func printable(s string) bool {
	for _, r := range s {
		if r < 0x7F {
			if r < 0x20 {
				return false
			}
			continue
		}
		if r != ' ' && !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

func (c *checking) alias(document map[string]any) {
	for from, to := range c.t.aliases {
		v, ok := document[from]
		if !ok {
			continue
		}
		delete(document, from)
		if old, both := document[to]; both && old != v {
			c.add("/"+from, "alias.differs", Text{"与另一名称的同一项内容不一致", "the same thing under its other name says otherwise"}, "")
			continue
		}
		document[to] = v
	}
}

func (c *checking) schema(document map[string]any) {
	err := c.t.schema.Validate(document)
	var v *jsonschema.ValidationError
	if errors.As(err, &v) {
		c.schemaFaults(v)
	}
}

var schemaTexts = map[string]Text{
	"required":  {"必须填写", "is needed"},
	"type":      {"类型不对", "is of the wrong type"},
	"enum":      {"不在允许的取值之内", "is not one of the allowed words"},
	"range":     {"超出可能的范围", "is outside of what is possible"},
	"length":    {"长度不对", "is too short or too long"},
	"form":      {"格式不对", "has the wrong form"},
	"forbidden": {"此处不得填写", "may not be given here"},
	"schema":    {"不符合要求", "does not fit"},
}

func (c *checking) schemaFaults(v *jsonschema.ValidationError) {
	if len(v.Causes) > 0 {
		for _, cause := range v.Causes {
			c.schemaFaults(cause)
		}
		return
	}
	var b strings.Builder
	for _, k := range v.InstanceLocation {
		b.WriteString("/" + escapePointer(k))
	}
	p := b.String()
	plain := func(code string) { c.add(p, code, schemaTexts[code], "") }
	switch k := v.ErrorKind.(type) {
	case *kind.Required:
		for _, m := range k.Missing {
			c.add(p+"/"+escapePointer(m), "required", schemaTexts["required"], "")
		}
	case *kind.AdditionalProperties:
		c.add(p, "json.unknown-key", jsonFaults["json.unknown-key"], "")
	case *kind.Type:
		plain("type")
	case *kind.Enum, *kind.Const:
		plain("enum")
	case *kind.Minimum, *kind.Maximum, *kind.ExclusiveMinimum, *kind.ExclusiveMaximum:
		plain("range")
	case *kind.MinLength, *kind.MaxLength, *kind.MinProperties, *kind.MaxProperties:
		plain("length")
	case *kind.Pattern:
		plain("form")
	case *kind.FalseSchema:
		plain("forbidden")
	case *kind.Format:
		var f *formatError
		if errors.As(k.Err, &f) {
			c.add(p, f.code, f.text, "")
			return
		}
		plain("form")
	default:
		plain("schema")
	}
}

// needs checks what the kind of issue asks for.
func (c *checking) needs(k KindSpec, document map[string]any, registered bool) {
	given := func(key string) bool { _, ok := document[key]; return ok }
	if k.Replaces && !given("replaces") {
		c.add("/replaces", "required", Text{"换发、补发须写明原证编号", "the number of the replaced licence is needed"}, "")
	}
	if !k.Replaces && given("replaces") {
		c.add("/replaces", "forbidden", schemaTexts["forbidden"], "")
	}
	if k.Paper && !given("paper") {
		c.add("/paper", "required", Text{"补录须写明纸质证件的编号和签发日期", "number and date of the paper are needed"}, "")
	}
	if !k.Paper && given("paper") {
		c.add("/paper", "forbidden", schemaTexts["forbidden"], "")
	}
	if k.Grounds != nil {
		g, ok := document["grounds"].(string)
		if _, known := k.Grounds[g]; !ok {
			c.add("/grounds", "required", Text{"须写明事由", "a ground is needed"}, "")
		} else if !known {
			c.add("/grounds", "grounds.unknown", Text{"不是规定的事由", "is not one of the grounds allowed"}, "")
		}
	}
	must := k.Returned
	if registered {
		must = k.ReturnedIfRegistered
	}
	returned, _ := document["returned"].(map[string]any)
	for _, p := range must {
		if yes, _ := returned[p].(bool); !yes {
			c.add("/returned/"+escapePointer(p), "returned.missing", Text{"原证此联须收回", "this old part must have come back"}, "")
		}
	}
}
