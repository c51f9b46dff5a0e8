package network

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"
)

// configtx describes the channel. No majority decides anything: chaincode definitions, channel configuration and the
// ledger's transactions need commission, police and archive together.
var configtxTemplate = template.Must(template.New("configtx").Parse(`
Organizations:
  - &Ordering
    Name: Ordering
    ID: OrderingMSP
    MSPDir: {{.Crypto}}/ordering/msp
    OrdererEndpoints: [{{range $i, $o := .Orderers}}{{if $i}}, {{end}}"127.0.0.1:{{$o.Port}}"{{end}}]
    Policies:
      Readers: {Type: Signature, Rule: "OR('OrderingMSP.member')"}
      Writers: {Type: Signature, Rule: "OR('OrderingMSP.member')"}
      Admins: {Type: Signature, Rule: "OR('OrderingMSP.admin')"}
{{- range .Members}}
  - &{{.MSP}}
    Name: {{.MSP}}
    ID: {{.MSP}}
    MSPDir: {{$.Crypto}}/{{.Name}}/msp
    AnchorPeers: [{Host: 127.0.0.1, Port: {{.Port}}}]
    Policies:
      Readers: {Type: Signature, Rule: "OR('{{.MSP}}.admin', '{{.MSP}}.peer', '{{.MSP}}.client')"}
      Writers: {Type: Signature, Rule: "OR('{{.MSP}}.admin', '{{.MSP}}.client')"}
      Admins: {Type: Signature, Rule: "OR('{{.MSP}}.admin')"}
      Endorsement: {Type: Signature, Rule: "OR('{{.MSP}}.peer')"}
{{- end}}
Profiles:
  Licence:
    Policies:
      Readers: {Type: ImplicitMeta, Rule: "ANY Readers"}
      Writers: {Type: ImplicitMeta, Rule: "ANY Writers"}
      Admins: {Type: ImplicitMeta, Rule: "ALL Admins"}
    Capabilities: {V2_0: true}
    Orderer:
      OrdererType: etcdraft
      BatchTimeout: {{.BatchTimeout}}
      BatchSize: {MaxMessageCount: {{.MaxMessages}}, AbsoluteMaxBytes: 50 MB, PreferredMaxBytes: 4 MB}
      EtcdRaft:
        Consenters:
{{- range .Orderers}}
          - {Host: 127.0.0.1, Port: {{.Port}}, ClientTLSCert: {{.Cert}}, ServerTLSCert: {{.Cert}}}
{{- end}}
        Options: {TickInterval: 100ms, ElectionTick: 10, HeartbeatTick: 1, MaxInflightBlocks: 5, SnapshotIntervalSize: 16 MB}
      Organizations: [*Ordering]
      Policies:
        Readers: {Type: ImplicitMeta, Rule: "ANY Readers"}
        Writers: {Type: ImplicitMeta, Rule: "ANY Writers"}
        Admins: {Type: ImplicitMeta, Rule: "ALL Admins"}
        BlockValidation: {Type: ImplicitMeta, Rule: "ANY Writers"}
      Capabilities: {V2_0: true}
    Application:
      Organizations: [{{range $i, $o := .Members}}{{if $i}}, {{end}}*{{$o.MSP}}{{end}}]
      Policies:
        LifecycleEndorsement: {Type: ImplicitMeta, Rule: "ALL Endorsement"}
        Endorsement: {Type: ImplicitMeta, Rule: "ALL Endorsement"}
        Readers: {Type: ImplicitMeta, Rule: "ANY Readers"}
        Writers: {Type: ImplicitMeta, Rule: "ANY Writers"}
        Admins: {Type: ImplicitMeta, Rule: "ALL Admins"}
      Capabilities: {V2_5: true}
`))

func (n *Network) configtx() ([]byte, error) {
	type orderer struct {
		Port int
		Cert string
	}
	type member struct {
		Organisation
		Port int
	}
	data := struct {
		Crypto       string
		Orderers     []orderer
		Members      []member
		BatchTimeout time.Duration
		MaxMessages  int
	}{Crypto: n.at("crypto"), BatchTimeout: n.layout.Options.BatchTimeout, MaxMessages: n.layout.Options.MaxMessages}
	for _, name := range n.orderers() {
		data.Orderers = append(data.Orderers, orderer{n.port(name).Listen, n.at("crypto", "ordering", name, "tls", "server.crt")})
	}
	for _, o := range Organisations() {
		data.Members = append(data.Members, member{o, n.port("peer." + o.Name).Listen})
	}
	var b bytes.Buffer
	err := configtxTemplate.Execute(&b, data)
	return b.Bytes(), err
}

