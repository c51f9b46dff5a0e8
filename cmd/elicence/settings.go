package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"
	"go.yaml.in/yaml/v3"
)

// setting is one key of the configuration: where it stands in config, and how the environment calls it.
type setting struct {
	key         string // as in elicence.yaml: ledger.cosignaturesNeeded
	environment string // ELICENCE_LEDGER_COSIGNATURES_NEEDED
	kind        reflect.Type
	index       []int
}

// listOfThings reports whether the value is a list of things that have settings of their own; it can stand in the file alone.
func (s setting) listOfThings() bool {
	return s.kind.Kind() == reflect.Slice && s.kind.Elem().Kind() == reflect.Struct
}

const environmentPrefix = "ELICENCE_"

// otherVariables begin like settings and are none.
func otherVariable(name string) bool {
	return slices.Contains([]string{"ELICENCE_DATA", "ELICENCE_PASSPHRASE", "ELICENCE_TRUST_PIN"}, name) ||
		slices.ContainsFunc([]string{"ELICENCE_S3_", "ELICENCE_SOAK_", "ELICENCE_RECORDSTEST_"}, func(p string) bool { return strings.HasPrefix(name, p) })
}

// settings are all keys, from the fields of config: a new field is a new setting, by file, environment and --set alike.
func settings() []setting {
	var all []setting
	var visit func(t reflect.Type, prefix string, index []int)
	visit = func(t reflect.Type, prefix string, index []int) {
		for n := range t.NumField() {
			f := t.Field(n)
			name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			key, at := prefix+name, append(slices.Clone(index), n)
			if f.Type.Kind() == reflect.Struct {
				visit(f.Type, key+".", at)
				continue
			}
			all = append(all, setting{key, variableOf(key), f.Type, at})
		}
	}
	visit(reflect.TypeFor[config](), "", nil)
	return all
}

// variableOf is how the environment calls a key: serve.stopWithin is ELICENCE_SERVE_STOP_WITHIN.
func variableOf(key string) string {
	var b strings.Builder
	b.WriteString(environmentPrefix)
	for n, r := range key {
		switch {
		case r == '.':
			b.WriteByte('_')
			continue
		case unicode.IsUpper(r) && n > 0 && key[n-1] != '.' && !unicode.IsUpper(rune(key[n-1])):
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToUpper(r))
	}
	return b.String()
}

// fault is one thing that is wrong with the configuration.
type fault struct {
	Key    string `json:"key"`
	Source string `json:"source"` // file and line, variable or flag
	ZH     string `json:"zh"`
	EN     string `json:"en"`
	Do     string `json:"do,omitempty"`
}

// Error is in both languages.
func (f fault) Error() string {
	return fmt.Sprintf("%s: %s: %s / %s", f.Source, f.Key, f.ZH, f.EN)
}

// layer is what one source says.
type layer struct {
	values  map[string]any // by key
	sources map[string]string
}

func newLayer() layer { return layer{map[string]any{}, map[string]string{}} }

// loaded is the configuration with where each value came from.
type loaded struct {
	config  config
	values  map[string]any
	sources map[string]string
	faults  []fault
}

// loadConfig reads defaults, file, environment and flags; a later one wins. An error says that there is no file to read;
// what is wrong in it, or elsewhere, are faults.
func (a *app) loadConfig() (*loaded, error) {
	path := filepath.Join(a.data, configFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, &failure{code: exitUnavailable, cause: fmt.Errorf("%s: %w", a.data, errNoInstallation),
			do: "make one with: elicence init --data " + a.data + ", or see everything at once with: elicence demo"}
	}
	if err != nil {
		return nil, err
	}
	known := settings()
	byKey := map[string]setting{}
	byVariable := map[string]setting{}
	for _, s := range known {
		byKey[s.key], byVariable[s.environment] = s, s
	}
	l := &loaded{values: map[string]any{}, sources: map[string]string{}}
	file, faults := fileLayer(path, b, byKey)
	l.faults = append(l.faults, faults...)
	variables, faults := environmentLayer(a.variables, byVariable)
	l.faults = append(l.faults, faults...)
	flags, faults := flagLayer(a.set, byKey)
	l.faults = append(l.faults, faults...)
	defaults := newLayer()
	for k, v := range defaultSettings() {
		defaults.values[k], defaults.sources[k] = v, "default"
	}
	k := koanf.New(".")
	for _, one := range []layer{defaults, file, variables, flags} {
		if err := k.Load(confmap.Provider(one.values, "."), nil); err != nil {
			return nil, fmt.Errorf("configuration: %w", err)
		}
		maps.Copy(l.sources, one.sources)
	}
	target := reflect.ValueOf(&l.config).Elem()
	for _, s := range known {
		raw := k.Get(s.key)
		if raw == nil {
			l.sources[s.key] = "unset"
			continue
		}
		v, problem := convert(raw, s.kind)
		if problem != nil {
			l.faults = append(l.faults, fault{s.key, l.sources[s.key], problem.ZH, problem.EN, ""})
			continue
		}
		target.FieldByIndex(s.index).Set(v)
		l.values[s.key] = v.Interface()
	}
	named := map[string]bool{}
	for _, f := range l.faults {
		named[f.Key] = true
	}
	for _, f := range l.config.check(func(key string) string {
		if s, ok := l.sources[key]; ok && s != "unset" {
			return s
		}
		return path
	}) {
		if !named[f.Key] && !named[""] { // what could not be read at all has no range
			l.faults = append(l.faults, f)
		}
	}
	return l, nil
}

