package templates

import (
	"errors"
	"fmt"
)

// errCode128 says that a text has characters that Code 128 sets B and C do not have.
var errCode128 = errors.New("templates: not a text for Code 128")

// widths128 are the bar and space widths of the symbol characters (ISO/IEC 15417 table 1), six digits each; the stop
// pattern has seven.
const widths128 = "212222222122222221121223121322131222122213122312132212221213221312231212112232122132122231113222123122123221223211221132221231213212223112312131311222321122321221312212322112322211212123212321232121111323131123131321112313132113132311211313231113231311112133112331132131113123113321133121313121211331231131213113213311213131311123311321331121312113312311332111314111221411431111111224111422121124121421141122141221112214112412122114122411142112142211241211221114413111241112134111111242121142121241114212124112124211411212421112421211212141214121412121111143111341131141114113114311411113411311113141114131311141411131211412211214211232"

const stop128 = "2331112"

const (
	startB128 = 104
	startC128 = 105
	codeC128  = 99
	codeB128  = 100
)

// code128 returns the widths, in modules, of bars and spaces in turn, beginning with a bar. It takes printable ASCII;
// runs of four and more digits are packed in set C.
func code128(text string) ([]byte, error) {
	if text == "" || len(text) > 80 {
		return nil, fmt.Errorf("%w: length", errCode128)
	}
	digits := func(i int) int {
		n := 0
		for i+n < len(text) && text[i+n] >= '0' && text[i+n] <= '9' {
			n++
		}
		return n
	}
	var symbols []byte
	set := byte(0)
	enter := func(s byte) {
		switch {
		case set == s:
			return
		case set == 0 && s == 'C':
			symbols = append(symbols, startC128)
		case set == 0:
			symbols = append(symbols, startB128)
		case s == 'C':
			symbols = append(symbols, codeC128)
		default:
			symbols = append(symbols, codeB128)
		}
		set = s
	}
	for i := 0; i < len(text); {
		if n := digits(i); n >= 4 && n%2 == 0 || set == 'C' && n >= 2 {
			enter('C')
			symbols = append(symbols, (text[i]-'0')*10+text[i+1]-'0')
			i += 2
			continue
		}
		if text[i] < ' ' || text[i] > '~' {
			return nil, fmt.Errorf("%w: character %d", errCode128, i+1)
		}
		enter('B')
		symbols = append(symbols, text[i]-' ')
		i++
	}
	check := int(symbols[0])
	for i, s := range symbols[1:] {
		check += (i + 1) * int(s)
	}
	symbols = append(symbols, byte(check%103))
	out := make([]byte, 0, 6*len(symbols)+7)
	for _, s := range symbols {
		for _, d := range []byte(widths128[6*int(s) : 6*int(s)+6]) {
			out = append(out, d-'0')
		}
	}
	for _, d := range []byte(stop128) {
		out = append(out, d-'0')
	}
	return out, nil
}
