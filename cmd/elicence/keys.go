package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/elicence/elicence/signer/pki"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/elicence/elicence/verify/trust"
)

// keyView is one key as key list shows it.
type keyView struct {
	Organisation string    `json:"organisation"`
	Name         string    `json:"name"`
	Label        string    `json:"label"`
	Purpose      string    `json:"purpose"`
	State        string    `json:"state,omitempty"`
	SM3          string    `json:"certificateSm3"`
	Serial       string    `json:"serial"`
	NotBefore    time.Time `json:"notBefore"`
	NotAfter     time.Time `json:"notAfter"`
	Specimen     bool      `json:"demonstration"`
}

func (a *app) keyCommand() *cobra.Command {
	c := &cobra.Command{Use: "key", Short: "密钥 · signing keys of the organisations, and the key around all data keys: list, generate, retire, disable, rotate-data",
		Example: "  elicence key list"}
	var organisation string
	list := &cobra.Command{
		Use: "list", Short: "列出 · every key with its certificate; no passphrase is needed", Args: cobra.NoArgs,
		Example: "  elicence key list --organisation 12310101DEMH000016 --json",
		RunE: func(*cobra.Command, []string) error {
			i, err := a.openPlain()
			if err != nil {
				return err
			}
			views := []keyView{}
			for _, e := range i.keyring.all() {
				if organisation != "" && e.organisation != organisation {
					continue
				}
				views = append(views, viewOf(e))
			}
			return a.tell(views, func(w io.Writer) {
				t := tabwriter.NewWriter(w, 2, 4, 2, ' ', 0)
				fmt.Fprintln(t, "机构 organisation\t密钥 key\t用途 purpose\t至 until\t证书 SM3 certificate")
				for _, v := range views {
					fmt.Fprintf(t, "%s %s\t%s\t%s\t%s\t%.16s…\n", v.Organisation, v.Name, v.Label, v.Purpose, v.NotAfter.Format("2006-01-02"), v.SM3)
				}
				t.Flush()
			})
		},
	}
	list.Flags().StringVar(&organisation, "organisation", "", "one organisation only")
	c.AddCommand(list, a.keyGenerate(), a.keyState("retire"), a.keyState("disable"), a.keyRotateData())
	return c
}

func viewOf(e certified) keyView {
	k := e.certificate
	return keyView{Organisation: e.organisation, Name: k.OrganisationName(), Label: e.label, Purpose: string(k.Purpose()),
		SM3: fmt.Sprintf("%x", k.SM3()), Serial: k.SerialNumber().String(), NotBefore: k.NotBefore(), NotAfter: k.NotAfter(),
		Specimen: k.Demonstration()}
}

// openPlain opens what needs no secret.
func (a *app) openPlain() (*installation, error) {
	c, err := a.readConfig()
	if err != nil {
		return nil, err
	}
	return a.openBase(c)
}

func (a *app) keyGenerate() *cobra.Command {
	var years int
	c := &cobra.Command{
		Use: "generate ORG PURPOSE", Short: "新建 · a further key for an organisation, certified by the demonstration CA",
		Long: `Generate makes a key beside the older ones. New signatures use the newest active key; a licence whose
intent names an older key is finished with that. The trust file is published again.`,
		Example: "  elicence key generate 12310101DEMH000016 documents",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			made, err := perform(cmd.Context(), a, generatingKey(), newKey{Organisation: args[0], Purpose: args[1], Years: years})
			if err != nil {
				return err
			}
			return a.tell(map[string]string{"organisation": made.Organisation, "certificateSm3": made.SM3}, func(w io.Writer) {
				fmt.Fprintf(w, "%s %s %s\n", made.Organisation, args[1], made.SM3)
			})
		},
	}
	c.Flags().IntVar(&years, "years", 3, "validity of the certificate")
	return c
}

// newKey asks for a further key.
type newKey struct {
	Organisation string `json:"organisation"`
	Purpose      string `json:"purpose"`
	Years        int    `json:"years"`
}

// madeKey names its certificate.
type madeKey struct {
	Organisation string `json:"organisation"`
	SM3          string `json:"certificateSm3"`
}