// builders are what a peer calls to "build" a chaincode that is a service: it only hands the address on.
var builders = map[string]string{
	"detect":  "#!/bin/sh\nexec grep -q '\"type\" *: *\"ccaas\"' \"$2/metadata.json\"\n",
	"build":   "#!/bin/sh\nexec cp \"$1/connection.json\" \"$3/connection.json\"\n",
	"release": "#!/bin/sh\nmkdir -p \"$2/chaincode/server\" && exec cp \"$1/connection.json\" \"$2/chaincode/server/connection.json\"\n",
}

// configure writes the folder that a node reads its configuration from.
func (n *Network) configure(name string) error {
	sample := "orderer.yaml"
	if strings.HasPrefix(name, "peer.") {
		sample = "core.yaml"
	}
	b, err := os.ReadFile(filepath.Join(n.layout.Options.Tools, sample))
	if err != nil {
		return err
	}
	text := strings.ReplaceAll(string(b), "/opt/hyperledger/ccaas_builder", n.at("builder"))
	text = strings.ReplaceAll(text, "endpoint: unix:///var/run/docker.sock", "endpoint:")
	for _, script := range sortedNames(builders) {
		path := n.at("builder", "bin", script)
		if err := errors.Join(write(path, []byte(builders[script])), os.Chmod(path, 0o755)); err != nil {
			return err
		}
	}
	return write(n.at(name, sample), []byte(text))
}

// environment of a node.
func (n *Network) environment(name string) []string {
	p := n.port(name)
	if o, ok := organisation(strings.TrimPrefix(name, "peer.")); ok {
		tls := n.at("crypto", o.Name, name, "tls")
		return append(n.peerEnvironment(o, name),
			"CORE_PEER_ID="+name, "CORE_PEER_LISTENADDRESS="+address(p.Listen),
			"CORE_PEER_CHAINCODELISTENADDRESS="+address(p.Chaincode), "CORE_PEER_CHAINCODEADDRESS="+address(p.Chaincode),
			"CORE_OPERATIONS_LISTENADDRESS="+address(p.Operations),
			"CORE_PEER_GOSSIP_BOOTSTRAP="+address(p.Listen), "CORE_PEER_GOSSIP_ENDPOINT="+address(p.Listen), "CORE_PEER_GOSSIP_EXTERNALENDPOINT="+address(p.Listen),
			"CORE_PEER_TLS_CERT_FILE="+tls+"/server.crt", "CORE_PEER_TLS_KEY_FILE="+tls+"/server.key",
			"CORE_PEER_FILESYSTEMPATH="+n.at(name, "data"), "CORE_LEDGER_SNAPSHOTS_ROOTDIR="+n.at(name, "snapshots"),
			// With Fabric's own intervals peers find each other only after half a minute.
			"CORE_PEER_GOSSIP_RECONNECTINTERVAL=1s", "CORE_PEER_GOSSIP_ALIVETIMEINTERVAL=1s", "CORE_PEER_GOSSIP_ALIVEEXPIRATIONTIMEOUT=10s",
			"CORE_PEER_GOSSIP_PUBLISHSTATEINFOINTERVAL=1s", "CORE_PEER_GOSSIP_REQUESTSTATEINFOINTERVAL=1s", "CORE_PEER_GOSSIP_PUBLISHCERTPERIOD=1s",
			// A peer that has lost its disk looks, for each block in which its organisation approved a chaincode, for what nobody else
			// has: by default a minute each.
			"CORE_PEER_GOSSIP_PVTDATA_PULLRETRYTHRESHOLD=1s",
		)
	}
	node := n.at("crypto", "ordering", name)
	tls := node + "/tls"
	return []string{
		"FABRIC_CFG_PATH=" + n.at(name),
		"ORDERER_GENERAL_LISTENADDRESS=127.0.0.1", fmt.Sprintf("ORDERER_GENERAL_LISTENPORT=%d", p.Listen),
		"ORDERER_GENERAL_LOCALMSPID=OrderingMSP", "ORDERER_GENERAL_LOCALMSPDIR=" + node + "/msp",
		"ORDERER_GENERAL_TLS_ENABLED=true", "ORDERER_GENERAL_TLS_PRIVATEKEY=" + tls + "/server.key",
		"ORDERER_GENERAL_TLS_CERTIFICATE=" + tls + "/server.crt", "ORDERER_GENERAL_TLS_ROOTCAS=[" + tls + "/ca.crt]",
		"ORDERER_GENERAL_BOOTSTRAPMETHOD=none", "ORDERER_CHANNELPARTICIPATION_ENABLED=true",
		"ORDERER_FILELEDGER_LOCATION=" + n.at(name, "ledger"),
		"ORDERER_CONSENSUS_WALDIR=" + n.at(name, "wal"), "ORDERER_CONSENSUS_SNAPDIR=" + n.at(name, "snap"),
		"ORDERER_OPERATIONS_LISTENADDRESS=" + address(p.Operations), "ORDERER_METRICS_PROVIDER=prometheus",
		"ORDERER_ADMIN_LISTENADDRESS=" + address(p.Admin), "ORDERER_ADMIN_TLS_ENABLED=true",
		"ORDERER_ADMIN_TLS_CERTIFICATE=" + tls + "/server.crt", "ORDERER_ADMIN_TLS_PRIVATEKEY=" + tls + "/server.key",
		"ORDERER_ADMIN_TLS_CLIENTROOTCAS=[" + tls + "/ca.crt]", "ORDERER_ADMIN_TLS_ROOTCAS=[" + tls + "/ca.crt]",
	}
}

