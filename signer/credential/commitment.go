package credential

import "github.com/emmansun/gmsm/sm3"

const commitLabel = "elicence/commit/1"

// PartCommitment is what the ledger learns of a part: SM3 of CBOR ["elicence/commit/1", salt, SM3(part), identifier,
// part]. The salt travels only inside that part, so whoever holds the whole ledger cannot test a guess; whoever holds
// the part can show that it is the one that was entered.
func PartCommitment(salt, partSM3 [32]byte, identifier, part string) [32]byte {
	b := make([]byte, 0, 256)
	b = appendHead(b, cborArray, 5)
	b = appendText(b, commitLabel)
	b = appendBytes(b, salt[:])
	b = appendBytes(b, partSM3[:])
	b = appendText(b, identifier)
	b = appendText(b, part)
	return sm3.Sum(b)
}