func generatingKey() operation[newKey, madeKey] {
	return operation[newKey, madeKey]{"key-generate", func(ctx context.Context, i *installation, q newKey) (madeKey, error) {
		return i.generateKey(ctx, q)
	}}
}

// generateKey makes the key, tells the ledger of it if it signs events, and names it in the next trust file.
func (i *installation) generateKey(ctx context.Context, q newKey) (madeKey, error) {
	o, err := i.db.Organisation(ctx, q.Organisation)
	if err != nil {
		return madeKey{}, fmt.Errorf("organisation %s: %w", q.Organisation, err)
	}
	p := purpose.Purpose(q.Purpose)
	allowed := false
	for _, have := range purposesOf(o.Kind) {
		allowed = allowed || have == p
	}
	// Checkpoint and trust keys are named in trust files by readers everywhere: they change in a ceremony.
	if !allowed || p == purpose.Checkpoints || p == purpose.TrustFiles {
		return madeKey{}, usage("%s holds no key for %q that can be renewed here", o.Name, q.Purpose)
	}
	i.ceremony.Lock()
	defer i.ceremony.Unlock()
	store, err := i.keyring.keystore(ctx, o.Code)
	if err != nil {
		return madeKey{}, err
	}
	if err := i.db.Record(ctx, i.reading(ctx, actor{organisation: o}, "key-generate", "", string(p))); err != nil {
		return madeKey{}, err
	}
	certificate, err := i.keyring.add(ctx, store, o.Code, o.Name, p, i.app.now(), q.Years)
	if err != nil {
		return madeKey{}, err
	}
	// The ledger is told before anything here can use the key: what it signed before would be refused.
	if p == purpose.Events {
		if err := i.enrolKey(ctx, o.Code, o.Kind, certificate); err != nil {
			return madeKey{}, err
		}
	}
	if err := i.keyring.reload(); err != nil {
		return madeKey{}, err
	}
	return madeKey{o.Code, fmt.Sprintf("%x", certificate.SM3())}, i.publishTrust(ctx)
}

func (a *app) keyState(verb string) *cobra.Command {
	short := "停用 · no new use; what was begun with it is finished"
	if verb == "disable" {
		short = "禁用 · no use at all from now on"
	}
	return &cobra.Command{
		Use: verb + " ORG LABEL", Short: short, Example: "  elicence key " + verb + " 12310101DEMH000016 documents-1", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := perform(cmd.Context(), a, changingKey(), keyChange{Organisation: args[0], Label: args[1], Verb: verb}); err != nil {
				return err
			}
			return a.tell(map[string]string{"organisation": args[0], "label": args[1], "state": verb + "d"}, func(w io.Writer) {
				fmt.Fprintf(w, "%s %s: %sd\n", args[0], args[1], verb)
			})
		},
	}
}

// keyChange asks for a key to be retired or disabled.
type keyChange struct {
	Organisation string `json:"organisation"`
	Label        string `json:"label"`
	Verb         string `json:"verb"`
}

func changingKey() operation[keyChange, nothing] {
	return operation[keyChange, nothing]{"key-change", func(ctx context.Context, i *installation, q keyChange) (nothing, error) {
		i.ceremony.Lock()
		defer i.ceremony.Unlock()
		store, err := i.keyring.keystore(ctx, q.Organisation)
		if err != nil {
			return nothing{}, err
		}
		switch q.Verb {
		case "retire":
			err = store.Retire(q.Label)
		case "disable":
			err = store.Disable(q.Label)
		default:
			return nothing{}, usage("%q is nothing that is done to a key", q.Verb)
		}
		if err != nil {
			return nothing{}, err
		}
		e := i.reading(ctx, actor{}, "key-"+q.Verb, "", q.Label)
		e.Organisation = q.Organisation
		if err := i.db.Record(ctx, e); err != nil {
			return nothing{}, err
		}
		return nothing{}, store.Save()
	}}
}

