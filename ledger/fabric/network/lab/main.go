// Command lab brings a Hyperledger Fabric network up on this machine, and down again: one folder, native processes on loopback.
// It is for development; docs/operations.md says how a production network is laid out.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/elicence/elicence/ledger/fabric/network"
)

const usage = `用法 / usage: lab [--folder FOLDER] [--orderers 1|3] [--ledger NAMES] up | down | status

  lab up                  起动网络并部署账本 / brings the network up and deploys a ledger
  lab --orderers 3 up     三个排序节点 / three orderers
  lab status              哪些进程在运行 / which processes run
  lab down                停止，保留数据与日志 / stops it; data and logs stay in the folder
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("lab", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	folder := flags.String("folder", filepath.Join("data", "fabric"), "")
	orderers := flags.Int("orderers", 1, "")
	ledgers := flags.String("ledger", "licence", "")
	timeout := flags.Duration("batch-timeout", 200*time.Millisecond, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch flags.Arg(0) {
	case "up":
		return up(ctx, *folder, *orderers, *timeout, strings.Split(*ledgers, ","))
	case "down":
		n, err := network.Open(*folder)
		if err != nil {
			return err
		}
		return n.Down()
	case "status":
		n, err := network.Open(*folder)
		if err != nil {
			return err
		}
		for _, name := range n.Names() {
			state := "停止 / stopped"
			if n.Runs(name) {
				state = "运行 / runs"
			}
			fmt.Printf("%-22s %s\n", name, state)
		}
		return nil
	default:
		flags.Usage()
		return fmt.Errorf("lab: %q: up, down or status", flags.Arg(0))
	}
}

func up(ctx context.Context, folder string, orderers int, timeout time.Duration, ledgers []string) error {
	tools, err := network.Tools()
	if err != nil {
		return err
	}
	if n, err := network.Open(folder); err == nil {
		for _, name := range n.Names() {
			if n.Runs(name) {
				return fmt.Errorf("lab: 网络已在运行，请先停止 / the network in %s runs already: stop it first", folder)
			}
		}
		// What was in it is a network that nobody can join any more: its ports and keys were made anew each time.
		if err := os.RemoveAll(folder); err != nil {
			return err
		}
	}
	built, err := network.BuildChaincode(ctx, "bin")
	if err != nil {
		return err
	}
	begun := time.Now()
	n, err := network.Up(ctx, folder, network.Options{Tools: tools, Chaincode: built, Orderers: orderers, BatchTimeout: timeout, Detached: true},
		func(step string, after time.Duration) { fmt.Printf("%8s  %s\n", after.Round(time.Millisecond), step) })
	if err != nil {
		return err
	}
	if err := n.Deploy(ctx, ledgers...); err != nil {
		return fmt.Errorf("%w; %w", err, n.Down())
	}
	fmt.Printf("%8s  账本已部署 / deployed: %s\n", time.Since(begun).Round(time.Millisecond), strings.Join(ledgers, ", "))
	path, err := n.WriteSettings(ledgers[0])
	if err != nil {
		return err
	}
	fmt.Printf("\n接着 / next: elicence init --fabric %s --data FOLDER\n", path)
	return nil
}
