package licence

import "testing"

func TestTimeArithmetic(t *testing.T) {
	for _, c := range []struct {
		what     string
		got      func() (int, error)
		want     int
		mustFail bool
	}{
		{"the day before the birthday", func() (int, error) { return age("2000-05-10", "2026-05-09T23:59:00+08:00") }, 25, false},
		{"on the birthday", func() (int, error) { return age("2000-05-10", "2026-05-10T00:00:00+08:00") }, 26, false},
		{"leap day, the day before", func() (int, error) { return age("2004-02-29", "2026-02-28T12:00:00+08:00") }, 21, false},
		{"leap day, first of March", func() (int, error) { return age("2004-02-29", "2026-03-01T00:00:00+08:00") }, 22, false},
		{"another zone is read in ours", func() (int, error) { return age("2000-05-10", "2026-05-09T16:00:00Z") }, 26, false},
		{"no date", func() (int, error) { return age("2000-13-10", "2026-05-09T16:00:00Z") }, 0, true},
		{"no time", func() (int, error) { return age("2000-12-10", "now") }, 0, true},

		{"a month to the minute", func() (int, error) { return months("2026-10-25T09:00:00+08:00", "2026-11-25T09:00:00+08:00") }, 1, false},
		{"a minute less", func() (int, error) { return months("2026-10-25T09:01:00+08:00", "2026-11-25T09:00:00+08:00") }, 0, false},
		{"from the 31st to a month's last day", func() (int, error) { return months("2026-01-31", "2026-02-28") }, 1, false},
		{"from the 31st, a day less", func() (int, error) { return months("2026-01-31", "2026-02-27") }, 0, false},
		{"from the 31st, hour not reached", func() (int, error) { return months("2026-08-31T10:00:00+08:00", "2026-09-30T09:00:00+08:00") }, 0, false},
		{"from the 31st, hour reached", func() (int, error) { return months("2026-08-31T10:00:00+08:00", "2026-09-30T10:00:00+08:00") }, 1, false},
		{"from the 28th to the 31st", func() (int, error) { return months("2026-02-28", "2026-03-31") }, 1, false},
		{"a year", func() (int, error) { return months("2025-11-25", "2026-11-25") }, 12, false},
		{"backwards", func() (int, error) { return months("2026-11-25", "2025-11-25") }, -12, false},

		{"days over midnight", func() (int, error) { return days("2026-10-13T23:59:00+08:00", "2026-10-14T00:00:00+08:00") }, 1, false},
		{"days of one day", func() (int, error) { return days("2026-10-13T00:00:00+08:00", "2026-10-13") }, 0, false},
		{"days backwards", func() (int, error) { return days("2026-10-14", "2026-10-13") }, -1, false},
		{"minutes", func() (int, error) { return minutes("2026-10-13T23:59:00+08:00", "2026-10-14T00:01:00+08:00") }, 2, false},
		{"minutes of no time", func() (int, error) { return minutes("2026-10-13T23:59:00+08:00", "2026-02-30") }, 0, true},
	} {
		got, err := c.got()
		if (err != nil) != c.mustFail || got != c.want {
			t.Errorf("%s: %d %v, want %d", c.what, got, err, c.want)
		}
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string][2]string{
		"曹宸书": {"曹", "宸书"}, "欧阳修": {"欧阳", "修"}, "欧阳": {"欧", "阳"}, "司马相如": {"司马", "相如"}, "曹": {"曹", ""},
		"𠮷一": {"𠮷", "一"}, "阿卜杜·买买提": {"", "阿卜杜·买买提"}, "MARIA": {"", "MARIA"}, "": {"", ""},
	} {
		if s, g := surname(name), givenName(name); s != want[0] || g != want[1] {
			t.Errorf("%s: %q %q", name, s, g)
		}
	}
	for name, ok := range map[string]bool{
		"曹宸书": true, "MARIA DEL CARMEN GARCÍA LÓPEZ": true, "Nguyễn Văn Ánh": true, "阿卜杜热西提·买买提依明·吐尔逊": true,
		"O'Brien": true, "Jean-Luc": true, "J. R. Smith": true, "LUCÍA 赵诗": true, "〇": true, "J.R. Smith": true, "བསྟན་འཛིན": false,
		"": false, " ": false, "曹 ": false, " 曹": false, "曹  书": false, "曹·": false, "·曹": false, "曹··书": false, "曹-·书": false,
		"曹1": false, "曹，书": false, "曹/书": false, "曹\t书": false, "\u0301曹": false, "张三（李四）": false,
	} {
		if isPersonName(name) != ok {
			t.Errorf("%q: %v", name, !ok)
		}
	}
}

func TestCharacters(t *testing.T) {
	for r, want := range map[rune][2]bool{ // standard, GB 18030 level 3
		'一': {true, true}, '䶮': {true, true}, '𬭎': {true, true}, '堃': {true, true}, '𠮷': {false, true}, '㐂': {false, true},
		'臺': {false, true}, 0xFA0E: {false, true}, 0x2EBE0: {false, true}, 0x2EBE1: {false, false}, 0x30000: {false, false},
		0x9FF0: {false, false}, 'A': {false, false}, -1: {false, false},
	} {
		if IsStandardHanzi(r) != want[0] || IsGB18030Hanzi(r) != want[1] {
			t.Errorf("%U: %v %v", r, IsStandardHanzi(r), IsGB18030Hanzi(r))
		}
	}
	standard, gb := 0, 0
	for r := rune(0); r < 0x40000; r++ {
		if IsStandardHanzi(r) {
			standard++
			if !IsGB18030Hanzi(r) {
				t.Errorf("%U is standard and not in GB 18030", r)
			}
		}
		if IsGB18030Hanzi(r) {
			gb++
		}
	}
	if standard != 8105 || gb != 87887 {
		t.Errorf("%d standard characters, %d of GB 18030-2022", standard, gb)
	}
}

func TestEditDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"weightGrams", "weightgrams", 0}, {"wieghtGrams", "weightGrams", 2}, {"name", "names", 1}, {"", "ab", 2}, {"abc", "xyz", 3}, {"a", "abcdef", 3}} {
		if got := editDistance(c.a, c.b, 3); got != c.want {
			t.Errorf("%s %s: %d", c.a, c.b, got)
		}
	}
}
