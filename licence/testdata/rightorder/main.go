// Command rightorder shows the one way from a request to issuing. It is compiled by TestWrongOrderDoesNotCompile.
package main

import "github.com/elicence/elicence/licence"

// issue stands for issuing.Service.Issue: it takes what was approved.
func issue(licence.Approved) {}

func main() {
	d, _, err := licence.Check(nil, licence.Input{})
	if err != nil {
		return
	}
	a, err := d.Approve("second person", d.Digest())
	if err != nil {
		return
	}
	issue(a)
}