func (a *app) caCommand() *cobra.Command {
	c := &cobra.Command{Use: "ca", Short: "证书 · the demonstration CA: show, revoke, crl", Example: "  elicence ca show"}
	show := &cobra.Command{
		Use: "show", Short: "查看 · root, issuing CA and revoked certificates", Args: cobra.NoArgs, Example: "  elicence ca show --json",
		RunE: func(*cobra.Command, []string) error {
			i, err := a.openPlain()
			if err != nil {
				return err
			}
			revoked, err := i.chain.revocations()
			if err != nil {
				return err
			}
			if revoked == nil {
				revoked = []revocation{} // a list, for programs
			}
			chain := []keyView{viewOf(certified{"", "root", i.chain.root})}
			for _, k := range i.chain.intermediates {
				chain = append(chain, viewOf(certified{"", "issuing", k}))
			}
			return a.tell(map[string]any{"chain": chain, "revoked": revoked}, func(w io.Writer) {
				for _, v := range chain {
					fmt.Fprintf(w, "%-8s %s  %s … %s\n", v.Label, v.SM3, v.NotBefore.Format("2006-01-02"), v.NotAfter.Format("2006-01-02"))
				}
				for _, r := range revoked {
					fmt.Fprintf(w, "撤销 revoked  %s  %s  %s\n", r.Serial, r.At.Format(time.RFC3339), r.Reason)
				}
			})
		},
	}
	var reason, since string
	revoke := &cobra.Command{
		Use: "revoke CERTIFICATE-SM3", Short: "吊销 · revoke a signing certificate and publish CRL and trust file again",
		Long: `Revoke says from when on the certificate is not to be believed. For keyCompromise give --since the first
moment at which the key may have been in other hands: what has a receipt from before stays good.`,
		Example: "  elicence ca revoke 3f0c… --reason keyCompromise --since 2026-11-01T00:00:00+08:00", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			at := a.now()
			if since != "" {
				var err error
				if at, err = time.Parse(time.RFC3339, since); err != nil {
					return usage("--since is a time such as 2026-11-01T00:00:00+08:00")
				}
			}
			if _, err := pki.ParseReason(reason); err != nil {
				return usage("%w", err)
			}
			return a.tellTrustOf(perform(cmd.Context(), a, revokingCertificate(), certificateEnd{Certificate: args[0], Reason: reason, Since: at}))
		},
	}
	revoke.Flags().StringVar(&reason, "reason", "keyCompromise", "keyCompromise, superseded or cessationOfOperation")
	revoke.Flags().StringVar(&since, "since", "", "from when on (default now)")
	crl := &cobra.Command{
		Use: "crl", Short: "更新 · publish fresh CRLs and the trust file with them", Args: cobra.NoArgs, Example: "  elicence ca crl",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.tellTrustOf(perform(cmd.Context(), a, publishingCRLs(), nothing{}))
		},
	}
	c.AddCommand(show, revoke, crl)
	return c
}

var errNoCertificate = errors.New("no certificate with this SM3 here")

// certificate finds one by the beginning of its SM3, at least 8 hex digits.
func (i *installation) certificate(prefix string) (*pki.Certificate, error) {
	var found []*pki.Certificate
	for _, e := range i.keyring.all() {
		if sum := fmt.Sprintf("%x", e.certificate.SM3()); len(prefix) >= 8 && len(prefix) <= 64 && sum[:len(prefix)] == prefix {
			found = append(found, e.certificate)
		}
	}
	if len(found) != 1 {
		return nil, &failure{code: exitNo, cause: fmt.Errorf("%s: %w", prefix, errNoCertificate), do: "see them with: elicence key list --json"}
	}
	return found[0], nil
}

// certificateEnd asks for a certificate to be revoked.
type certificateEnd struct {
	Certificate string    `json:"certificate"` // the beginning of its SM3
	Reason      string    `json:"reason"`
	Since       time.Time `json:"since"`
}