// readConfig is loadConfig for who needs a configuration without any fault.
func (a *app) readConfig() (config, error) {
	l, err := a.loadConfig()
	if err != nil {
		return config{}, err
	}
	if len(l.faults) > 0 {
		causes := make([]error, len(l.faults))
		for n, f := range l.faults {
			causes[n] = f
		}
		return l.config, &failure{code: exitUsage, cause: errors.Join(causes...), do: "查看各项 · see every setting with: elicence config check"}
	}
	return l.config, nil
}

// fileLayer flattens elicence.yaml; what no setting is called is a fault, with its line.
func fileLayer(path string, b []byte, known map[string]setting) (layer, []fault) {
	l := newLayer()
	var root yaml.Node
	if err := yaml.Unmarshal(b, &root); err != nil {
		return l, []fault{{"", path, "不是 YAML", strings.TrimPrefix(err.Error(), "yaml: "), ""}}
	}
	var faults []fault
	var visit func(n *yaml.Node, prefix string)
	visit = func(n *yaml.Node, prefix string) {
		for i := 0; i+1 < len(n.Content); i += 2 {
			name, value := n.Content[i], n.Content[i+1]
			key, source := prefix+name.Value, fmt.Sprintf("%s:%d", path, name.Line)
			_, leaf := known[key]
			branch := false
			for k := range known {
				branch = branch || strings.HasPrefix(k, key+".")
			}
			_, twice := l.sources[key]
			switch {
			case twice:
				faults = append(faults, fault{key, source, "重复的设置", "this setting stands here twice", ""})
			case branch && value.Kind == yaml.MappingNode:
				l.sources[key] = source
				visit(value, key+".")
			case branch && value.Tag == "!!null":
			case leaf && value.Tag == "!!null":
			case leaf && value.Kind == yaml.ScalarNode:
				l.values[key], l.sources[key] = value.Value, source
			case leaf && value.Kind == yaml.SequenceNode && known[key].listOfThings():
				list := reflect.New(known[key].kind)
				if err := decodeStrictly(value, list.Interface()); err != nil {
					faults = append(faults, fault{key, source, "列表的某一项有误", strings.TrimPrefix(err.Error(), "yaml: "), ""})
					break
				}
				l.values[key], l.sources[key] = list.Elem().Interface(), source
			case leaf && value.Kind == yaml.SequenceNode:
				list := []string{}
				for _, item := range value.Content {
					list = append(list, item.Value)
				}
				l.values[key], l.sources[key] = list, source
			case leaf || branch:
				faults = append(faults, fault{key, source, "值的形状不对", "the value has the wrong shape", ""})
			default:
				faults = append(faults, unknownKey(key, source, known))
			}
		}
	}
	if len(root.Content) == 1 && root.Content[0].Kind == yaml.MappingNode {
		visit(root.Content[0], "")
	} else if len(root.Content) > 0 {
		faults = append(faults, fault{"", path, "不是一组设置", "this is no list of settings", ""})
	}
	return l, faults
}

