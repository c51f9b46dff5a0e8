package licence

import (
	"bytes"
	"fmt"
	"regexp"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// keyForm is what a key of a licence type may be.
var keyForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{0,39}$`)

// noLoader keeps a schema to itself: a type is judged from its own two files, never from the net.
type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("a schema may not name %s", url)
}

// compileSchema compiles the schema, notes every key it knows, and returns the pointers of its scalars.
func (t *Type) compileSchema(b []byte) (leaves map[string]bool, err error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(noLoader{})
	c.AssertFormat()
	for _, f := range formats() {
		c.RegisterFormat(f)
	}
	const url = "elicence:schema.json"
	if err := c.AddResource(url, doc); err != nil {
		return nil, err
	}
	if t.schema, err = c.Compile(url); err != nil {
		return nil, err
	}
	leaves, t.known, t.top = map[string]bool{}, map[string]string{}, map[string]bool{}
	for from, to := range t.aliases {
		t.known[from], t.known[to] = from, to
	}
	if err := t.walk(t.schema, "", leaves, 0); err != nil {
		return nil, err
	}
	for from := range t.aliases {
		delete(leaves, "/"+from)
	}
	return leaves, nil
}

func (t *Type) walk(s *jsonschema.Schema, pointer string, leaves map[string]bool, depth int) error {
	for n := 0; s.Ref != nil && len(s.Properties) == 0; n++ {
		if n > maxDepth {
			return fmt.Errorf("%s: references go in circles", pointer)
		}
		s = s.Ref
	}
	if depth > maxDepth {
		return fmt.Errorf("%s: nested deeper than %d", pointer, maxDepth)
	}
	if s.Types != nil {
		for _, w := range s.Types.ToStrings() {
			if w == "array" || w == "number" || w == "null" {
				return fmt.Errorf("%s: a licence type has objects, strings, integers and booleans only", pointer)
			}
		}
	}
	if len(s.Properties) == 0 {
		leaves[pointer] = true
		return nil
	}
	if closed, ok := s.AdditionalProperties.(bool); !ok || closed {
		return fmt.Errorf("%s: additionalProperties must be false", pointer)
	}
	for k, sub := range s.Properties {
		if !keyForm.MatchString(k) {
			return fmt.Errorf("%s: a key is letters and digits, so that it is a name in expressions, too", pointer)
		}
		t.known[k] = k
		if err := t.walk(sub, pointer+"/"+escapePointer(k), leaves, depth+1); err != nil {
			return err
		}
	}
	if depth == 0 {
		for k := range s.Properties {
			t.top[k] = !leaves["/"+k]
		}
	}
	return nil
}
