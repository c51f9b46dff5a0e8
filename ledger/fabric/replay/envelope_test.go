package replay

import (
	"os"
	"testing"

	"github.com/elicence/elicence/ledger/fabric/protos"
)

// FuzzEnvelope: whatever stands for a transaction in a block, it is read or refused; a configuration that is read can be asked
// about anybody.
func FuzzEnvelope(f *testing.F) {
	seeds, err := os.ReadDir("testdata/fuzz/FuzzEnvelope")
	if err != nil || len(seeds) == 0 {
		f.Fatal("no seeds", err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parseEnvelope(b, 0)
		if err != nil {
			return
		}
		e.named()
		v := newVersions()
		v.begin(1)
		before := v.conflict(e)
		v.apply(e)
		v.encodeUpdates()
		if before == "" && len(v.updates) > 0 && v.conflict(e) == "" {
			reads := 0
			for _, s := range e.sets {
				for _, r := range s.reads {
					if v.touched[nameOf(s.namespace, s.collection, r.key)] {
						reads++
					}
				}
			}
			if reads > 0 {
				t.Fatal("it does not conflict with itself")
			}
		}
		if e.kind != protos.HeaderType_CONFIG {
			return
		}
		c, err := newConfiguration(e.config)
		if err != nil {
			return
		}
		e.endorsers(c)
		if c.satisfied(nil) {
			t.Fatal("nobody satisfies the policy for blocks")
		}
		if _, err := c.identity(e.creator); err == nil && len(c.members) == 0 {
			t.Fatal("somebody of no member")
		}
	})
}
