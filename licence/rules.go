package licence

import (
	"fmt"
	"slices"
	"strings"
)

// rule is a cross-field rule of a type: when it applies, that must hold.
type rule struct {
	finding    Finding
	kinds      []string
	when, that *Expression
	reads      []string // by when and that
}

func (t *Type) compileRules(list []ruleYAML) error {
	seen := map[string]bool{}
	for _, y := range list {
		if y.Code == "" || y.ZH == "" || y.EN == "" || y.That == "" {
			return fmt.Errorf("rule %q: code, that, zh and en are needed", y.Code)
		}
		key := y.Code + " " + y.At
		if seen[key] {
			return fmt.Errorf("rule %s stands twice at %s", y.Code, y.At)
		}
		seen[key] = true
		for _, k := range y.Kinds {
			if _, ok := t.Kinds[k]; !ok {
				return fmt.Errorf("rule %s: there is no kind %s", y.Code, k)
			}
		}
		r := rule{finding: Finding{y.At, y.Code, y.ZH, y.EN, y.Clause, y.Warning}, kinds: y.Kinds}
		var err error
		if y.When != "" {
			if r.when, err = t.Compile(y.When); err != nil {
				return fmt.Errorf("rule %s: %w", y.Code, err)
			}
		}
		if r.that, err = t.Compile(y.That); err != nil {
			return fmt.Errorf("rule %s: %w", y.Code, err)
		}
		r.reads = slices.Clone(r.that.reads)
		if r.when != nil {
			r.reads = append(r.reads, r.when.reads...)
		}
		t.rules = append(t.rules, r)
	}
	return nil
}

// readsAny reports whether the rule reads one of the values, or something above or below it.
func (r *rule) readsAny(pointers []string) bool {
	for _, p := range pointers {
		for _, q := range r.reads {
			if p == q || strings.HasPrefix(p, q+"/") || strings.HasPrefix(q, p+"/") {
				return true
			}
		}
	}
	return false
}

// broken reports whether the rule applies and does not hold.
func (r *rule) broken(kind string, s *Scope) (bool, error) {
	if len(r.kinds) > 0 && !slices.Contains(r.kinds, kind) {
		return false, nil
	}
	if r.when != nil {
		applies, err := r.when.holds(s)
		if err != nil || !applies {
			return false, err
		}
	}
	ok, err := r.that.holds(s)
	return err == nil && !ok, err
}
