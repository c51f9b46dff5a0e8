package licence

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/ext"
	"github.com/google/cel-go/interpreter"
)

// Zone is the one zone of texts for people: UTC+08:00, without a time zone database.
var Zone = time.FixedZone("UTC+8", 8*3600)

// environment is the CEL environment of a type: its top-level keys as variables, the variables of Values, and the
// functions of functions.go.
type environment struct {
	env *cel.Env
	top map[string]bool // top-level key → holds an object
}

// Variables beside the request's top-level keys.
var valueNames = []string{
	"issuer", "now", "number", "identifier", "part", "partIndex", "parts", "signer", "issuedAt", "signedAt", "specimen",
}

func newEnvironment(top map[string]bool) (*environment, error) {
	opts := append([]cel.EnvOption{ext.Strings()}, functions()...)
	for name := range top {
		opts = append(opts, cel.Variable(name, cel.DynType))
	}
	for _, name := range valueNames {
		if _, clash := top[name]; clash {
			return nil, fmt.Errorf("the key %s is the name of a variable", name)
		}
		opts = append(opts, cel.Variable(name, cel.DynType))
	}
	env, err := cel.NewEnv(opts...)
	if err != nil {
		return nil, fmt.Errorf("expressions: %w", err)
	}
	return &environment{env, top}, nil
}

// Values is what expressions see beside the document.
type Values struct {
	Document    map[string]any // canonical request: every top-level key is a variable, {} or null when absent
	Issuer      Organisation   // issuer.code, issuer.name, issuer.nameEN, issuer.kind, issuer.region
	Now         time.Time      // now
	Number      string         // number
	Identifier  string         // identifier
	Part        string         // part: its name
	PartIndex   int            // partIndex: 1 for the first
	Parts       int            // parts: how many
	Signer      string         // signer: name for people
	IssueTime   time.Time      // issuedAt
	SigningTime time.Time      // signedAt
	Specimen    bool           // specimen
}

// Scope is Values made ready for expressions. It may be used by one goroutine at a time.
type Scope struct {
	v   Values
	env *environment
}

// Scope makes values ready for the expressions of this type. Times become RFC 3339 text in UTC+08:00.
func (t *Type) Scope(v Values) *Scope { return &Scope{v, t.env} }

var emptyObject = map[string]any{}

// ResolveName implements CEL's activation.
func (s *Scope) ResolveName(name string) (any, bool) {
	if object, ok := s.env.top[name]; ok {
		if v, ok := s.v.Document[name]; ok {
			return v, true
		}
		if object {
			return emptyObject, true
		}
		return types.NullValue, true
	}
	switch name {
	case "issuer":
		o := s.v.Issuer
		return map[string]string{"code": o.Code, "name": o.Name, "nameEN": o.NameEN, "kind": o.Kind, "region": o.Region}, true
	case "now":
		return timeText(s.v.Now), true
	case "number":
		return s.v.Number, true
	case "identifier":
		return s.v.Identifier, true
	case "part":
		return s.v.Part, true
	case "partIndex":
		return int64(s.v.PartIndex), true
	case "parts":
		return int64(s.v.Parts), true
	case "signer":
		return s.v.Signer, true
	case "issuedAt":
		return timeText(s.v.IssueTime), true
	case "signedAt":
		return timeText(s.v.SigningTime), true
	case "specimen":
		return s.v.Specimen, true
	}
	return nil, false
}

// Parent implements CEL's activation.
func (s *Scope) Parent() interpreter.Activation { return nil }

func timeText(t time.Time) string { return t.In(Zone).Format(time.RFC3339) }

// Expression is a compiled CEL expression, safe for concurrent use.
type Expression struct {
	source  string
	program cel.Program
	reads   []string // pointers into the request
}

// Compile compiles a CEL expression over the request's top-level keys, the variables of Values and the functions
// documented in functions.go. A name that the schema does not have is an error. Errors wrap ErrType.
func (t *Type) Compile(source string) (*Expression, error) {
	checked, issues := t.env.env.Compile(source)
	if err := issues.Err(); err != nil {
		return nil, fmt.Errorf("%w: expression %q: %w", ErrType, source, err)
	}
	p, err := t.env.env.Program(checked, cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, fmt.Errorf("%w: expression %q: %w", ErrType, source, err)
	}
	x := &Expression{source: source, program: p, reads: t.readsOf(checked.NativeRep())}
	for _, r := range x.reads {
		if !t.holdsPointer(r) {
			return nil, fmt.Errorf("%w: expression %q: the schema has no %s", ErrType, source, r)
		}
	}
	return x, nil
}

// readsOf lists what an expression reads of the request: the longest chains of names that begin with a top-level key.
func (t *Type) readsOf(a *ast.AST) []string {
	var out []string
	inner := map[int64]bool{}
	ast.PreOrderVisit(a.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if inner[e.ID()] {
			return
		}
		pointer := ""
		for e.Kind() == ast.SelectKind {
			pointer = "/" + escapePointer(e.AsSelect().FieldName()) + pointer
			e = e.AsSelect().Operand()
			inner[e.ID()] = true
		}
		if e.Kind() != ast.IdentKind {
			return
		}
		if _, ok := t.top[e.AsIdent()]; ok {
			out = append(out, "/"+escapePointer(e.AsIdent())+pointer)
		}
	}))
	slices.Sort(out)
	return slices.Compact(out)
}

// holdsPointer reports whether the pointer is a value or an object of the schema.
func (t *Type) holdsPointer(pointer string) bool {
	if _, ok := t.Labels[pointer]; ok {
		return true
	}
	for p := range t.Labels {
		if strings.HasPrefix(p, pointer+"/") {
			return true
		}
	}
	return false
}

// Source is the expression's text.
func (x *Expression) Source() string { return x.source }

// Eval returns string, int64, bool, nil or []any. The error names the expression and no value: what CEL says of the
// reason may hold one.
func (x *Expression) Eval(s *Scope) (any, error) {
	v, err := x.eval(s)
	if err != nil {
		return nil, err
	}
	return native(v, x.source)
}

func (x *Expression) eval(s *Scope) (ref.Val, error) {
	v, _, err := x.program.Eval(s)
	if err != nil {
		return nil, fmt.Errorf("%w: expression %q cannot be evaluated for this request", ErrType, x.source)
	}
	return v, nil
}

func (x *Expression) holds(s *Scope) (bool, error) {
	v, err := x.eval(s)
	if err != nil {
		return false, err
	}
	b, ok := v.(types.Bool)
	if !ok {
		return false, fmt.Errorf("%w: expression %q is not a yes or no", ErrType, x.source)
	}
	return bool(b), nil
}

func native(v ref.Val, source string) (any, error) {
	switch v := v.(type) {
	case types.String:
		return string(v), nil
	case types.Int:
		return int64(v), nil
	case types.Bool:
		return bool(v), nil
	case types.Null:
		return nil, nil
	}
	if list, ok := v.Value().([]ref.Val); ok {
		out := make([]any, len(list))
		for i, e := range list {
			var err error
			if out[i], err = native(e, source); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return nil, fmt.Errorf("%w: expression %q gives a value of another kind", ErrType, source)
}
