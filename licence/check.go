package licence

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/elicence/elicence/licence/code"
	"golang.org/x/text/unicode/norm"
)

// Input is one request, who asks, and what is known beside it.
type Input struct {
	Raw    []byte       // one JSON object, at most MaxRequest bytes
	Issuer Organisation // who is signed in: the request never chooses its issuer
	Now    time.Time
	Strict bool   // warnings refuse, too
	Clerk  string // person id

	// Registered says that the receiving authority has registered the matter already; the request may say so, too.
	Registered bool
	// Record is what the issuer's own system (HIS) says of the same matter, by pointer. A value unlike it stops the
	// request until its identityCheck tells how the person was identified; then it is a warning.
	Record map[string]string
	// Replaced is the licence that the request replaces, if this installation knows it.
	Replaced *Replaced
}

// Replaced is a licence that is to be replaced.
type Replaced struct {
	Number   string
	Type     string
	State    State
	Document map[string]any // canonical
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
	unsound := c.unsound()
	name, _ := document["kind"].(string)
	spec, ok := t.Kinds[name]
	if !ok && name != "" {
		c.add("/kind", "enum", Text{"没有这种签发类别", "there is no such kind of issue"}, "")
	}
	c.issuer(in)
	told, _ := document["householdRegistered"].(bool)
	registered := in.Registered || told
	s := t.Scope(Values{Document: document, Issuer: in.Issuer, Now: in.Now, IssueTime: in.Now})
	for i := range t.rules {
		r := &t.rules[i]
		if r.readsAny(unsound) {
			continue
		}
		broken, err := r.broken(name, s)
		if err != nil {
			return Draft{}, nil, fmt.Errorf("rule %s: %w", r.finding.Code, err)
		}
		if broken {
			c.findings = append(c.findings, r.finding)
		}
	}
	if ok {
		c.needs(spec, document, registered)
		c.replaced(spec, document, in.Replaced)
	}
	c.record(document, in.Record)
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

// checking collects the findings of one request.
type checking struct {
	t        *Type
	findings []Finding
}

func (c *checking) add(pointer, code string, text Text, clause string) {
	c.findings = append(c.findings, Finding{Pointer: pointer, Code: code, ZH: text.ZH, EN: text.EN, Clause: clause})
}

func (c *checking) warn(pointer, code string, text Text, clause string) {
	c.findings = append(c.findings, Finding{pointer, code, text.ZH, text.EN, clause, true})
}

// labelled puts the field's name before the words, where the type gives it one.
func (c *checking) labelled(pointer string, text Text) Text {
	if l, ok := c.t.Labels[pointer]; ok {
		return Text{l.ZH + "：" + text.ZH, l.EN + ": " + text.EN}
	}
	return text
}

// unsound lists the pointers that have faults already. A rule that reads one would only say the same again, or
// something wrong. Keys that should not be there hurt nothing else.
func (c *checking) unsound() []string {
	var out []string
	for _, f := range c.findings {
		if !f.Warning && f.Code != "json.unknown-key" && f.Code != "json.duplicate-key" {
			out = append(out, f.Pointer)
		}
	}
	return out
}

// sort orders findings and drops repetitions: two branches of a schema may say the same thing.
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

// textFault is a fault that the reader finds before any schema is asked.
type textFault struct {
	Text
	clause string
}

var textFaults = map[string]textFault{
	"json.size":            {Text{"请求超过 64 KiB", "the request is larger than 64 KiB"}, ""},
	"json.syntax":          {Text{"不是合法的 JSON", "not valid JSON"}, "RFC 8259"},
	"json.bounds":          {Text{"嵌套过深或内容过多", "nested too deep, or too many values"}, ""},
	"json.object":          {Text{"请求须为一个 JSON 对象", "a request is one JSON object"}, ""},
	"json.duplicate-key":   {Text{"同一键出现两次", "a key stands twice"}, "RFC 7493 2.3"},
	"json.integer":         {Text{"须为整数，不带小数点和指数", "must be a whole number without fraction or exponent"}, "RFC 7493 2.2"},
	"text.nfc":             {Text{"文字须为 Unicode NFC 规范形式", "text must be in Unicode normalisation form C"}, "UAX 15"},
	"text.character":       {Text{"含有控制、私用、未编码或不可见字符", "holds a control, private-use, unassigned or invisible character"}, "GB 18030-2022"},
	"text.beyond-gb-18030": {Text{"含有 GB 18030-2022 实现级别 3 以外的汉字，可能无法打印", "holds a Chinese character beyond implementation level 3, which may not print"}, "GB 18030-2022"},
}

func (c *checking) plain(pointer, code string) {
	f := textFaults[code]
	c.add(pointer, code, c.labelled(pointer, f.Text), f.clause)
}

func (c *checking) read(raw []byte) map[string]any {
	if len(raw) > MaxRequest {
		c.plain("", "json.size")
		return nil
	}
	r := reader{in: raw, known: c.t.known, note: c.plain, text: c.text}
	v, err := r.document()
	if err != nil {
		c.findings = nil
		c.plain("", err.Error())
		return nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		c.findings = nil
		c.plain("", "json.object")
	}
	return m
}

// text judges the characters of one string. Every character of GB 18030-2022 is taken, however rare; what nobody can
// see is not, and a Chinese character that not every system can print is warned of: a missing glyph stops the licence
// later, before a number is used.
func (c *checking) text(pointer, s string) {
	ascii := true
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] >= 0x7F {
			ascii = false
			break
		}
	}
	if ascii {
		return
	}
	if !norm.NFC.IsNormalString(s) {
		c.plain(pointer, "text.nfc")
	}
	visible, printable := true, true
	for _, r := range s {
		switch {
		case r >= 0x4E00 && r <= 0x9FEF || r >= 0x20 && r < 0x7F:
		case !unicode.IsPrint(r) || unicode.In(r, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point):
			visible = false
		case !IsGB18030Hanzi(r) && r != '〇' && unicode.Is(unicode.Han, r):
			printable = false
		}
	}
	if !visible {
		c.plain(pointer, "text.character")
	}
	if !printable {
		f := textFaults["text.beyond-gb-18030"]
		c.warn(pointer, "text.beyond-gb-18030", c.labelled(pointer, f.Text), f.clause)
	}
}

