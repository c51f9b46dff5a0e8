package licence_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/elicence/elicence/licence"
)

// edit changes one value of a request; gone removes it.
type edit struct {
	pointer string
	value   any
}

type removed struct{}

var gone = removed{}

// object decodes JSON in a test's own words.
func object(tb testing.TB, text string) map[string]any {
	tb.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		tb.Fatal(err)
	}
	return m
}

// request is the first birth of testdata with edits.
func request(tb testing.TB, edits ...edit) []byte {
	tb.Helper()
	m := object(tb, string(births(tb)[0]))
	for _, e := range edits {
		at := m
		keys := strings.Split(e.pointer, "/")[1:]
		for _, k := range keys[:len(keys)-1] {
			below, ok := at[k].(map[string]any)
			if !ok {
				below = map[string]any{}
				at[k] = below
			}
			at = below
		}
		if e.value == gone {
			delete(at, keys[len(keys)-1])
		} else {
			at[keys[len(keys)-1]] = e.value
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// found lists findings as "pointer code", warnings with a question mark behind.
func found(findings []licence.Finding) []string {
	out := make([]string, len(findings))
	for i, f := range findings {
		out[i] = f.Pointer + " " + f.Code
		if f.Warning {
			out[i] += "?"
		}
	}
	slices.Sort(out)
	return out
}

func fatherUnknown(tb testing.TB) map[string]any {
	return object(tb, `{"unknown":true,"statement":"母亲书面声明"}`)
}

func foreignFather(tb testing.TB) map[string]any {
	return object(tb, `{"name":"Nguyễn Văn Ánh","birthDate":"1990-01-02","nationality":"VNM","ethnicGroup":"/",
		"idType":"passport","idNumber":"C1234567","address":"上海市黄浦区世纪大道1号"}`)
}
