package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/ledger/fabric"
	"github.com/elicence/elicence/ledger/fabric/transaction"
)

// membersView is the registry of who sends whose events.
type membersView struct {
	Number   uint64       `json:"number"` // 0: there is none yet
	Members  []memberView `json:"members"`
	Proposal string       `json:"proposal,omitempty"` // what became of one that was made now: proposed, or in force
}

type memberView struct {
	MSP  string `json:"msp"`
	Kind string `json:"kind"`
}

func (a *app) ledgerMembers() *cobra.Command {
	var proposed []string
	var cert, key string
	c := &cobra.Command{
		Use: "members", Short: "成员 · which members send whose events, and changes of it (on Hyperledger Fabric)", Args: cobra.NoArgs,
		Long: `Members shows the registry that stands on the chain: which member is of which kind.

With --propose an administrator of this organisation proposes the next one, whole. It comes into force when a member of
each kind has proposed the very same, the first one when every member that it names has. The administrator's certificate and key
are those of the network, not of this installation.`,
		Example: "  elicence ledger members --json\n  elicence ledger members --propose CommissionMSP=commission,PoliceMSP=police,ArchiveMSP=archive,CountyMSP=archive --cert admin.pem --key admin.key",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (len(proposed) > 0) != (cert != "" && key != "") {
				return usage("--propose, --cert and --key belong together")
			}
			i, err := a.openForReading(cmd.Context())
			if err != nil {
				return err
			}
			defer i.close()
			if i.config.Ledger.Driver != onFabric {
				return errNotOnFabric
			}
			v, err := i.members(cmd.Context(), proposed, cert, key)
			if err != nil {
				return err
			}
			return a.tell(v, func(w io.Writer) { printMembers(w, v) })
		},
	}
	f := c.Flags()
	f.StringSliceVar(&proposed, "propose", nil, "MSP=KIND of every member; kinds are commission, police and archive")
	f.StringVar(&cert, "cert", "", "certificate of the organisation's administrator on the network, PEM")
	f.StringVar(&key, "key", "", "file with the administrator's private key, PEM")
	return c
}

func (i *installation) members(ctx context.Context, proposed []string, cert, key string) (v membersView, err error) {
	if len(proposed) > 0 { // what cannot stand is said before anybody is asked
		if _, err := proposal(1, proposed); err != nil {
			return v, err
		}
	}
	m := i.config.Ledger.Fabric.Members[0]
	if cert != "" {
		// They are named by whoever is at the keyboard, not by the settings.
		if m.Cert, err = filepath.Abs(cert); err != nil {
			return v, err
		}
		if m.Key, err = filepath.Abs(key); err != nil {
			return v, err
		}
	}
	peer, err := i.connect(m)
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, peer.Close()) }()
	standing, err := registryOn(ctx, peer)
	if err != nil {
		return v, err
	}
	if len(proposed) > 0 {
		next, err := proposal(standing.Number+1, proposed)
		if err != nil {
			return v, err
		}
		answer, err := fabric.Invoke(ctx, peer, transaction.ProposeRegistry, next)
		if err != nil {
			return v, err
		}
		v.Proposal = string(answer)
		if standing, err = registryOn(ctx, peer); err != nil {
			return v, err
		}
	}
	v.Number = standing.Number
	for _, m := range standing.Members {
		v.Members = append(v.Members, memberView{m.MSP, string(m.Kind)})
	}
	return v, nil
}

// registryOn is the registry in force at the own peer, the zero one for none.
func registryOn(ctx context.Context, peer fabric.Chain) (transaction.Registry, error) {
	b, err := peer.Evaluate(ctx, "", transaction.ReadRegistry)
	if err != nil || len(b) == 0 {
		return transaction.Registry{}, err
	}
	return transaction.ParseRegistry(b)
}

// proposal is the registry that --propose names.
func proposal(number uint64, named []string) ([]byte, error) {
	var all []transaction.Member
	for _, one := range named {
		msp, kind, ok := strings.Cut(one, "=")
		if !ok {
			return nil, usage("--propose: %q is not MSP=KIND", one)
		}
		all = append(all, transaction.Member{MSP: msp, Kind: contract.OrganisationKind(kind)})
	}
	b, err := transaction.NewRegistry(number, all...).Encode()
	if err != nil {
		return nil, usage("--propose: %w", err)
	}
	return b, nil
}

func printMembers(w io.Writer, v membersView) {
	switch v.Proposal {
	case "":
	case "in force":
		fmt.Fprintln(w, "✓ 已生效 in force")
	default:
		fmt.Fprintln(w, "… 已提议，待其他各类成员提议相同内容 / proposed: it waits for members of the other kinds to propose the same")
	}
	fmt.Fprintf(w, "登记 registry %d\n", v.Number)
	for _, m := range v.Members {
		fmt.Fprintf(w, "  %s  %s\n", m.MSP, m.Kind)
	}
}
