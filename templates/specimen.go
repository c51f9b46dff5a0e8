package templates

// specimen draws 样张 SPECIMEN in outline across a face.
func (e *easel) specimen(s specimenYAML, colour string) {
	const em = mm // points in a millimetre of type
	e.stroke(colour, 0.3)
	e.pdf.TransformBegin()
	e.pdf.TransformRotate(s.Angle, s.X, s.Y)
	// For search and copying the mark is one word, not letters strewn over the page.
	e.pdf.RawWriteStr(string(append(appendUTF16([]byte("/Span<</ActualText"), "样张 SPECIMEN"), ">>BDC"...)))
	e.pdf.SetTextRenderingMode(1)
	e.text(s.X, s.Y+s.Size*0.14, "样张", bold, s.Size*em, s.Size*0.12, "centre", colour)
	width := e.width("样张", bold, s.Size*em, s.Size*0.12)
	natural := e.width("SPECIMEN", bold, 100, 0)
	size := 100 * width / natural
	e.text(s.X, s.Y+s.Size*0.14+size/em*0.92, "SPECIMEN", bold, size, 0, "centre", colour)
	e.pdf.SetTextRenderingMode(0)
	e.pdf.RawWriteStr("EMC")
	e.pdf.TransformEnd()
}
