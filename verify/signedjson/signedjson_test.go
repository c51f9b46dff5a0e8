package signedjson

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

type sample struct {
	A []byte `json:"a"`
	B string `json:"b"`
	N uint64 `json:"n"`
}

func TestOneEncodingOnly(t *testing.T) {
	good, err := Marshal(sample{[]byte{1, 2}, `出生<&>"`, 7})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"a":"AQI=","b":"出生<&>\"","n":7}`; string(good) != want {
		t.Fatalf("canonical form is %s, want %s", good, want)
	}
	var v sample
	if err := Unmarshal(good, &v); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"white space":         `{"a": "AQI=","b":"x","n":7}`,
		"another order":       `{"b":"x","a":"AQI=","n":7}`,
		"a key twice":         `{"a":"AQI=","a":"AQI=","b":"x","n":7}`,
		"another case":        `{"A":"AQI=","b":"x","n":7}`,
		"an unknown key":      `{"a":"AQI=","b":"x","c":1,"n":7}`,
		"a missing key":       `{"a":"AQI=","n":7}`,
		"null":                `{"a":null,"b":"x","n":null}`,
		"a float":             `{"a":"AQI=","b":"x","n":7.0}`,
		"an exponent":         `{"a":"AQI=","b":"x","n":7e0}`,
		"needless escape":     `{"a":"AQI=","b":"\u0078","n":7}`,
		"loose base64":        `{"a":"AQJ=","b":"x","n":7}`,
		"base64 line feed":    `{"a":"AQI=\n","b":"x","n":7}`,
		"bytes after the end": `{"a":"AQI=","b":"x","n":7}{}`,
		"broken UTF-8":        "{\"a\":\"AQI=\",\"b\":\"\xff\",\"n\":7}",
		"nothing":             ``,
	} {
		var v sample
		if err := Unmarshal([]byte(bad), &v); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %s gives %v", name, bad, err)
		}
	}
}

func TestErrorsDoNotQuoteTheFile(t *testing.T) {
	for _, bad := range []string{`{"张三":1}`, `{"n":"张三"}`, `{"b":张三}`} {
		var v sample
		if err := Unmarshal([]byte(bad), &v); err == nil || strings.Contains(err.Error(), "张三") {
			t.Errorf("%s gives %v", bad, err)
		}
	}
}

func TestSplitRefusesWhatJoinDoesNotMake(t *testing.T) {
	file := Join("f/1", []byte(`{"n":1}`), []byte(`{"s":2}`))
	content, signature, err := Split("f/1", file)
	if err != nil || string(content) != `{"n":1}` || string(signature) != `{"s":2}` {
		t.Fatalf("%s %s %v", content, signature, err)
	}
	for name, bad := range map[string][]byte{
		"no line feed":     bytes.TrimSuffix(file, []byte("\n")),
		"two line feeds":   append(bytes.Clone(file), '\n'),
		"another format":   bytes.Replace(file, []byte("f/1"), []byte("f/2"), 1),
		"content twice":    []byte(`{"content":{"n":1},"content":{"n":2},"format":"f/1","signature":{"s":2}}` + "\n"),
		"another order":    []byte(`{"format":"f/1","content":{"n":1},"signature":{"s":2}}` + "\n"),
		"a member more":    []byte(`{"content":{"n":1},"format":"f/1","signature":{"s":2},"x":1}` + "\n"),
		"byte order mark":  append([]byte("\xef\xbb\xbf"), file...),
		"no JSON":          []byte("%PDF-1.7"),
		"nothing":          nil,
		"deeply nested":    bytes.Repeat([]byte(`{"content":`), 20000),
		"white space more": bytes.Replace(file, []byte(`"content":`), []byte(`"content": `), 1),
	} {
		if _, _, err := Split("f/1", bad); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTextIsWhatEveryEncoderWritesAlike(t *testing.T) {
	for _, good := range []string{"上海", "𬭎", "A B", "O'Neil & <Söhne>"} {
		if !Text(good, 100) {
			t.Errorf("%q is refused", good)
		}
	}
	for _, bad := range []string{"", "a\nb", "a\u2028b", "e\u0301", "\u202eabc", "a\x00", strings.Repeat("a", 101), "\xff"} {
		if Text(bad, 100) {
			t.Errorf("%q is taken", bad)
		}
	}
}

// What Split and Unmarshal take, Join and Marshal make again, byte for byte.
func FuzzSplit(f *testing.F) {
	f.Add([]byte("{\"content\":{\"a\":\"AQI=\",\"b\":\"x\",\"n\":7},\"format\":\"f/1\",\"signature\":{\"a\":\"\",\"b\":\"\",\"n\":0}}\n"))
	f.Add([]byte("{\"content\":1,\"format\":\"f/1\",\"signature\":2}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		content, signature, err := Split("f/1", b)
		if err != nil {
			return
		}
		if !bytes.Equal(Join("f/1", content, signature), b) {
			t.Fatal("another file has the same parts")
		}
		var v sample
		if Unmarshal(content, &v) != nil {
			return
		}
		again, err := Marshal(v)
		if err != nil || !bytes.Equal(again, content) {
			t.Fatalf("%s is read as %s", content, again)
		}
	})
}
