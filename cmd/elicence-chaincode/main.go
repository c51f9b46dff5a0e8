// Command elicence-chaincode serves the ledger's contract to a Hyperledger Fabric peer, as chaincode-as-a-service.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/elicence/elicence/ledger/fabric/chaincode"
	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "elicence-chaincode: %v\n", err)
		os.Exit(1)
	}
}

// run serves until ctx ends or the server fails.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var id, address, cert, key, clients string
	c := &cobra.Command{
		Use:   "elicence-chaincode --id PACKAGE --listen ADDRESS",
		Short: "向 Fabric 节点提供账本合约 / serve the ledger's contract to a Fabric peer",
		Long: `向本机构的 Fabric 节点提供账本合约。没有证书时只能在本机回环地址上监听。
Serve the ledger's contract to this organisation's Fabric peer. Without a certificate it listens on loopback only.`,
		Example: `  elicence-chaincode --id licence_1:3f5c… --listen 127.0.0.1:9999
  elicence-chaincode --id licence_1:3f5c… --listen :9999 --cert server.pem --key server.key --client-ca peer-ca.pem`,
		Version: build(), Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			server := &shim.ChaincodeServer{CCID: id, Address: address, CC: chaincode.New(serving(id)), TLSProps: shim.TLSProperties{Disabled: true}}
			if err := secure(server, cert, key, clients); err != nil {
				return err
			}
			failed := make(chan error, 1)
			go func() { failed <- server.Start() }()
			select {
			case err := <-failed:
				return err
			case <-cmd.Context().Done():
				return nil
			}
		},
	}
	c.Flags().StringVar(&id, "id", "", "安装后的链码包标识 / package id of the installed chaincode")
	c.Flags().StringVar(&address, "listen", "", "监听地址 / address to listen on")
	c.Flags().StringVar(&cert, "cert", "", "TLS 证书 / TLS certificate, PEM")
	c.Flags().StringVar(&key, "key", "", "TLS 私钥文件 / TLS private key, PEM")
	c.Flags().StringVar(&clients, "client-ca", "", "签发节点 TLS 证书的 CA / CA of the peer's TLS certificate, PEM")
	for _, flag := range []string{"id", "listen"} {
		if err := c.MarkFlagRequired(flag); err != nil {
			return err
		}
	}
	c.SetArgs(args)
	c.SetOut(stdout)
	c.SetErr(stderr)
	return c.ExecuteContext(ctx)
}

var errUnprotected = errors.New("未加密的服务只能监听回环地址 / without --cert, --key and --client-ca it may listen on loopback only")

// secure puts TLS in, in both directions: whoever can speak to a chaincode makes it judge, and whoever can stand in its
// place judges.
func secure(s *shim.ChaincodeServer, cert, key, clients string) (err error) {
	if cert == "" && key == "" && clients == "" {
		if !loopback(s.Address) {
			return errUnprotected
		}
		return nil
	}
	if cert == "" || key == "" || clients == "" {
		return errors.New("--cert, --key, --client-ca 须同时给出 / go together")
	}
	p := shim.TLSProperties{}
	if p.Cert, err = os.ReadFile(cert); err != nil {
		return err
	}
	if p.Key, err = os.ReadFile(key); err != nil {
		return err
	}
	if p.ClientCACerts, err = os.ReadFile(clients); err != nil {
		return err
	}
	s.TLSProps = p
	return nil
}

// serving names this program and the package that it serves: what members run side by side during an upgrade is told apart by it.
func serving(id string) string {
	label, _, _ := strings.Cut(id, ":")
	return build() + ", package " + label
}

// build names this program: the revision that it was built from.
func build() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	name := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			name += " " + s.Value
		}
		if s.Key == "vcs.modified" && s.Value == "true" {
			name += " modified"
		}
	}
	return name
}
