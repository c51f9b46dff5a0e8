package licence

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/licence/code"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
	"golang.org/x/text/unicode/norm"
)

// PartSpec is one part of a licence: one signed file.
type PartSpec struct {
	Name    string `yaml:"name"` // main, counterfoil, …
	Title   Text   `yaml:"title"`
	Custody string `yaml:"custody"` // family, transferable, issuer: the words of ledger/contract
}

// Words for the kinds of issue that the house knows how to handle. A type names those it has.
const (
	KindFirst       = "first"       // 首次签发
	KindExchange    = "exchange"    // 换发: new licence for changed or wrong content
	KindReplacement = "replacement" // 补发: new licence for one lost by the family
	KindBackfile    = "backfile"    // electronic parts for a paper issued earlier
)

// KindSpec is what one kind of issue needs and makes.
type KindSpec struct {
	Name     string   `yaml:"-"`
	Title    Text     `yaml:"title"`
	Stock    bool     `yaml:"stock"`    // takes a number from stock
	Replaces bool     `yaml:"replaces"` // names the licence that it replaces; other kinds may not
	Content  string   `yaml:"content"`  // "new"; "same": exactly the replaced licence's
	Paper    bool     `yaml:"paper"`    // repeats number and date of a paper; other kinds may not
	Parts    []string `yaml:"parts"`    // made
	Returned []string `yaml:"returned"` // old parts that must have come back

	// Grounds is the closed list of grounds, one of which must be given; nil: free words may be given.
	Grounds map[string]Ground `yaml:"grounds"`

	// The same once the matter is registered with the receiving authority: it keeps its part, and needs no other.
	PartsIfRegistered    []string `yaml:"partsIfRegistered"`
	ReturnedIfRegistered []string `yaml:"returnedIfRegistered"`
}

// Ground is one named ground of an exchange or a replacement.
type Ground struct {
	Text        `yaml:",inline"`
	SameContent bool `yaml:"sameContent"` // the paper is at fault and not its content
}

// ClearField is a value that the credential carries in the clear, beside the root of the field tree.
type ClearField struct {
	Key     string `yaml:"key"`
	Pointer string `yaml:"pointer"`
	Mask    bool   `yaml:"mask"` // code.Mask before it enters
	Label   Text   `yaml:"label"`
}

// SearchField is a value by which licences are found; records keep only a keyed tag of it.
type SearchField struct {
	Name    string `yaml:"name"`
	Pointer string `yaml:"pointer"`
}

// Type is a licence type, read from data. It is safe for concurrent use and must not be changed.
type Type struct {
	Name          string
	Title         Text
	TypeCode      string // 21 characters, GB/T 36904-2018
	SchemaVersion int
	Parts         []PartSpec
	Kinds         map[string]KindSpec
	Fields        []string // JSON pointers in the order of the field tree's leaves; absent ones are null leaves
	Process       []string // pointers that are recorded with the request and are no part of the licence
	Clear         []ClearField
	Search        []SearchField
	Labels        map[string]Text // by pointer

	aliases map[string]string // top-level key → the one that is meant
	schema  *jsonschema.Schema
	known   map[string]string // every key that any object of the schema may have
	top     map[string]bool   // top-level key → holds an object
	env     *environment
	rules   []rule
}

type fieldYAML struct {
	Pointer string `yaml:"pointer"`
	ZH      string `yaml:"zh"`
	EN      string `yaml:"en"`
}

type ruleYAML struct {
	Code    string   `yaml:"code"`
	At      string   `yaml:"at"`
	Kinds   []string `yaml:"kinds"`
	When    string   `yaml:"when"`
	That    string   `yaml:"that"`
	Warning bool     `yaml:"warning"`
	ZH      string   `yaml:"zh"`
	EN      string   `yaml:"en"`
	Clause  string   `yaml:"clause"`
}

type typeYAML struct {
	Name          string              `yaml:"name"`
	Title         Text                `yaml:"title"`
	TypeCode      string              `yaml:"typeCode"`
	SchemaVersion int                 `yaml:"schemaVersion"`
	Parts         []PartSpec          `yaml:"parts"`
	Kinds         map[string]KindSpec `yaml:"kinds"`
	Aliases       map[string]string   `yaml:"aliases"`
	Fields        []fieldYAML         `yaml:"fields"`
	Process       []fieldYAML         `yaml:"process"`
	Clear         []ClearField        `yaml:"clear"`
	Search        []SearchField       `yaml:"search"`
	Rules         []ruleYAML          `yaml:"rules"`
}

