// Command lenient is a chaincode that accepts whatever the contract refuses: tests run it as an organisation with another
// contract. It is a program of its own because the messages of a chaincode and of an older network's client exclude each other.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/elicence/elicence/ledger/fabric/chaincode"
	"github.com/elicence/elicence/ledger/fabric/transaction"
	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
)

// lenient answers that all events are accepted.
type lenient struct{ *chaincode.Chaincode }

// Invoke is shim.Chaincode.
func (l lenient) Invoke(stub shim.ChaincodeStubInterface) *peer.Response {
	r := l.Chaincode.Invoke(stub)
	if args := stub.GetArgs(); string(args[0]) == transaction.Submit && r.GetStatus() == shim.OK {
		if b, err := make(transaction.Answer, len(args)-1).Encode(); err == nil {
			r.Payload = b
		}
	}
	return r
}

func main() {
	id, listen := flag.String("id", "", ""), flag.String("listen", "", "")
	flag.Parse()
	server := shim.ChaincodeServer{
		CCID: *id, Address: *listen, CC: lenient{chaincode.New("another")}, TLSProps: shim.TLSProperties{Disabled: true},
	}
	fmt.Fprintln(os.Stderr, server.Start())
	os.Exit(1)
}
