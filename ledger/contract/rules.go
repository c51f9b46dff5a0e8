package contract

import (
	"maps"
	"slices"
)

// Refusal says which rule an event breaks. Rule is stable: programs may depend on it. No text holds anything from the
// event.
type Refusal struct {
	Rule string `json:"rule"`
	ZH   string `json:"zh"`
	EN   string `json:"en"`
}

// Error gives "rule: Chinese / English".
func (r *Refusal) Error() string { return r.Rule + ": " + r.ZH + " / " + r.EN }

// Rules of form: what is wrong with an event that stands alone.
const (
	RuleMalformed        = "malformed"
	RuleTooLarge         = "too-large"
	RuleVersion          = "unknown-version"
	RuleKind             = "unknown-kind"
	RuleFields           = "wrong-fields"
	RuleTimeRange        = "time-out-of-range"
	RuleReason           = "unknown-reason"
	RuleCustody          = "unknown-custody"
	RuleParts            = "wrong-parts"
	RuleOrganisationKind = "unknown-organisation-kind"
)

// Rules of who may speak.
const (
	RuleFirstEntry            = "first-entry"
	RuleNotEnrolled           = "actor-not-enrolled"
	RuleWithdrawn             = "certificate-withdrawn"
	RuleCertificateOfAnother  = "certificate-of-another"
	RuleCertificateTime       = "certificate-not-valid-then"
	RuleSignature             = "bad-signature"
	RuleActorKind             = "wrong-actor-kind"
	RuleNotRegistrar          = "not-registrar"
	RuleEnrolmentCertificate  = "unfit-certificate"
	RuleEnrolledAlready       = "enrolled-already"
	RuleKindChanged           = "organisation-kind-changed"
	RuleTooManyCertificates   = "too-many-certificates"
	RuleRegistrarCertificate  = "registrar-certificate"
	RuleCertificateNotCurrent = "certificate-not-enrolled"
	RuleSentByAnother         = "sent-by-another"
	RuleTimeAhead             = "time-ahead"
)

// Rules of custody and status.
const (
	RuleHandleTaken         = "issued-already"
	RuleUnknownLicence      = "unknown-licence"
	RuleRevoked             = "revoked"
	RuleSuperseded          = "superseded"
	RuleStale               = "stale-predecessor"
	RuleTimeBack            = "time-before-last"
	RuleUnknownPart         = "unknown-part"
	RuleNotTransferable     = "not-transferable"
	RuleNotHolder           = "not-holder"
	RuleHandedOverAlready   = "handed-over-already"
	RuleReceiverNotEnrolled = "receiver-not-enrolled"
	RuleReceiverKind        = "receiver-not-archive"
	RuleReceiverSelf        = "receiver-is-holder"
	RuleNotHandedOver       = "not-handed-over"
	RuleAcceptedAlready     = "accepted-already"
	RuleAnotherReceiver     = "another-receiver"
	RuleRegisteredAlready   = "registered-already"
	RuleNotIssuer           = "not-issuer"
	RuleSuccessorSelf       = "successor-is-itself"
	RuleSuccessorUnknown    = "successor-unknown"
	RuleSuccessorOfAnother  = "successor-of-another"
	RuleSuccessorTaken      = "successor-taken"
	RuleSuccessorEnded      = "successor-ended"
)