// ParseType reads a licence type: type.yaml and the JSON Schema (2020-12) of its requests. All that can be wrong with
// a type is found here and wraps ErrType: schema and expressions are compiled, every scalar of the schema must stand
// in fields or process, and every pointer must be in the schema.
func ParseType(typeYAMLBytes, schemaJSON []byte) (*Type, error) {
	var y typeYAML
	dec := yaml.NewDecoder(bytes.NewReader(typeYAMLBytes))
	dec.KnownFields(true)
	if err := dec.Decode(&y); err != nil {
		return nil, fmt.Errorf("%w: type.yaml: %w", ErrType, err)
	}
	t := &Type{
		Name: y.Name, Title: y.Title, TypeCode: y.TypeCode, SchemaVersion: y.SchemaVersion, Parts: y.Parts,
		Kinds: map[string]KindSpec{}, Clear: y.Clear, Search: y.Search, aliases: y.Aliases, Labels: map[string]Text{},
	}
	fail := func(format string, a ...any) (*Type, error) {
		return nil, fmt.Errorf("%w: %s: "+format, append([]any{ErrType, t.Name}, a...)...)
	}
	if t.Name == "" || t.Title.ZH == "" || t.Title.EN == "" || t.SchemaVersion < 1 {
		return fail("name, title in two languages and schemaVersion are needed")
	}
	if _, err := code.NewIdentifier(t.TypeCode, demonstrationIssuer, "1", 1); err != nil {
		return fail("typeCode: %w", err)
	}
	leaves, err := t.compileSchema(schemaJSON)
	if err != nil {
		return fail("schema.json: %w", err)
	}
	for i, list := range [][]fieldYAML{y.Fields, y.Process} {
		for _, f := range list {
			if _, twice := t.Labels[f.Pointer]; twice {
				return fail("%s is listed twice", f.Pointer)
			}
			if !leaves[f.Pointer] {
				return fail("%s is not a value of the schema", f.Pointer)
			}
			t.Labels[f.Pointer] = Text{f.ZH, f.EN}
			if i == 0 {
				t.Fields = append(t.Fields, f.Pointer)
			} else {
				t.Process = append(t.Process, f.Pointer)
			}
		}
	}
	for p := range leaves {
		if _, ok := t.Labels[p]; !ok {
			return fail("%s stands neither in fields nor in process", p)
		}
	}
	for _, c := range t.Clear {
		if !slices.Contains(t.Fields, c.Pointer) {
			return fail("clear: %s is not a field", c.Pointer)
		}
	}
	for _, s := range t.Search {
		if !leaves[s.Pointer] {
			return fail("search: %s is not a value of the schema", s.Pointer)
		}
	}
	if t.env, err = newEnvironment(t.top); err != nil {
		return fail("%w", err)
	}
	if err := t.takeKinds(y.Kinds); err != nil {
		return fail("%w", err)
	}
	if err := t.compileRules(y.Rules); err != nil {
		return fail("%w", err)
	}
	return t, nil
}

// demonstrationIssuer is any well-formed code, to try a type code with.
const demonstrationIssuer = "91350100M000100Y43"

// Part returns the part of that name.
func (t *Type) Part(name string) (PartSpec, bool) {
	for _, p := range t.Parts {
		if p.Name == name {
			return p, true
		}
	}
	return PartSpec{}, false
}

// Identifier builds the licence identifier for an issuer's serial; version is 1 for a new licence.
func (t *Type) Identifier(issuer string, serial uint64, version int) (code.Identifier, error) {
	return code.NewIdentifier(t.TypeCode, issuer, fmt.Sprintf("%09d", serial), version)
}

// WithTypeCode returns the same type under another type code: the code is configuration of an installation.
func (t *Type) WithTypeCode(typeCode string) (*Type, error) {
	if _, err := code.NewIdentifier(typeCode, demonstrationIssuer, "1", 1); err != nil {
		return nil, fmt.Errorf("%w: %s: typeCode: %w", ErrType, t.Name, err)
	}
	c := *t
	c.TypeCode = typeCode
	return &c, nil
}