func revokingCertificate() operation[certificateEnd, trustView] {
	return operation[certificateEnd, trustView]{"ca-revoke", func(ctx context.Context, i *installation, q certificateEnd) (trustView, error) {
		i.ceremony.Lock()
		defer i.ceremony.Unlock()
		certificate, err := i.certificate(q.Certificate)
		if err != nil {
			return trustView{}, err
		}
		if err := i.db.Record(ctx, i.reading(ctx, actor{}, "certificate-revoke", "", fmt.Sprintf("%x: %s", certificate.SM3(), q.Reason))); err != nil {
			return trustView{}, err
		}
		if err := i.chain.revoke(ctx, certificate, q.Reason, q.Since); err != nil {
			return trustView{}, err
		}
		return i.published(ctx)
	}}
}

func publishingCRLs() operation[nothing, trustView] {
	return operation[nothing, trustView]{"ca-crl", func(ctx context.Context, i *installation, _ nothing) (trustView, error) {
		i.ceremony.Lock()
		defer i.ceremony.Unlock()
		revoked, err := i.chain.revocations()
		if err != nil {
			return trustView{}, err
		}
		if err := i.chain.publishCRLs(ctx, revoked); err != nil {
			return trustView{}, err
		}
		return i.published(ctx)
	}}
}

func publishing() operation[nothing, trustView] {
	return operation[nothing, trustView]{"trust-publish", func(ctx context.Context, i *installation, _ nothing) (trustView, error) {
		if err := i.publishStatus(ctx); err != nil {
			return trustView{}, err
		}
		return i.published(ctx)
	}}
}

// published makes the next trust file.
func (i *installation) published(ctx context.Context) (trustView, error) {
	if err := i.publishTrust(ctx); err != nil {
		return trustView{}, err
	}
	return i.trustView()
}

func (a *app) trustCommand() *cobra.Command {
	c := &cobra.Command{Use: "trust", Short: "信任名录 · the scheme operator's trust file: show, publish", Example: "  elicence trust show"}
	show := &cobra.Command{
		Use: "show", Short: "查看 · name, sequence, fingerprint and pin of the published file", Args: cobra.NoArgs, Example: "  elicence trust show --json",
		RunE: func(*cobra.Command, []string) error {
			i, err := a.openPlain()
			if err != nil {
				return err
			}
			return a.tellTrustOf(i.trustView())
		},
	}
	publish := &cobra.Command{
		Use: "publish", Short: "发布 · make and sign the next trust file and status list", Args: cobra.NoArgs, Example: "  elicence trust publish",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.tellTrustOf(perform(cmd.Context(), a, publishing(), nothing{}))
		},
	}
	c.AddCommand(show, publish)
	return c
}

// trustView is the published trust file as trust show and whoever publishes one tell it.
type trustView struct {
	Name        trust.Name `json:"name"`
	Sequence    uint64     `json:"sequence"`
	Issued      time.Time  `json:"issued"`
	Expires     time.Time  `json:"expires"`
	Fingerprint string     `json:"fingerprint"`
	Pin         string     `json:"pin"`
	Specimen    bool       `json:"specimen"`
}

func (i *installation) trustView() (trustView, error) {
	t, err := i.readTrust()
	if err != nil {
		return trustView{}, err
	}
	pin, err := i.pin()
	if err != nil {
		return trustView{}, err
	}
	c := t.Content()
	return trustView{c.Name, t.Sequence(), c.Issued, c.Expires, fmt.Sprintf("%x", t.Fingerprint()), pin.String(), c.Specimen}, nil
}

func (a *app) tellTrustOf(v trustView, err error) error {
	if err != nil {
		return err
	}
	return a.tell(map[string]any{"name": v.Name, "sequence": v.Sequence, "issued": v.Issued, "expires": v.Expires,
		"fingerprint": v.Fingerprint, "pin": v.Pin, "specimen": v.Specimen}, func(w io.Writer) {
		fmt.Fprintf(w, "%s %s\n序号 sequence %d, %s … %s\n指纹 fingerprint %s\n运营方公钥 pin %s\n", v.Name.ZH, v.Name.EN, v.Sequence,
			v.Issued.Format(time.RFC3339), v.Expires.Format(time.RFC3339), v.Fingerprint, v.Pin)
	})
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
