package licence

import (
	_ "embed"
	"sync"
	"unicode"
)

// guifanText is 通用规范汉字表 (2013), 8,105 characters by code point, from the Unicode Han Database (kTGH).
//
//go:embed guifan.txt
var guifanText string

// guifan is the table as a set of bits up to U+2FFFF, made at its first use: 24 KiB.
var guifan = sync.OnceValue(func() *[0x30000 / 64]uint64 {
	bits := new([0x30000 / 64]uint64)
	for _, r := range guifanText {
		if r != '\n' {
			bits[r>>6] |= 1 << (r & 63)
		}
	}
	return bits
})

// IsStandardHanzi reports whether the character stands in 通用规范汉字表 (2013).
func IsStandardHanzi(r rune) bool {
	return r >= 0 && r < 0x30000 && guifan()[r>>6]>>(r&63)&1 == 1
}

// IsGB18030Hanzi reports whether a Chinese character belongs to implementation level 3 of GB 18030-2022: 87,887 of
// them, which every system must be able to take, show and print.
func IsGB18030Hanzi(r rune) bool {
	switch {
	case r >= 0x4E00 && r <= 0x9FEF, // CJK unified ideographs as of Unicode 11
		r >= 0x3400 && r <= 0x4DB5,   // extension A
		r >= 0x20000 && r <= 0x2A6D6, // B
		r >= 0x2A700 && r <= 0x2B734, // C
		r >= 0x2B740 && r <= 0x2B81D, // D
		r >= 0x2B820 && r <= 0x2CEA1, // E
		r >= 0x2CEB0 && r <= 0x2EBE0: // F
		return true
	}
	switch r { // unified ideographs in the compatibility block
	case 0xFA0E, 0xFA0F, 0xFA11, 0xFA13, 0xFA14, 0xFA1F, 0xFA21, 0xFA23, 0xFA24, 0xFA27, 0xFA28, 0xFA29:
		return true
	}
	return false
}

// isUncommon reports whether a name has a Chinese character outside 通用规范汉字表.
func isUncommon(s string) bool {
	for _, r := range s {
		if r >= 0x2E80 && !IsStandardHanzi(r) && unicode.Is(unicode.Han, r) {
			return true
		}
	}
	return false
}