// Value returns the value at a JSON pointer of a canonical document, nil if there is none.
func Value(document map[string]any, pointer string) any {
	var v any = document
	for pointer != "" {
		key := pointer[1:]
		if i := strings.IndexByte(key, '/'); i >= 0 {
			key, pointer = key[:i], key[i:]
		} else {
			pointer = ""
		}
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[key]
	}
	return v
}

func (t *Type) takeKinds(kinds map[string]KindSpec) error {
	if len(t.Parts) == 0 || len(kinds) == 0 {
		return fmt.Errorf("a type needs parts and kinds")
	}
	seen := map[string]bool{}
	for _, p := range t.Parts {
		if p.Name == "" || p.Title.ZH == "" || p.Title.EN == "" || seen[p.Name] {
			return fmt.Errorf("part %q: each needs a name of its own and a title in two languages", p.Name)
		}
		seen[p.Name] = true
		switch p.Custody {
		case contract.Family, contract.Transferable, contract.Issuer:
		default:
			return fmt.Errorf("part %s: custody is family, transferable or issuer", p.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		k := kinds[name]
		k.Name = name
		switch name {
		case KindFirst, KindExchange, KindReplacement, KindBackfile:
		default:
			return fmt.Errorf("kind %s: the kinds are first, exchange, replacement and backfile", name)
		}
		switch k.Content {
		case "":
			k.Content = "new"
		case "new", "same":
		default:
			return fmt.Errorf("kind %s: content is new or same", name)
		}
		if k.Stock && k.Paper || k.Content == "same" && !k.Replaces || k.Title.ZH == "" || k.Title.EN == "" {
			return fmt.Errorf("kind %s: a paper's number takes no stock, the same content needs replaces, a title two languages", name)
		}
		if k.PartsIfRegistered == nil {
			k.PartsIfRegistered = k.Parts
		}
		if k.ReturnedIfRegistered == nil {
			k.ReturnedIfRegistered = k.Returned
		}
		if len(k.Parts) == 0 || len(k.PartsIfRegistered) == 0 {
			return fmt.Errorf("kind %s: makes no part", name)
		}
		for _, list := range [][]string{k.Parts, k.PartsIfRegistered, k.Returned, k.ReturnedIfRegistered} {
			for _, p := range list {
				if !seen[p] {
					return fmt.Errorf("kind %s: there is no part %s", name, p)
				}
			}
		}
		for word, text := range k.Grounds {
			if text.ZH == "" || text.EN == "" {
				return fmt.Errorf("kind %s: ground %s needs words in two languages", name, word)
			}
		}
		t.Kinds[name] = k
	}
	return nil
}

// UsesStock reports whether this kind takes a number from stock.
func (t *Type) UsesStock(kind string) bool { return t.Kinds[kind].Stock }

// KeepsStock reports whether any kind of this type takes its number from stock, so that issuers are allotted sheets.
func (t *Type) KeepsStock() bool {
	for _, k := range t.Kinds {
		if k.Stock {
			return true
		}
	}
	return false
}

// PartsOf returns the names of the parts that this kind makes; registered says whether the matter is registered with
// the receiving authority already (for a birth: the household). Nil for an unknown kind.
func (t *Type) PartsOf(kind string, registered bool) []string {
	if registered {
		return slices.Clone(t.Kinds[kind].PartsIfRegistered)
	}
	return slices.Clone(t.Kinds[kind].Parts)
}

// SearchTerms returns the search fields of a canonical document: name → Normalise of the value. Absent ones are left
// out.
func (t *Type) SearchTerms(document map[string]any) map[string]string {
	terms := make(map[string]string, len(t.Search))
	for _, f := range t.Search {
		if s, ok := Value(document, f.Pointer).(string); ok {
			terms[f.Name] = Normalise(s)
		}
	}
	return terms
}

// Normalise brings a search value to the one spelling under which it is found: compatibility forms resolved (full-width
// letters), upper case, no white space, one kind of middle dot.
func Normalise(s string) string {
	s = strings.ToUpper(norm.NFKC.String(s))
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return -1
		case r == '•' || r == '・' || r == '‧' || r == '⋅':
			return '·'
		}
		return r
	}, s)
}

// Differences returns the pointers of those licence fields that two canonical documents do not have in common, in the
// order of the field tree: what a replacement must not have, and what an exchange is for.
func (t *Type) Differences(a, b map[string]any) []string {
	var out []string
	for _, p := range t.Fields {
		if Value(a, p) != Value(b, p) {
			out = append(out, p)
		}
	}
	return out
}