// decodeStrictly reads a list of things that have settings of their own. Unknown ones are refused here, too.
func decodeStrictly(n *yaml.Node, into any) error {
	b, err := yaml.Marshal(n)
	if err != nil {
		return err
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	return d.Decode(into)
}

func unknownKey(key, source string, known map[string]setting) fault {
	f := fault{key, source, "没有这项设置", "there is no such setting", "查看全部设置 · see all settings with: elicence config show"}
	for k := range known {
		if strings.EqualFold(k, key) || strings.EqualFold(k[strings.LastIndexByte(k, '.')+1:], key[strings.LastIndexByte(key, '.')+1:]) {
			f.Do = "是否指 " + k + " · did you mean " + k
		}
	}
	return f
}

// environmentLayer takes NAME=value pairs. A variable that looks like a setting and is none is a fault: a misspelt one must
// not silently be the default.
func environmentLayer(variables []string, known map[string]setting) (layer, []fault) {
	l := newLayer()
	var faults []fault
	for _, v := range variables {
		name, value, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(name, environmentPrefix) || otherVariable(name) {
			continue
		}
		s, ok := known[name]
		if !ok {
			faults = append(faults, fault{name, "environment", "没有这项设置", "there is no such setting", "去掉这个变量 · remove the variable; see all with: elicence config show"})
			continue
		}
		l.values[s.key], l.sources[s.key] = value, "$"+name
	}
	return l, faults
}

// flagLayer takes key=value pairs.
func flagLayer(set []string, known map[string]setting) (layer, []fault) {
	l := newLayer()
	var faults []fault
	for _, pair := range set {
		key, value, ok := strings.Cut(pair, "=")
		switch _, exists := known[key]; {
		case !ok:
			faults = append(faults, fault{key, "--set", "应为 键=值", "it must be KEY=VALUE", ""})
		case !exists:
			faults = append(faults, unknownKey(key, "--set", known))
		default:
			l.values[key], l.sources[key] = value, "--set"
		}
	}
	return l, faults
}

type problemText struct{ ZH, EN string }

// convert makes the value that a setting holds of what its source says. The value itself is not repeated: it may be a secret.
func convert(raw any, to reflect.Type) (reflect.Value, *problemText) {
	if reflect.TypeOf(raw) == to {
		return reflect.ValueOf(raw), nil
	}
	none := reflect.Value{}
	if to.Kind() == reflect.Slice && to.Elem().Kind() == reflect.Struct {
		return none, &problemText{"只能写在 elicence.yaml 中", "it can stand in elicence.yaml alone"}
	}
	if to.Kind() == reflect.Slice {
		list, ok := raw.([]string)
		if text, is := raw.(string); is {
			ok = true
			for _, item := range strings.Split(text, ",") {
				if item = strings.TrimSpace(item); item != "" {
					list = append(list, item)
				}
			}
		}
		if !ok {
			return none, &problemText{"应为列表", "it must be a list"}
		}
		return reflect.ValueOf(list), nil
	}
	text, ok := raw.(string)
	if !ok {
		return none, &problemText{"应为单个值", "it must be a single value"}
	}
	if to == reflect.TypeFor[time.Duration]() {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil { // nanoseconds, as older files may have them
			return reflect.ValueOf(time.Duration(n)), nil
		}
		d, err := time.ParseDuration(text)
		if err != nil {
			return none, &problemText{"应为时长，如 24h", "it must be a duration such as 24h or 90s"}
		}
		return reflect.ValueOf(d), nil
	}
	v := reflect.New(to).Elem()
	var err error
	switch to.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		var b bool
		b, err = strconv.ParseBool(text)
		v.SetBool(b)
	case reflect.Int, reflect.Int64:
		var n int64
		n, err = strconv.ParseInt(text, 0, 64)
		v.SetInt(n)
	case reflect.Uint64:
		var n uint64
		n, err = strconv.ParseUint(text, 0, 64)
		v.SetUint(n)
	case reflect.Float64:
		var n float64
		n, err = strconv.ParseFloat(text, 64)
		v.SetFloat(n)
	default:
		return none, &problemText{"无法设置", "it cannot be set"}
	}
	if err != nil {
		return none, &problemText{"应为 " + kindWord(to), "it must be " + kindEnglish(to)}
	}
	return v, nil
}

func kindWord(t reflect.Type) string {
	if t.Kind() == reflect.Bool {
		return "true 或 false"
	}
	return "数"
}

func kindEnglish(t reflect.Type) string {
	if t.Kind() == reflect.Bool {
		return "true or false"
	}
	return "a number"
}

// shown is a setting's value for people to read: never a secret.
func shown(key string, v any) any {
	switch last := strings.ToLower(key[strings.LastIndexByte(key, '.')+1:]); {
	case strings.Contains(last, "password"), strings.Contains(last, "secret"), strings.Contains(last, "passphrase"), strings.Contains(last, "token"):
		return "(secret)"
	}
	switch v := v.(type) {
	case time.Duration:
		return v.String()
	case string:
		if u, err := url.Parse(v); err == nil && u.User != nil {
			return u.Redacted()
		}
		if strings.Contains(strings.ToLower(v), "password=") {
			return "(secret)"
		}
	}
	return v
}
