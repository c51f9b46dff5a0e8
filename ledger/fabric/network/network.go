// Package network runs a whole Hyperledger Fabric network on this machine: ordering service, a peer and a chaincode process for
// each of commission, police and archive, as native processes on loopback, with everything below one folder. Tests and
// `make fabric-up` use it; a production network is laid out alike, each organisation on machines of its own.
package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/fabric"
)

// Organisation is a member of the network.
type Organisation struct {
	Name string // as in process and folder names
	MSP  string
	Kind contract.OrganisationKind
}

// Organisations are the three members.
func Organisations() []Organisation {
	return []Organisation{
		{"commission", "CommissionMSP", contract.Commission},
		{"police", "PoliceMSP", contract.Police},
		{"archive", "ArchiveMSP", contract.Archive},
	}
}

// Options of a network.
type Options struct {
	Tools        string        // folder of peer, orderer, configtxgen, core.yaml and orderer.yaml
	Chaincode    string        // the program elicence-chaincode
	Orderers     int           // 1 or 3
	BatchTimeout time.Duration // how long a block waits for more transactions; 0: 200 ms
	MaxMessages  int           // transactions of a block; 0: 500
	// ChaincodeTLS has peers and chaincode processes speak TLS with each other, each showing a certificate.
	ChaincodeTLS bool
	// Detached lets the processes outlive this one; else they end with it.
	Detached bool
}

// Channel is the name of the network's channel.
const Channel = "licence"

// label of the chaincode package.
const label = "licence_1"

// ports of one node. They are chosen once: a node that comes back is where it was.
type ports struct{ Listen, Admin, Chaincode, Served, Operations int }

// layout is what is kept in the folder of a network, so that another process can go on with it.
type layout struct {
	Options  Options
	Ports    map[string]ports
	Running  map[string]process
	Packages map[string]string // package id by organisation
	Served   map[string]served // chaincode processes of later packages, by name
}

// Network is one that was brought up. It is safe for concurrent use.
type Network struct {
	folder string

	mu     sync.Mutex
	layout layout
	trust  map[string]*trustees     // authorities by organisation; only where the network was brought up
	ended  map[string]chan struct{} // of the processes that this one started
}

// Logf is told of each step of a bringing-up and how long after the beginning it was done.
type Logf func(step string, after time.Duration)

// Up makes a network in a folder, which must be empty or absent, and starts it. On an error everything is stopped; the logs
// stay in the folder. No chaincode is deployed yet.
func Up(ctx context.Context, folder string, o Options, logf Logf) (_ *Network, err error) {
	if o.Orderers != 1 && o.Orderers != 3 {
		return nil, fmt.Errorf("network: %d orderers: one or three", o.Orderers)
	}
	if o.BatchTimeout == 0 {
		o.BatchTimeout = 200 * time.Millisecond
	}
	if o.MaxMessages == 0 {
		o.MaxMessages = 500
	}
	if logf == nil {
		logf = func(string, time.Duration) {}
	}
	if folder, err = filepath.Abs(folder); err != nil {
		return nil, err
	}
	if entries, err := os.ReadDir(folder); err == nil && len(entries) > 0 {
		return nil, fmt.Errorf("network: %s is not empty", folder)
	}
	begun := time.Now()
	n := &Network{folder: folder, layout: layout{Options: o, Ports: map[string]ports{}, Running: map[string]process{}, Packages: map[string]string{}, Served: map[string]served{}},
		trust: map[string]*trustees{}, ended: map[string]chan struct{}{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Down())
		}
	}()
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"keys and certificates", n.certify},
		{"first block of the channel", n.genesis},
		{"orderers and peers listen", n.startNodes},
		{"orderers and peers joined the channel", n.join},
		{"chaincode is installed and runs", n.install},
	} {
		if err := step.do(ctx); err != nil {
			return nil, fmt.Errorf("network: %s: %w", step.name, err)
		}
		logf(step.name, time.Since(begun))
	}
	return n, n.save()
}

// Open goes on with a network that another process brought up.
func Open(folder string) (*Network, error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(folder, "network.json"))
	if err != nil {
		return nil, fmt.Errorf("network: %w", err)
	}
	n := &Network{folder: folder, ended: map[string]chan struct{}{}}
	if err := json.Unmarshal(b, &n.layout); err != nil {
		return nil, fmt.Errorf("network: %s/network.json: %w", folder, err)
	}
	if n.layout.Served == nil {
		n.layout.Served = map[string]served{}
	}
	return n, nil
}

func (n *Network) save() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	b, err := json.MarshalIndent(n.layout, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(n.folder, "network.json")
	return errors.Join(write(path+".new", b), os.Rename(path+".new", path))
}

// Names of all processes: orderer1, peer.police, chaincode.police and so on.
func (n *Network) Names() []string {
	n.mu.Lock()
	later := sortedNames(n.layout.Served)
	n.mu.Unlock()
	return slices.Concat(n.orderers(), each("peer."), each("chaincode."), later)
}

func (n *Network) orderers() []string {
	var names []string
	for i := range n.layout.Options.Orderers {
		names = append(names, fmt.Sprintf("orderer%d", i+1))
	}
	return names
}

func each(prefix string) []string {
	var names []string
	for _, o := range Organisations() {
		names = append(names, prefix+o.Name)
	}
	return names
}

// at returns the path of something in the network's folder.
func (n *Network) at(elements ...string) string {
	return filepath.Join(append([]string{n.folder}, elements...)...)
}

