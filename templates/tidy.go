package templates

import (
	"bytes"
	"strconv"
)

// tidy rewrites a content stream of fpdf's with no more decimals than can be seen: two, three for
// colours, and seven for matrices, whose factors are multiplied by the size of the page and by each other. Strings are
// left as they are. It makes the stream a third as long, and what is repeated packs better.
func tidy(content []byte) []byte {
	out := make([]byte, 0, len(content))
	var numbers [6]float64
	pending := 0
	flush := func(scale float64) {
		for _, v := range numbers[:pending] {
			out = append(appendRounded(out, v, scale), ' ')
		}
		pending = 0
	}
	for i := 0; i < len(content); {
		switch content[i] {
		case '(':
			flush(100)
			end := i + 1
			for content[end] != ')' {
				if content[end] == '\\' {
					end++
				}
				end++
			}
			out = append(out, content[i:end+1]...)
			i = end + 1
		case ' ', '\n':
			i++
		default:
			end := i
			for end < len(content) && bytes.IndexByte([]byte(" \n("), content[end]) < 0 {
				end++
			}
			token := content[i:end]
			i = end
			if v, err := strconv.ParseFloat(string(token), 64); err == nil && pending < len(numbers) {
				numbers[pending] = v
				pending++
				continue
			}
			switch string(token) {
			case "cm":
				flush(1e7)
			case "rg", "RG", "g", "G":
				flush(1000)
			default:
				flush(100)
			}
			out = append(out, token...)
			if token[0] == '/' || token[0] == '[' || token[0] == '<' || string(token) == "BT" {
				out = append(out, ' ')
			} else {
				out = append(out, '\n')
			}
		}
	}
	flush(100)
	return out
}

func appendRounded(b []byte, v, scale float64) []byte {
	v = float64(int64(v*scale+0.5*sign(v >= 0))) / scale
	if v == 0 {
		return append(b, '0')
	}
	return strconv.AppendFloat(b, v, 'f', -1, 64)
}