var ruleTexts = map[string][2]string{
	RuleMalformed:        {"不是规范编码的签名事件", "not a signed event in its one canonical encoding"},
	RuleTooLarge:         {"事件超过允许的长度", "the event is larger than allowed"},
	RuleVersion:          {"事件版本未知", "the event is of an unknown version"},
	RuleKind:             {"事件种类未知", "the event is of an unknown kind"},
	RuleFields:           {"缺少字段、有多余字段或字段格式不对", "a field is missing, does not belong to this kind or has a wrong form"},
	RuleTimeRange:        {"事件时间不合理", "the event's time is out of range"},
	RuleReason:           {"事由代码不在列表内", "the reason code is not on the list"},
	RuleCustody:          {"保管方式未知", "the custody word is unknown"},
	RuleParts:            {"各联的名称或承诺值重复、为空或过多", "parts are too many, or a name or commitment is empty or occurs twice"},
	RuleOrganisationKind: {"机构类别未知", "the kind of organisation is unknown"},

	RuleFirstEntry:            {"账本的第一条必须是登记机构为自己登记证书", "the first entry must be the registrar enrolling itself"},
	RuleNotEnrolled:           {"签名证书没有登记", "the signing certificate has not been enrolled"},
	RuleWithdrawn:             {"证书已被撤出", "the certificate has been withdrawn"},
	RuleCertificateOfAnother:  {"签名证书不属于行为机构", "the signing certificate is not the actor's"},
	RuleCertificateTime:       {"事件时间不在证书有效期内", "the event's time lies outside the certificate's validity"},
	RuleSignature:             {"签名不正确", "the signature does not verify"},
	RuleActorKind:             {"这类机构无权做这一步", "an organisation of this kind may not take this step"},
	RuleNotRegistrar:          {"只有登记机构可以登记或撤出证书", "only the registrar enrols and withdraws certificates"},
	RuleEnrolmentCertificate:  {"被登记的证书不是该机构的事件签名证书", "the certificate to enrol is not an event certificate of that organisation"},
	RuleEnrolledAlready:       {"证书已登记过", "the certificate is enrolled already"},
	RuleKindChanged:           {"机构类别与以前登记的不同", "the organisation was enrolled with another kind"},
	RuleTooManyCertificates:   {"该机构登记的证书过多", "the organisation has too many certificates"},
	RuleRegistrarCertificate:  {"登记机构不能撤出自己正在使用的证书", "the registrar cannot withdraw the certificate it signs this with"},
	RuleCertificateNotCurrent: {"要撤出的证书没有登记在该机构名下", "the certificate to withdraw is not enrolled for that organisation"},
	RuleSentByAnother:         {"提交方无权代交该机构的事件", "who submitted the event may not submit events of that organisation"},
	RuleTimeAhead:             {"事件时间晚于提交时间", "the event's time is later than when it was submitted"},

	RuleHandleTaken:         {"该证照已签发过", "this licence has been issued already"},
	RuleUnknownLicence:      {"账本上没有该证照", "the ledger knows no such licence"},
	RuleRevoked:             {"证照已撤销，不能再有任何变动", "the licence is revoked: nothing may follow"},
	RuleSuperseded:          {"证照已被换发或补发的证照代替", "the licence has been superseded by another"},
	RuleStale:               {"所指的上一事件不是该证照的最近事件", "the event named as previous is not the licence's last"},
	RuleTimeBack:            {"事件时间早于上一事件", "the event is earlier than the one before it"},
	RuleUnknownPart:         {"该证照没有这一联", "the licence has no such part"},
	RuleNotTransferable:     {"这一联不得移交", "this part is not transferable"},
	RuleNotHolder:           {"移交方不是保管机构", "who hands over does not hold the part"},
	RuleHandedOverAlready:   {"这一联已移交，尚待接收", "the part has been handed over already and awaits an answer"},
	RuleReceiverNotEnrolled: {"接收机构没有登记", "the receiver is not enrolled"},
	RuleReceiverKind:        {"接收机构不是档案馆", "the receiver is not an archive"},
	RuleReceiverSelf:        {"不能移交给自己", "a holder cannot hand over to itself"},
	RuleNotHandedOver:       {"这一联没有移交", "the part has not been handed over"},
	RuleAcceptedAlready:     {"这一联已接收过", "the part has been accepted already"},
	RuleAnotherReceiver:     {"这一联是移交给另一机构的", "the part was handed over to another organisation"},
	RuleRegisteredAlready:   {"该证照或其前一证照已办理过户口登记", "the household has been registered already, from this licence or the one it replaces"},
	RuleNotIssuer:           {"既不是签发机构也不是有权的主管机构", "neither the issuer nor an authority entitled to this"},
	RuleSuccessorSelf:       {"证照不能代替自己", "a licence cannot supersede itself"},
	RuleSuccessorUnknown:    {"账本上没有代替它的证照", "the ledger knows no such successor"},
	RuleSuccessorOfAnother:  {"代替它的证照不是该机构签发的", "the successor was not issued by the actor"},
	RuleSuccessorTaken:      {"代替它的证照已代替另一证照", "the successor has superseded another licence"},
	RuleSuccessorEnded:      {"代替它的证照已撤销或已被代替", "the successor is itself revoked or superseded"},
}

func refuse(rule string) *Refusal {
	t := ruleTexts[rule]
	return &Refusal{Rule: rule, ZH: t[0], EN: t[1]}
}

// RefusalOf is the refusal by a rule; known is false if there is no such rule.
func RefusalOf(rule string) (r *Refusal, known bool) {
	if _, known = ruleTexts[rule]; !known {
		return nil, false
	}
	return refuse(rule), true
}

// Rules are all rules with their words, in alphabetical order.
func Rules() []Refusal {
	all := make([]Refusal, 0, len(ruleTexts))
	for _, rule := range slices.Sorted(maps.Keys(ruleTexts)) {
		all = append(all, *refuse(rule))
	}
	return all
}
