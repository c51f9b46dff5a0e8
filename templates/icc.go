package templates

import (
	"encoding/binary"
	"math"
)

// sRGB returns an ICC profile (version 2.1, ICC.1:1998-09) for the colours of our pages: the primaries of IEC 61966-2-1
// adapted to D50, and its transfer curve in 256 steps. It is computed, so that no file of others has to travel along.
func sRGB() []byte {
	be := binary.BigEndian
	fixed := func(b []byte, v float64) []byte { return be.AppendUint32(b, uint32(int32(math.Round(v*65536)))) }
	xyz := func(x, y, z float64) []byte {
		b := append([]byte("XYZ "), 0, 0, 0, 0)
		return fixed(fixed(fixed(b, x), y), z)
	}
	text := func(s string) []byte { return append(append([]byte("text"), 0, 0, 0, 0), s+"\x00"...) }
	const name = "sRGB IEC61966-2.1"
	description := be.AppendUint32(append([]byte("desc"), 0, 0, 0, 0), uint32(len(name)+1))
	description = append(append(description, name+"\x00"...), make([]byte, 4+4+2+1+67)...)
	const steps = 256
	curve := be.AppendUint32(append([]byte("curv"), 0, 0, 0, 0), steps)
	for i := range steps {
		v := float64(i) / (steps - 1)
		if v <= 0.04045 {
			v /= 12.92
		} else {
			v = math.Pow((v+0.055)/1.055, 2.4)
		}
		curve = be.AppendUint16(curve, uint16(math.Round(v*65535)))
	}
	tags := []struct {
		name string
		data []byte
	}{
		{"desc", description},
		{"cprt", text("No copyright, use freely")},
		{"wtpt", xyz(0.9642, 1, 0.8249)},
		{"rXYZ", xyz(0.4360747, 0.2225045, 0.0139322)},
		{"gXYZ", xyz(0.3850649, 0.7168786, 0.0971045)},
		{"bXYZ", xyz(0.1430804, 0.0606169, 0.7141733)},
		{"rTRC", curve}, {"gTRC", nil}, {"bTRC", nil},
	}
	head := make([]byte, 128)
	copy(head[4:], "\x00\x00\x00\x00\x02\x10\x00\x00mntrRGB XYZ ")
	be.PutUint16(head[24:], 2026)
	be.PutUint16(head[26:], 1)
	be.PutUint16(head[28:], 1)
	copy(head[36:], "acsp")
	copy(head[68:], fixed(fixed(fixed(nil, 0.9642), 1), 0.8249))
	table := be.AppendUint32(nil, uint32(len(tags)))
	at := len(head) + 4 + 12*len(tags)
	var body []byte
	last := [2]int{}
	for _, t := range tags {
		if t.data != nil {
			last = [2]int{at + len(body), len(t.data)}
			body = append(body, t.data...)
			for len(body)%4 != 0 {
				body = append(body, 0)
			}
		}
		table = append(table, t.name...)
		table = be.AppendUint32(be.AppendUint32(table, uint32(last[0])), uint32(last[1]))
	}
	profile := append(append(head, table...), body...)
	be.PutUint32(profile, uint32(len(profile)))
	return profile
}
