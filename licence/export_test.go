package licence

// ReadJSON is the reader without a type: every key is known. clean is false if it noted a fault.
func ReadJSON(raw []byte) (v any, clean bool, err error) {
	clean = true
	r := reader{in: raw, note: func(string, string) { clean = false }, text: func(string, string) {}}
	v, err = r.document()
	return v, clean, err
}
