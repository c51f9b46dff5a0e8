package credential_test

import (
	"context"
	"strings"
	"testing"

	"github.com/emmansun/gmsm/sm3"

	"github.com/elicence/elicence/signer/credential"
	"github.com/elicence/elicence/signer/signertest"
)

const (
	identifier = "1.2.156.3005.2.11000000DEM000001H001.91350100M000100Y43.A000000001.001.X"
	number     = "A000000001"
)

var seed = sm3.Sum([]byte("seed of the sample"))

// sampleFields is a licence with every kind of value.
func sampleFields() []credential.Field {
	var fields []credential.Field
	for _, f := range []struct {
		pointer string
		value   any
	}{
		{"/child/name", "曹宸书"}, {"/child/sex", "female"}, {"/child/bornAt", "2026-10-13T05:31:00+08:00"},
		{"/child/weightGrams", int64(3418)}, {"/child/gestation/days", nil}, {"/mother/name", "吉𠮷·\"quoted\" \\ name"},
		{"/mother/idNumber", "310191200312200026"}, {"/father/unknown", true}, {"/offset", int64(-40)},
	} {
		fields = append(fields, credential.Field{Pointer: f.pointer, Salt: credential.FieldSalt(seed, f.pointer), Value: f.value})
	}
	return fields
}

func samplePayload(tb testing.TB) credential.Payload {
	tb.Helper()
	root, err := credential.Root(1, sampleFields())
	if err != nil {
		tb.Fatal(err)
	}
	return credential.Payload{
		Identifier: identifier, Number: number, Type: "birth-certificate", Parts: 2, Issuer: signertest.Code, IssueDate: "2026-10-14",
		StatusIndex: 123456, Specimen: true, TreeSize: len(sampleFields()), TreeRoot: root,
		Clear: []credential.Clear{
			{Key: "child.name", Value: "曹宸书"}, {Key: "child.sex", Value: "female"}, {Key: "child.bornAt", Value: "2026-10-13T05:31:00+08:00"},
			{Key: "mother.name", Value: "吉𠮷·\"quoted\" \\ name"}, {Key: "mother.idNumber", Value: "310*************26"},
		},
	}
}

func sampleDisclosure(tb testing.TB, cred []byte) *credential.Disclosure {
	tb.Helper()
	return &credential.Disclosure{
		Type: "birth-certificate", SchemaVersion: 1, Identifier: identifier, Number: number, Part: "main", PartIndex: 1, Parts: 2,
		Issuer: signertest.Code, Specimen: true, Handle: sm3.Sum([]byte("handle")), PartSalt: sm3.Sum([]byte("part salt")),
		Credential: cred, Fields: sampleFields(),
		ClearSpec: []credential.ClearField{
			{Key: "child.name", Pointer: "/child/name"}, {Key: "child.sex", Pointer: "/child/sex"}, {Key: "child.bornAt", Pointer: "/child/bornAt"},
			{Key: "mother.name", Pointer: "/mother/name"}, {Key: "mother.idNumber", Pointer: "/mother/idNumber", Mask: true},
		},
	}
}

func signed(tb testing.TB, c *signertest.Chain, p credential.Payload) []byte {
	tb.Helper()
	b, err := credential.Sign(context.Background(), c.Key, c.Leaf, p)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func repeat(s string, n int) string { return strings.Repeat(s, n) }