// Log returns the path of a process's log.
func (n *Network) Log(name string) string { return n.at("logs", name+".log") }

func (n *Network) port(name string) ports {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.layout.Ports[name]
}

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// freePorts finds n ports that nobody listens on.
func freePorts(n int) ([]int, error) {
	var found []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all are held until all are found, so that none comes twice
		found = append(found, l.Addr().(*net.TCPAddr).Port)
	}
	return found, nil
}

func (n *Network) certify(context.Context) error {
	names := append(n.orderers(), each("peer.")...)
	free, err := freePorts(5 * len(names))
	if err != nil {
		return err
	}
	for i, name := range names {
		n.layout.Ports[name] = ports{Listen: free[5*i], Admin: free[5*i+1], Chaincode: free[5*i+2], Served: free[5*i+3], Operations: free[5*i+4]}
	}
	ordering, err := newTrustees(n.at("crypto", "ordering"), "ordering")
	if err != nil {
		return err
	}
	for _, name := range n.orderers() {
		if err := ordering.node(name, "orderer"); err != nil {
			return err
		}
	}
	for _, o := range Organisations() {
		t, err := newTrustees(n.at("crypto", o.Name), o.Name)
		if err != nil {
			return err
		}
		n.trust[o.Name] = t
		if err := errors.Join(t.node("peer."+o.Name, "peer"), t.chaincode(), t.identity("admin", "admin", ""), t.identity("client", "client", "")); err != nil {
			return err
		}
	}
	return nil
}

func (n *Network) genesis(ctx context.Context) error {
	text, err := n.configtx()
	if err != nil {
		return err
	}
	if err := write(n.at("config", "configtx.yaml"), text); err != nil {
		return err
	}
	_, err = n.tool(ctx, []string{"FABRIC_CFG_PATH=" + n.at("config")}, "configtxgen", "-profile", "Licence", "-channelID", Channel, "-outputBlock", n.at("genesis.block"))
	return err
}

// tool runs one of Fabric's programs to its end.
func (n *Network) tool(ctx context.Context, env []string, name string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, filepath.Join(n.layout.Options.Tools, name), args...)
	c.Dir, c.Env = n.folder, append([]string{"PATH=/usr/bin:/bin", "FABRIC_LOGGING_SPEC=warning"}, env...)
	out, err := c.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args[:min(2, len(args))], " "), err, out)
	}
	return string(out), nil
}

func (n *Network) startNodes(ctx context.Context) error {
	for _, name := range append(n.orderers(), each("peer.")...) {
		if err := n.configure(name); err != nil {
			return err
		}
		if err := n.Start(name); err != nil {
			return err
		}
	}
	for _, name := range append(n.orderers(), each("peer.")...) {
		if err := n.Listening(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (n *Network) join(ctx context.Context) error {
	for _, name := range n.orderers() {
		if err := n.joinOrderer(ctx, name); err != nil {
			return err
		}
	}
	return everyone(func(o Organisation) error {
		_, err := n.tool(ctx, n.peerEnvironment(o, "admin"), "peer", "channel", "join", "-b", n.at("genesis.block"))
		return err
	})
}

// everyone does something for all organisations at once.
func everyone(do func(Organisation) error) error {
	var wait sync.WaitGroup
	organisations := Organisations()
	errs := make([]error, len(organisations))
	for i, o := range organisations {
		wait.Go(func() { errs[i] = do(o) })
	}
	wait.Wait()
	return errors.Join(errs...)
}

func (n *Network) install(ctx context.Context) error {
	return everyone(func(o Organisation) error {
		file, id, err := n.pack(o)
		if err != nil {
			return err
		}
		n.mu.Lock()
		n.layout.Packages[o.Name] = id
		n.mu.Unlock()
		if err := n.Start("chaincode." + o.Name); err != nil {
			return err
		}
		if _, err := n.tool(ctx, n.peerEnvironment(o, "admin"), "peer", "lifecycle", "chaincode", "install", file); err != nil {
			return err
		}
		return n.Listening(ctx, "chaincode."+o.Name)
	})
}

// Endpoint is an organisation's peer as one of its identities ("client", "admin" or one that Client made) sees it.
func (n *Network) Endpoint(o Organisation, identity, chaincode string) fabric.Endpoint {
	msp := n.at("crypto", o.Name, identity, "msp")
	var members []string
	var peers, orderers []fabric.Node
	for _, m := range Organisations() {
		members = append(members, m.MSP)
		if m != o {
			peers = append(peers, fabric.Node{Member: m.MSP, Address: address(n.port("peer." + m.Name).Listen), ServerCA: n.at("crypto", m.Name, "tlsca.pem")})
		}
	}
	for _, name := range n.orderers() {
		orderers = append(orderers, fabric.Node{Address: address(n.port(name).Listen), ServerCA: n.at("crypto", "ordering", "tlsca.pem")})
	}
	return fabric.Endpoint{
		Address: address(n.port("peer." + o.Name).Listen), ServerCA: n.at("crypto", o.Name, "tlsca.pem"), Member: o.MSP,
		Cert: filepath.Join(msp, "signcerts", "cert.pem"), Key: filepath.Join(msp, "keystore", "key_sk"),
		Channel: Channel, Chaincode: chaincode, Members: members, Peers: peers, Orderers: orderers,
	}
}

func organisation(name string) (Organisation, bool) {
	all := Organisations()
	i := slices.IndexFunc(all, func(o Organisation) bool { return o.Name == name })
	if i < 0 {
		return Organisation{}, false
	}
	return all[i], true
}
