package network

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// What happens to a network in its life: another leader, a disk that is lost, certificates that end, a later contract. All of it
// is done with Fabric's own programs, as administrators do it.

// Leader is the orderer that leads, as the orderers' own metrics say.
func (n *Network) Leader(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		for _, name := range n.orderers() {
			if leads, err := n.leads(ctx, name); err == nil && leads {
				return name, nil
			}
		}
		if !pause(ctx, 50*time.Millisecond) {
			return "", errors.New("network: no orderer leads")
		}
	}
}

// leads reads an orderer's operations service, GET /metrics.
func (n *Network) leads(ctx context.Context, name string) (bool, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address(n.port(name).Operations)+"/metrics", nil)
	if err != nil {
		return false, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if lines.Text() == `consensus_etcdraft_is_leader{channel="`+Channel+`"} 1` {
			return true, nil
		}
	}
	return false, nil
}

// Wipe takes a peer's disk away: its chain, its state and its packages. Its certificates stay. The peer must not run.
func (n *Network) Wipe(name string) error {
	if !strings.HasPrefix(name, "peer.") || n.Runs(name) {
		return fmt.Errorf("network: %s is no peer that is stopped", name)
	}
	return errors.Join(os.RemoveAll(n.at(name, "data")), os.RemoveAll(n.at(name, "snapshots")))
}

// Rejoin puts a peer with an empty disk on the channel again, from its first block, and installs the organisation's packages. The
// channel remembers what it has approved.
func (n *Network) Rejoin(ctx context.Context, o Organisation) error {
	files := []string{n.at("config", label+"."+o.Name+".tar.gz")}
	n.mu.Lock()
	for _, name := range sortedNames(n.layout.Served) {
		if n.layout.Served[name].Organisation == o.Name {
			files = append(files, n.at("config", name+".tar.gz"))
		}
	}
	n.mu.Unlock()
	if _, err := n.tool(ctx, n.peerEnvironment(o, "admin"), "peer", "channel", "join", "-b", n.at("genesis.block")); err != nil {
		return err
	}
	for _, file := range files {
		if _, err := n.tool(ctx, n.peerEnvironment(o, "admin"), "peer", "lifecycle", "chaincode", "install", file); err != nil {
			return err
		}
	}
	return nil
}

// served is a chaincode process of a later package.
type served struct{ Organisation, Program, ID string }

// serve is how a chaincode process is started.
func (n *Network) serve(program, organisation, id string, port int) *exec.Cmd {
	args := []string{"--id", id, "--listen", address(port)}
	if n.layout.Options.ChaincodeTLS {
		folder := n.at("crypto", organisation, "chaincode")
		args = append(args, "--cert", folder+"/server.crt", "--key", folder+"/server.key", "--client-ca", n.at("crypto", organisation, "tlsca.pem"))
	}
	return exec.Command(program, args...)
}

// chaincode writes the two ends of the TLS between an organisation's peer and its chaincode process.
func (t *trustees) chaincode() error {
	for _, end := range []string{"server", "client"} {
		p, err := t.tls.issue("chaincode-"+end, "", "", true)
		if err != nil {
			return err
		}
		path := filepath.Join(t.folder, "chaincode", end)
		if err := errors.Join(write(path+".crt", p.certificate), write(path+".key", p.key)); err != nil {
			return err
		}
	}
	return nil
}

// Definition is a chaincode definition that follows the first one.
type Definition struct {
	Name     string // of the chaincode
	Label    string // of the package
	Version  string
	Sequence int
}

// Install gives an organisation a later package and starts the program that serves it, beside the one that runs. It returns the
// process's name.
func (n *Network) Install(ctx context.Context, o Organisation, label, program string) (string, error) {
	free, err := freePorts(1)
	if err != nil {
		return "", err
	}
	file, id, err := n.packFor(o, label, free[0])
	if err != nil {
		return "", err
	}
	name := label + "." + o.Name
	n.mu.Lock()
	n.layout.Ports[name], n.layout.Served[name] = ports{Listen: free[0]}, served{o.Name, program, id}
	n.mu.Unlock()
	if err := n.Start(name); err != nil {
		return "", err
	}
	if _, err := n.tool(ctx, n.peerEnvironment(o, "admin"), "peer", "lifecycle", "chaincode", "install", file); err != nil {
		return "", err
	}
	return name, n.Listening(ctx, name)
}

