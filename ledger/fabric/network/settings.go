package network

import (
	"bytes"
	"fmt"
	"path/filepath"

	"go.yaml.in/yaml/v3"
)

// member is one client identity as a program on this network is told of it.
type member struct {
	MSP      string `yaml:"msp"`
	Kind     string `yaml:"kind"`
	Address  string `yaml:"address"`
	ServerCA string `yaml:"serverCA"`
	Cert     string `yaml:"cert"`
	Key      string `yaml:"key"`
}

// node is an orderer as a program is told of it that finds none by itself.
type node struct {
	Address  string `yaml:"address"`
	ServerCA string `yaml:"serverCA"`
}

// Settings are what an installation of the program needs to be a client of all three members: the text of network.yaml, with
// absolute paths.
func (n *Network) Settings(chaincode string) ([]byte, error) {
	s := struct {
		Channel   string   `yaml:"channel"`
		Chaincode string   `yaml:"chaincode"`
		Members   []member `yaml:"members"`
		Orderers  []node   `yaml:"orderers"` // for a program built with the tag fabricsdk
	}{Channel: Channel, Chaincode: chaincode}
	for _, o := range Organisations() {
		e := n.Endpoint(o, "client", chaincode)
		s.Members = append(s.Members, member{e.Member, string(o.Kind), e.Address, e.ServerCA, e.Cert, e.Key})
	}
	for _, o := range n.Endpoint(Organisations()[0], "client", chaincode).Orderers {
		s.Orderers = append(s.Orderers, node{o.Address, o.ServerCA})
	}
	var b bytes.Buffer
	b.WriteString("# A Hyperledger Fabric network, for: elicence init --fabric\n")
	if err := yaml.NewEncoder(&b).Encode(s); err != nil {
		return nil, fmt.Errorf("network: settings: %w", err)
	}
	return b.Bytes(), nil
}

// WriteSettings writes network.yaml into the network's folder and returns its path.
func (n *Network) WriteSettings(chaincode string) (string, error) {
	b, err := n.Settings(chaincode)
	if err != nil {
		return "", err
	}
	path := filepath.Join(n.folder, "network.yaml")
	return path, write(path, b)
}
