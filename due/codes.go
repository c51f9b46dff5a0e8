package due

// Words are a text in Chinese and in English.
type Words struct{ ZH, EN string }

// codes are in the order of documents. Workers use them, and only them.
var codes = []struct {
	code string
	Words
}{
	{"unreachable", Words{"接收方连接不上", "the receiver cannot be reached"}},
	{"timeout", Words{"接收方未在限时内答复", "the receiver did not answer in time"}},
	{"tls", Words{"与接收方的加密连接未建立：证书不符或不受信任", "no trusted TLS connection: a certificate does not fit"}},
	{"unavailable", Words{"接收方暂不可用", "the receiver is not available for now"}},
	{"receiver-error", Words{"接收方处理出错", "the receiver failed on it"}},
	{"refused", Words{"接收方拒收", "the receiver refuses it"}},
	{"configuration", Words{"接收方的配置有误", "the receiver's configuration does not hold"}},
	{"folder", Words{"交换目录不可写", "the exchange folder cannot be written to"}},
	{"awaits-receipt", Words{"等待入账回执", "it waits for its receipt of the log"}},
	{"ledger-refused", Words{"账本拒绝了这一步，无可交付", "the ledger refused the step: there is nothing to deliver"}},
	{"unreadable", Words{"部件或密钥读不出来", "a part cannot be read: damaged, or its data key is gone"}},
	{"key", Words{"签名密钥不可用", "the signing key is not at hand"}},
	{"records", Words{"记录暂不可用", "the records are not available for now"}},
	{"does-not-fit", Words{"对账不符", "what was compared does not fit"}},
	{CodeErased, Words{"该证照的个人数据已销毁，不再交付", "the personal data of the licence were erased: nothing more is delivered"}},
	{CodeInterrupted, Words{"程序停止，未完成", "the program was stopped"}},
	{CodeAbandoned, Words{"多次领取后都未答复", "it was taken again and again, and nobody came back"}},
	{CodeInternal, Words{"程序内部错误", "a fault of this program"}},
}

// Codes returns every failure code, in the order of the documents.
func Codes() []string {
	out := make([]string, len(codes))
	for i, c := range codes {
		out[i] = c.code
	}
	return out
}

// Say returns the words of a failure code; the code itself if it is none.
func Say(code string) Words {
	for _, c := range codes {
		if c.code == code {
			return c.Words
		}
	}
	return Words{code, code}
}