// definition is what every organisation has to approve alike.
func (n *Network) definition(d Definition) []string {
	var all []string
	for _, o := range Organisations() {
		all = append(all, "'"+o.MSP+".peer'")
	}
	return []string{
		"-o", address(n.port("orderer1").Listen), "--tls", "--cafile", n.at("crypto", "ordering", "tlsca.pem"),
		"-C", Channel, "-n", d.Name, "-v", d.Version, "--sequence", fmt.Sprint(d.Sequence), "--signature-policy", "AND(" + strings.Join(all, ",") + ")",
	}
}

// Approve has an organisation's admin approve a definition, with the package that it has installed for it.
func (n *Network) Approve(ctx context.Context, o Organisation, d Definition) error {
	n.mu.Lock()
	id := n.layout.Served[d.Label+"."+o.Name].ID
	n.mu.Unlock()
	args := append([]string{"lifecycle", "chaincode", "approveformyorg", "--package-id", id}, n.definition(d)...)
	_, err := n.tool(ctx, n.peerEnvironment(o, "admin"), "peer", args...)
	return err
}

// Commit has the first organisation's admin put a definition into force, endorsed by the peers of these organisations.
func (n *Network) Commit(ctx context.Context, d Definition, by ...Organisation) error {
	args := append([]string{"lifecycle", "chaincode", "commit"}, n.definition(d)...)
	for _, o := range by {
		args = append(args, "--peerAddresses", address(n.port("peer."+o.Name).Listen), "--tlsRootCertFiles", n.at("crypto", o.Name, "tlsca.pem"))
	}
	_, err := n.tool(ctx, n.peerEnvironment(by[0], "admin"), "peer", args...)
	return err
}

// ExpiredClient makes an organisation a client identity whose certificate has expired. Only on a network that this process
// brought up.
func (n *Network) ExpiredClient(o Organisation, name string) (notAfter time.Time, err error) {
	t := n.trust[o.Name]
	if t == nil {
		return notAfter, fmt.Errorf("network: the authority of %s is not here", o.Name)
	}
	if err := t.identity(name, "client", ""); err != nil {
		return notAfter, err
	}
	return t.identities.expire(filepath.Join(t.folder, name, "msp", "signcerts", "cert.pem"))
}

// ExpireTLS puts a certificate that has expired in the place of a peer's TLS certificate; restore puts the good one back. The peer
// reads it when it starts.
func (n *Network) ExpireTLS(o Organisation) (notAfter time.Time, restore func() error, err error) {
	t := n.trust[o.Name]
	if t == nil {
		return notAfter, nil, fmt.Errorf("network: the authority of %s is not here", o.Name)
	}
	path := filepath.Join(t.folder, "peer."+o.Name, "tls", "server.crt")
	good, err := os.ReadFile(path)
	if err != nil {
		return notAfter, nil, err
	}
	notAfter, err = t.tls.expire(path)
	return notAfter, func() error { return write(path, good) }, err
}

// expire signs a certificate of the authority anew, of the same key and with the same content, so that it expired a minute ago. It
// begins with the authority: a peer judges the chain at the time when the certificate began.
func (a *authority) expire(path string) (notAfter time.Time, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return notAfter, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return notAfter, fmt.Errorf("network: %s holds no certificate", path)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return notAfter, err
	}
	c.NotBefore, c.NotAfter, c.ExtraExtensions = a.certificate.NotBefore, time.Now().Add(-time.Minute), c.Extensions
	der, err := x509.CreateCertificate(rand.Reader, c, a.certificate, c.PublicKey, a.key)
	if err != nil {
		return notAfter, err
	}
	return c.NotAfter, write(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
