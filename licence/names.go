package licence

import (
	"slices"
	"unicode"
	"unicode/utf8"
)

// Compound surnames that occur; of a name that begins with one, the first character alone is not the surname.
var compoundSurnames = []string{
	"欧阳", "太史", "端木", "上官", "司马", "东方", "独孤", "南宫", "万俟", "闻人", "夏侯", "诸葛", "尉迟", "公羊", "赫连",
	"澹台", "皇甫", "宗政", "濮阳", "公冶", "太叔", "申屠", "公孙", "慕容", "仲孙", "钟离", "长孙", "宇文", "司徒", "鲜于",
	"司空", "闾丘", "子车", "亓官", "司寇", "巫马", "公西", "颛孙", "壤驷", "公良", "漆雕", "乐正", "宰父", "谷梁", "拓跋",
	"夹谷", "轩辕", "令狐", "段干", "百里", "呼延", "东郭", "南门", "羊舌", "微生", "梁丘", "左丘", "东门", "西门", "第五",
}

// surname returns the surname of a Chinese name, "" for a name that is not in Chinese characters or has a middle dot.
func surname(name string) string {
	if !isHan(name) {
		return ""
	}
	_, n := utf8.DecodeRuneInString(name)
	_, m := utf8.DecodeRuneInString(name[n:])
	if m > 0 && len(name) > n+m && slices.Contains(compoundSurnames, name[:n+m]) {
		return name[:n+m]
	}
	return name[:n]
}

// sameSurname reports whether the names share a surname, or whether that cannot be told because one is not a Chinese
// name: 民法典 1015 leaves foreign names and those of ethnic groups to their own custom.
func sameSurname(a, b string) bool {
	s, t := surname(a), surname(b)
	return s == "" || t == "" || s == t
}

// isHan reports whether a name is of Chinese characters only.
func isHan(s string) bool {
	for _, r := range s {
		if !unicode.Is(unicode.Han, r) {
			return false
		}
	}
	return s != ""
}

// isMixed reports whether a name has both Chinese characters and letters of another script.
func isMixed(s string) bool {
	han, other := false, false
	for _, r := range s {
		switch {
		case unicode.Is(unicode.Han, r):
			han = true
		case unicode.IsLetter(r):
			other = true
		}
	}
	return han && other
}

// givenName is the name without its surname; the whole name if no surname can be told.
func givenName(name string) string { return name[len(surname(name)):] }
