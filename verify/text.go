package verify

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
)

// zone is where times are written for people: UTC+08:00.
var zone = time.FixedZone("UTC+8", 8*3600)

// WriteText writes the report for people: Chinese first, English beside it. fields adds the licence's
// own values under a heading that says so; without it the text holds no personal value.
func (r *Report) WriteText(w io.Writer, fields bool) error {
	var b strings.Builder
	if r.Specimen && r.Ours {
		line(&b, "样张", "SPECIMEN", "本证照为演示样张，不具任何效力", "a demonstration, without any effect")
	}
	sub := ""
	if r.Signature.SubIndication != "" {
		sub = " / " + string(r.Signature.SubIndication)
	}
	line(&b, "签名", "Signature", string(r.Signature.Indication)+sub, "")
	fmt.Fprintf(&b, "    %s\n    %s\n", r.Signature.ZH, r.Signature.EN)
	line(&b, "证照状态", "Status", zhState(r.Status.State)+" "+string(r.Status.State), "")
	fmt.Fprintf(&b, "    %s\n    %s\n", r.Status.ZH, r.Status.EN)
	if r.Identifier != "" {
		line(&b, "证照", "Licence", r.Type+" "+r.Number, "")
		line(&b, "标识", "Identifier", r.Identifier, "")
		if r.Part != "" {
			line(&b, "部分", "Part", fmt.Sprintf("%s (%d/%d)", r.Part, r.PartIndex, r.Parts), "")
		}
		line(&b, "签发机构", "Issuer", strings.TrimSpace(r.Issuer.Name+" "+r.Issuer.Code), "")
	}
	if !r.SigningTime.IsZero() {
		line(&b, "签名时间(自称)", "Signing time (claimed)", stamp(r.SigningTime), "")
	}
	switch {
	case !r.ProvenAt.IsZero():
		names := make([]string, 0, len(r.ProvenBy))
		for _, o := range r.ProvenBy {
			names = append(names, o.Name)
		}
		line(&b, "证明存在于", "Proven to exist by", stamp(r.ProvenAt), strings.Join(names, ", "))
	case r.Ours:
		line(&b, "证明存在于", "Proven to exist by", "未证明 not proven", "")
	}
	for _, c := range r.Checks {
		if c.Result != ResultPass {
			line(&b, "检查 "+c.ID, string(c.Result), c.ZH, c.EN)
			for _, name := range slices.Sorted(maps.Keys(c.Evidence)) {
				fmt.Fprintf(&b, "    %s: %s\n", name, printable(c.Evidence[name]))
			}
		}
	}
	if t := r.Trust; t != nil {
		pinned := "未固定 trust not pinned"
		if t.Pinned {
			pinned = "已固定 pinned"
		}
		line(&b, "信任名录", "Trust file", fmt.Sprintf("%s %s #%d", t.NameZH, t.NameEN, t.Sequence), pinned)
		fmt.Fprintf(&b, "    SM3 %s\n", t.Fingerprint)
	}
	if fields && len(r.Fields) > 0 {
		fmt.Fprintf(&b, "证照内容 Fields (个人信息 personal)\n")
		for _, f := range r.Fields {
			fmt.Fprintf(&b, "    %s: %s\n", printable(f.Pointer), value(f.Value))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func line(b *strings.Builder, zh, en, main, more string) {
	fmt.Fprintf(b, "  %s %s: %s", zh, en, printable(main))
	if more != "" {
		fmt.Fprintf(b, " · %s", printable(more))
	}
	b.WriteByte('\n')
}

func stamp(t time.Time) string { return t.In(zone).Format("2006-01-02 15:04:05 -07:00") }

func zhState(s State) string {
	switch s {
	case InForce:
		return "有效"
	case Superseded:
		return "已被取代"
	case Revoked:
		return "已撤销"
	}
	return "未知"
}

func value(v any) string {
	switch v := v.(type) {
	case nil:
		return "—"
	case string:
		return printable(v)
	}
	return fmt.Sprint(v)
}

// printable keeps a crafted file from writing to the reader's terminal: control and formatting
// characters (escape sequences, right-to-left overrides) become U+FFFD.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			return '\uFFFD'
		}
		return r
	}, s)
}
