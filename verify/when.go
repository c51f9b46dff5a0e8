package verify

// time applies law 6: signingTime is a claim. With a proof the chain is judged at the proven time, else
// now.
func (x *run) time() {
	at, proven := x.now, !x.r.ProvenAt.IsZero()
	if proven {
		at = x.r.ProvenAt
	}
	if x.signed != nil {
		claim := x.signed.SigningTime
		limit := at
		if !proven {
			limit = x.now.Add(clockTolerance)
		}
		switch {
		case claim.After(limit) && proven:
			x.unsure("signing-time", Authenticity, TimestampOrderFailure, "所称签名时间晚于被证明的时间", "the signer claims a time later than the proven one",
				"claimed", stamp(claim), "proven", stamp(at))
		case claim.After(limit):
			x.unsure("signing-time", Authenticity, TimestampOrderFailure, "所称签名时间在将来", "the signer claims a time in the future", "claimed", stamp(claim))
		default:
			x.pass("signing-time", Authenticity, "所称签名时间不晚于判断所依据的时间", "the claimed signing time is not later than the time judged at", "claimed", stamp(claim))
		}
	}
	j := x.leaf.chain.judge(at, proven)
	evidence := []string{"at", stamp(at), "basis", basis(proven)}
	switch {
	case j.ok || x.self && j.sub == TryLater:
		x.pass("certificate", Authenticity, "证书在判断时间有效且未被吊销", "the certificate is valid and not revoked at the time judged at", evidence...)
	case j.failed:
		x.fail("certificate", Authenticity, j.sub, j.ZH, j.EN, evidence...)
	default:
		x.unsure("certificate", Authenticity, j.sub, j.ZH, j.EN, evidence...)
	}
}

func basis(proven bool) string {
	if proven {
		return "proven time"
	}
	return "now: no time is proven"
}
