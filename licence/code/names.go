package code

// Place is a region's name in three steps, each "" if unknown.
type Place struct{ Province, City, County string }

// Region names a GB/T 2260 region code.
func Region(six string) Place {
	if len(six) != 6 {
		return Place{}
	}
	return Place{Province: ProvinceName(six[:2])}
}

// EthnicName returns the name as it is printed.
func EthnicName(s string) string { return s }

var nationalities = map[string]string{"CHN": "中国", "HKG": "中国(香港)", "MAC": "中国(澳门)", "TWN": "中国(台湾)", "ESP": "西班牙", "VNM": "越南"}

// NationalityName returns the Chinese name of an ISO 3166-1 alpha-3 code, "" if there is none.
func NationalityName(alpha3 string) string { return nationalities[alpha3] }

var idTypes = map[string]string{
	"resident-id-card": "居民身份证", "passport": "护照", "hk-macao-permit": "港澳居民来往内地通行证",
	"taiwan-permit": "台湾居民来往大陆通行证", "household-register": "户口簿", "residence-permit": "港澳台居民居住证",
}

// IDTypeName returns the Chinese name of an identity document's type, "" if there is none.
func IDTypeName(word string) string { return idTypes[word] }

// ethnicGroups are the 56 of GB/T 3304-1991, by full name.
var ethnicGroups = func() map[string]bool {
	m := map[string]bool{}
	for _, n := range [...]string{
		"汉族", "蒙古族", "回族", "藏族", "维吾尔族", "苗族", "彝族", "壮族", "布依族", "朝鲜族", "满族", "侗族", "瑶族", "白族",
		"土家族", "哈尼族", "哈萨克族", "傣族", "黎族", "傈僳族", "佤族", "畲族", "高山族", "拉祜族", "水族", "东乡族", "纳西族",
		"景颇族", "柯尔克孜族", "土族", "达斡尔族", "仫佬族", "羌族", "布朗族", "撒拉族", "毛南族", "仡佬族", "锡伯族", "阿昌族",
		"普米族", "塔吉克族", "怒族", "乌孜别克族", "俄罗斯族", "鄂温克族", "德昂族", "保安族", "裕固族", "京族", "塔塔尔族",
		"独龙族", "鄂伦春族", "赫哲族", "门巴族", "珞巴族", "基诺族",
	} {
		m[n] = true
	}
	return m
}()

// EthnicKnown reports whether the name is one of the 56 ethnic groups of GB/T 3304-1991, written in full.
func EthnicKnown(name string) bool { return ethnicGroups[name] }