// peerEnvironment is what the program peer reads, as a node or as the tool of one of the organisation's identities.
func (n *Network) peerEnvironment(o Organisation, identity string) []string {
	return []string{
		"FABRIC_CFG_PATH=" + n.at("peer."+o.Name), "CORE_PEER_TLS_ENABLED=true", "CORE_PEER_LOCALMSPID=" + o.MSP,
		"CORE_PEER_ADDRESS=" + address(n.port("peer."+o.Name).Listen), "CORE_PEER_TLS_ROOTCERT_FILE=" + n.at("crypto", o.Name, "tlsca.pem"),
		"CORE_PEER_MSPCONFIGPATH=" + n.at("crypto", o.Name, identity, "msp"),
	}
}

// joinOrderer hands the channel's first block to an orderer's channel participation API.
func (n *Network) joinOrderer(ctx context.Context, name string) error {
	tlsFolder := n.at("crypto", "ordering", name, "tls")
	own, err := tls.LoadX509KeyPair(tlsFolder+"/server.crt", tlsFolder+"/server.key")
	if err != nil {
		return err
	}
	roots, err := os.ReadFile(tlsFolder + "/ca.crt")
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	block, err := os.ReadFile(n.at("genesis.block"))
	if err != nil {
		return err
	}
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("config-block", "config.block")
	if err != nil {
		return err
	}
	if _, err := part.Write(block); err != nil {
		return err
	}
	if err := form.Close(); err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+address(n.port(name).Admin)+"/participation/v1/channels", &body)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", form.FormDataContentType())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusCreated {
		text, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		return errors.Join(fmt.Errorf("%s: %s: %s", name, response.Status, text), err)
	}
	return nil
}

// pack makes the chaincode package of an organisation: nothing but where its own chaincode process listens. It returns the
// file and the id by which its peer will know the package.
func (n *Network) pack(o Organisation) (file, id string, err error) {
	return n.packFor(o, label, n.port("peer."+o.Name).Served)
}

// packFor makes a package with a label for a chaincode process on a port.
func (n *Network) packFor(o Organisation, label string, port int) (file, id string, err error) {
	fields := map[string]any{"address": address(port), "dial_timeout": "10s", "tls_required": n.layout.Options.ChaincodeTLS}
	if n.layout.Options.ChaincodeTLS {
		// The peer's own key for this is in the package: it is a secret of the organisation, and no two have the same package.
		fields["client_auth_required"] = true
		for field, path := range map[string]string{
			"client_cert": n.at("crypto", o.Name, "chaincode", "client.crt"), "client_key": n.at("crypto", o.Name, "chaincode", "client.key"),
			"root_cert": n.at("crypto", o.Name, "tlsca.pem"),
		} {
			b, err := os.ReadFile(path)
			if err != nil {
				return "", "", err
			}
			fields[field] = string(b)
		}
	}
	connection, err := json.Marshal(fields)
	if err != nil {
		return "", "", err
	}
	code, err := archive(map[string][]byte{"connection.json": connection})
	if err != nil {
		return "", "", err
	}
	metadata := fmt.Appendf(nil, `{"type":"ccaas","label":%q}`, label)
	b, err := archive(map[string][]byte{"code.tar.gz": code, "metadata.json": metadata})
	if err != nil {
		return "", "", err
	}
	file = n.at("config", label+"."+o.Name+".tar.gz")
	return file, fmt.Sprintf("%s:%x", label, sha256.Sum256(b)), write(file, b)
}

func archive(files map[string][]byte) ([]byte, error) {
	var b bytes.Buffer
	zipped := gzip.NewWriter(&b)
	t := tar.NewWriter(zipped)
	for _, name := range sortedNames(files) {
		if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name]))}); err != nil {
			return nil, err
		}
		if _, err := t.Write(files[name]); err != nil {
			return nil, err
		}
	}
	err := errors.Join(t.Close(), zipped.Close())
	return b.Bytes(), err
}