// alias brings other words for the same thing to the one of the canonical form, so that they cannot make two digests.
func (c *checking) alias(document map[string]any) {
	for from, to := range c.t.aliases {
		v, ok := document[from]
		if !ok {
			continue
		}
		delete(document, from)
		if old, both := document[to]; both && !equalScalar(old, v) {
			c.add("/"+from, "alias.differs", Text{"与另一名称的同一项内容不一致", "the same thing under its other name says otherwise"}, "")
			continue
		}
		document[to] = v
	}
}

func equalScalar(a, b any) bool {
	switch a.(type) {
	case map[string]any, []any:
		return false
	}
	switch b.(type) {
	case map[string]any, []any:
		return false
	}
	return a == b
}

// issuer refuses what no request can change: who is signed in.
func (c *checking) issuer(in Input) {
	switch in.Issuer.Kind {
	case Commission, Police, Archive:
		c.add("", "issuer.kind", Text{"该机构不签发证件", "this organisation issues no licences"}, "")
	}
	if code.SocialCredit(in.Issuer.Code) != nil {
		c.add("", "issuer.code", Text{"签发机构没有有效的统一社会信用代码", "the issuer has no valid unified social credit code"}, "GB 32100-2015 4")
	}
}

// needs checks what the kind of issue asks for.
func (c *checking) needs(k KindSpec, document map[string]any, registered bool) {
	wants := func(key string, wanted bool, missing Text) {
		_, given := document[key]
		if given && !wanted {
			c.add("/"+key, "forbidden", c.labelled("/"+key, schemaTexts["forbidden"]), "")
		}
		if !given && wanted {
			c.add("/"+key, "required", missing, "")
		}
	}
	wants("replaces", k.Replaces, Text{"换发、补发须写明原证编号", "the number of the replaced licence is needed"})
	wants("paper", k.Paper, Text{"补录须写明纸质证件的编号和签发日期", "number and date of the paper are needed"})
	if !k.Replaces {
		wants("returned", false, Text{})
	}
	if k.Grounds != nil {
		word, ok := document["grounds"].(string)
		if _, known := k.Grounds[word]; !ok {
			c.add("/grounds", "required", Text{"须写明事由", "a ground is needed"}, "")
		} else if !known {
			c.add("/grounds", "grounds.unknown", Text{
				"事由须为：" + strings.Join(slices.Sorted(maps.Keys(k.Grounds)), "、"),
				"the grounds are " + strings.Join(slices.Sorted(maps.Keys(k.Grounds)), ", "),
			}, "")
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

// replaced compares a replacing request with the licence that it replaces.
func (c *checking) replaced(k KindSpec, document map[string]any, old *Replaced) {
	number, ok := document["replaces"].(string)
	if !k.Replaces || !ok || old == nil {
		return
	}
	switch {
	case number != old.Number:
		c.add("/replaces", "replaces.other", Text{"不是要取代的证件", "is not the licence at hand"}, "")
		return
	case old.Type != c.t.Name:
		c.add("/replaces", "replaces.type", Text{"原证不是同类证件", "the replaced licence is of another type"}, "")
		return
	}
	if err := old.State.Step(Superseded); err != nil {
		words := old.State.Words()
		c.add("/replaces", "replaces.state", Text{"原证" + words.ZH + "，不能再换发、补发", "the replaced licence is " + words.EN + " already"}, "")
	}
	differ := c.t.Differences(old.Document, document)
	word, _ := document["grounds"].(string)
	switch {
	case k.Content == "same" || k.Grounds[word].SameContent:
		for _, p := range differ {
			c.add(p, "content.differs", c.labelled(p, Text{"须与原证完全一致；内容变更请换发", "must be exactly the old content; exchange the licence to change it"}), "")
		}
	case len(differ) == 0:
		c.warn("", "content.same", Text{"换发内容与原证完全相同", "the new content is exactly the old one"}, "")
	}
}

// record compares with the issuer's own record: a mother unlike the admission record is stopped until there is evidence.
func (c *checking) record(document map[string]any, record map[string]string) {
	identified := false
	if s, ok := document["identityCheck"].(string); ok && s != "" {
		identified = true
	}
	for _, p := range slices.Sorted(maps.Keys(record)) {
		if s, ok := Value(document, p).(string); !ok || s == record[p] {
			continue
		}
		text := c.labelled(p, Text{"与住院登记不一致，须先核实身份", "unlike the admission record: identify the person first"})
		if identified {
			c.warn(p, "record.differs", text, "")
		} else {
			c.add(p, "record.differs", text, "")
		}
	}
}
