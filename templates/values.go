package templates

import (
	"fmt"
	"strconv"

	"github.com/elicence/elicence/licence"
)

// source says where a printed value comes from: a pointer into the document, or an expression.
type source struct {
	name    string // for errors: the pointer, or the expression's text
	pointer string
	expr    *licence.Expression
	needs   string // pointer without which the value is absent
}

func newSource(t *licence.Type, pointer, expr, needs string) (source, error) {
	switch {
	case pointer != "" && expr == "":
		return source{name: pointer, pointer: pointer}, nil
	case expr != "" && pointer == "":
		x, err := t.Compile(expr)
		if err != nil {
			return source{}, fmt.Errorf("%w: %w", ErrLayout, err)
		}
		s := source{name: needs, expr: x, needs: needs}
		if s.name == "" {
			s.name = expr
		}
		return s, nil
	}
	return source{}, fmt.Errorf("%w: a value comes either from a pointer or from an expression", ErrLayout)
}

// eval returns the value, nil if it is absent.
func (s *source) eval(document map[string]any, scope *licence.Scope) (any, error) {
	if s.expr == nil {
		return licence.Value(document, s.pointer), nil
	}
	if s.needs != "" && licence.Value(document, s.needs) == nil {
		return nil, nil
	}
	return s.expr.Eval(scope)
}

// text returns the value as it is printed; false if it is absent.
func (s *source) text(document map[string]any, scope *licence.Scope) (string, bool, error) {
	v, err := s.eval(document, scope)
	if err != nil {
		return "", false, err
	}
	switch v := v.(type) {
	case nil:
		return "", false, nil
	case string:
		return v, v != "", nil
	case int64:
		return strconv.FormatInt(v, 10), true, nil
	}
	return "", false, fmt.Errorf("%w: %s is neither text nor a number", ErrLayout, s.name)
}

// holds reports whether an expression is true; an absent value is not.
func (s *source) holds(document map[string]any, scope *licence.Scope) (bool, error) {
	v, err := s.eval(document, scope)
	if err != nil {
		return false, err
	}
	switch v := v.(type) {
	case nil:
		return false, nil
	case bool:
		return v, nil
	}
	return false, fmt.Errorf("%w: %s is not a yes or no", ErrLayout, s.name)
}
