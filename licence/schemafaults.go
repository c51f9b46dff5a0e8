package licence

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

var schemaTexts = map[string]Text{
	"required":  {"必须填写", "is needed"},
	"type":      {"类型不对", "is of the wrong type"},
	"enum":      {"不在允许的取值之内", "is not one of the allowed words"},
	"range":     {"超出可能的范围", "is outside of what is possible"},
	"length":    {"过短或过长", "is too short or too long"},
	"form":      {"格式不对", "has the wrong form"},
	"forbidden": {"此处不得填写", "may not be given here"},
	"schema":    {"不符合要求", "does not fit"},
}

func (c *checking) schema(document map[string]any) {
	err := c.t.schema.Validate(document)
	var v *jsonschema.ValidationError
	if errors.As(err, &v) {
		c.schemaFaults(v, c.unsound())
	}
}

// schemaFaults turns the library's tree of errors into findings in our words: the library's own hold values. What the
// reader found at fault already is left alone.
func (c *checking) schemaFaults(v *jsonschema.ValidationError, told []string) {
	if len(v.Causes) > 0 {
		for _, cause := range v.Causes {
			c.schemaFaults(cause, told)
		}
		return
	}
	var b strings.Builder
	for _, k := range v.InstanceLocation {
		b.WriteString("/" + escapePointer(k))
	}
	pointer := b.String()
	if slices.Contains(told, pointer) {
		return
	}
	plain := func(code string) { c.add(pointer, code, c.labelled(pointer, schemaTexts[code]), "") }
	switch k := v.ErrorKind.(type) {
	case *kind.Required:
		for _, m := range k.Missing {
			p := pointer + "/" + escapePointer(m)
			c.add(p, "required", c.labelled(p, schemaTexts["required"]), "")
		}
	case *kind.AdditionalProperties:
		c.unknownKeys(pointer, k.Properties)
	case *kind.Type:
		plain("type")
	case *kind.Enum, *kind.Const:
		plain("enum")
	case *kind.Minimum, *kind.Maximum, *kind.ExclusiveMinimum, *kind.ExclusiveMaximum, *kind.MultipleOf:
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
			c.add(pointer, f.code, c.labelled(pointer, f.text), f.clause)
			return
		}
		plain("form")
	default:
		plain("schema")
	}
}

// unknownKeys tells how many there are, and which known keys were probably meant. The keys themselves come from outside
// and are not repeated: somebody will put a name there.
func (c *checking) unknownKeys(pointer string, keys []string) {
	var meant []string
	for _, k := range keys {
		best, distance := "", 3 // two slips of the pen at most
		for known := range c.t.known {
			if d := editDistance(k, known, 3); d < distance || d == distance && d < 3 && known < best {
				best, distance = known, d
			}
		}
		if best != "" && len(best) > 3 {
			meant = append(meant, best)
		}
	}
	slices.Sort(meant)
	meant = slices.Compact(meant)
	n := strconv.Itoa(len(keys))
	text := Text{"有 " + n + " 个未知的键", n + " unknown key(s)"}
	if meant != nil {
		text.ZH += "（是否想写 " + strings.Join(meant, "、") + "？）"
		text.EN += "; perhaps " + strings.Join(meant, ", ") + " was meant"
	}
	c.add(pointer, "json.unknown-key", c.labelled(pointer, text), "")
}

// editDistance is Levenshtein's, in bytes and blind to case, cut off at limit.
func editDistance(a, b string, limit int) int {
	if len(a) > 64 || len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	a, b = strings.ToLower(a), strings.ToLower(b)
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return min(row[len(b)], limit)
}
