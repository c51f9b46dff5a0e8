package chaincode_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/fabric/chaincode"
	"github.com/elicence/elicence/ledger/fabric/transaction"
	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// stub is what a transaction sees of a peer. Whatever else the chaincode asks for (range and rich queries, the clock, other
// chaincodes, a key it did not name) ends the test: the interface that it stands on is nil.
type stub struct {
	shim.ChaincodeStubInterface
	w       *world
	args    [][]byte
	creator []byte
	sent    time.Time

	written  map[string][]byte // not visible to the transaction itself
	policies map[string][]byte
	batching bool
	reads    int // calls that read
	late     int // reads after the first write
	ranges   int // queries that are open
}

func (s *stub) GetArgs() [][]byte           { return s.args }
func (s *stub) GetCreator() ([]byte, error) { return s.creator, nil }
func (s *stub) GetTxTimestamp() (*timestamppb.Timestamp, error) {
	return timestamppb.New(s.sent), nil
}
func (s *stub) StartWriteBatch()        { s.batching = true }
func (s *stub) FinishWriteBatch() error { s.batching = false; return s.w.refuseWrites }

func (s *stub) GetState(key string) ([]byte, error) {
	s.read()
	return slices.Clone(s.w.state[key]), nil
}

func (s *stub) GetMultipleStates(keys ...string) ([][]byte, error) {
	s.read()
	values := make([][]byte, len(keys))
	for i, k := range keys {
		if values[i] = slices.Clone(s.w.state[k]); values[i] == nil {
			values[i] = []byte{} // as a peer does
		}
	}
	return values, nil
}

func (s *stub) read() {
	s.reads++
	if len(s.written) > 0 {
		s.late++
	}
}

func (s *stub) PutState(key string, value []byte) error {
	if len(value) == 0 {
		return errors.New("an empty value is a deleted key")
	}
	s.written[key] = slices.Clone(value)
	return nil
}

func (s *stub) SetStateValidationParameter(key string, policy []byte) error {
	s.policies[key] = policy
	return nil
}

// world is a peer's state of one ledger, and who sends.
type world struct {
	t            *testing.T
	chaincode    *chaincode.Chaincode
	state        map[string][]byte
	policies     map[string][]byte
	refuseWrites error
	last         *stub
	sent         time.Time // the time of transactions; zero for now
}

// newWorld is a ledger without a registry.
func newWorld(t *testing.T) *world {
	return &world{t: t, chaincode: chaincode.New("test"), state: map[string][]byte{}, policies: map[string][]byte{}}
}

// invoke runs a transaction and commits it if it succeeds.
func (w *world) invoke(from []byte, function string, args ...[]byte) *peer.Response {
	w.t.Helper()
	s := &stub{w: w, args: append([][]byte{[]byte(function)}, args...), creator: from, sent: w.sent, written: map[string][]byte{}, policies: map[string][]byte{}}
	if s.sent.IsZero() {
		s.sent = time.Now()
	}
	w.last = s
	r := w.chaincode.Invoke(s)
	if s.late > 0 {
		w.t.Errorf("%s reads after it has written: a peer would not show it its own writes", function)
	}
	if s.batching {
		w.t.Errorf("%s leaves its write batch open", function)
	}
	if r.GetStatus() == shim.OK {
		maps.Copy(w.state, s.written)
		maps.Copy(w.policies, s.policies)
	}
	return r
}

// submit returns the rules of the answer.
func (w *world) submit(from []byte, events ...[]byte) transaction.Answer {
	w.t.Helper()
	r := w.invoke(from, transaction.Submit, events...)
	if r.GetStatus() != shim.OK {
		w.t.Fatal(r.GetMessage())
	}
	a, err := transaction.ParseAnswer(r.GetPayload(), len(events))
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// sender makes a transport identity: unit is Fabric's role, code the organisation that it is narrowed to.
func sender(t *testing.T, member, unit, code string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test", OrganizationalUnit: []string{unit}}, NotAfter: time.Now().Add(time.Hour)}
	if code != "" {
		b, err := json.Marshal(map[string]any{"attrs": map[string]string{transaction.OrganisationAttribute: code}})
		if err != nil {
			t.Fatal(err)
		}
		template.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4, 5, 6, 7, 8, 1}, Value: b}}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(&msp.SerializedIdentity{Mspid: member, IdBytes: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func registry(number uint64, extra ...transaction.Member) transaction.Registry {
	return transaction.NewRegistry(number, append([]transaction.Member{
		{MSP: "CommissionMSP", Kind: contract.Commission}, {MSP: "PoliceMSP", Kind: contract.Police}, {MSP: "ArchiveMSP", Kind: contract.Archive},
	}, extra...)...)
}

func encode(t *testing.T, r transaction.Registry) []byte {
	t.Helper()
	b, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// founded is a ledger with a registry.
func founded(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	for _, m := range []string{"CommissionMSP", "PoliceMSP", "ArchiveMSP"} {
		if r := w.invoke(sender(t, m, "admin", ""), transaction.ProposeRegistry, encode(t, registry(1))); r.GetStatus() != shim.OK {
			t.Fatal(r.GetMessage())
		}
	}
	return w
}
