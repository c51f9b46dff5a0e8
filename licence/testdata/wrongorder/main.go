// Command wrongorder must not compile: each line that says so is refused by the compiler. See
// TestWrongOrderDoesNotCompile.
package main

import "github.com/elicence/elicence/licence"

// issue stands for issuing.Service.Issue: it takes what was approved.
func issue(licence.Approved) {}

func main() {
	d, _, _ := licence.Check(nil, licence.Input{})
	raw := licence.Input{Raw: []byte("{}")}

	issue(d)                                            // wrong: not approved
	issue(raw)                                          // wrong: not even checked
	issue(licence.Approved(d))                          // wrong: a conversion approves nothing
	issue(licence.Approved{draft: d, by: "me"})         // wrong: only Approve makes one
	_ = licence.Draft{d: nil}                           // wrong: only Check makes one
	_, _ = raw.Approve("me", d.Digest())                // wrong: a request is no draft
	_, _ = d.Approve("me")                              // wrong: of which draft?
	_, _ = licence.Approved{}.Approve("me", d.Digest()) // wrong: approved twice
	a, _ := d.Approve("me", d.Digest())
	a.by = "someone else"       // wrong: who approved is fixed
	d.d.document["child"] = nil // wrong: a draft does not change
	issue(a)
}
