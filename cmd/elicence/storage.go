package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/elicence/elicence/storage/objects/dir"
	"github.com/elicence/elicence/storage/objects/s3"
	"github.com/elicence/elicence/storage/objects/storecheck"
)

func (a *app) storageCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "storage",
		Short:   "对象存储 · the object store",
		Example: "  elicence storage check",
	}
	c.AddCommand(a.storageCheckCommand())
	return c
}

// storageReport is the answer of storage check, with the stable names of its JSON.
type storageReport struct {
	Store   string           `json:"store"`
	Fit     bool             `json:"fit"`
	Missing storecheck.Words `json:"missing,omitzero"`
	storecheck.Report
}

func (a *app) storageCheckCommand() *cobra.Command {
	var address string
	c := &cobra.Command{
		Use:   "check [--url s3://… | file:///…]",
		Short: "检验存储是否合格：真写、真删、真改 · prove what a store keeps: write, delete, overwrite, shorten, race",
		Long: `Check does to the store what nobody may be able to do, on objects of its own, and says what came of it:
it puts and reads back, writes the same again and something else, lets sixteen writers race for one name,
and on S3 tries to delete a version, to shorten and remove a lock, to lay a version and a delete marker
over an object. Without --url it checks the store of the installation at --data.

On S3 its objects lie under PREFIX/.storage-check/ and cannot be deleted for twenty minutes; it says where.
It tries with the credentials that it is given: with an administrator's it proves more than with the
service's own.

Exit codes: 0 the store keeps what it must, 1 something is missing, 69 it could not be found out.`,
		Example: `  elicence storage check
  elicence storage check --url 's3://licences/city?endpoint=https://objects.example.org&retention=30y'
  elicence storage check --url file:///var/lib/elicence/objects --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			where, folder, err := a.storeToCheck(address)
			if err != nil {
				return err
			}
			name, subject, end, err := a.trial(where, folder)
			if err != nil {
				return err
			}
			r := a.checkStore(cmd.Context(), name, subject)
			if err := end(); err != nil {
				return err
			}
			if err := a.tell(r, func(w io.Writer) { tellStorage(w, r) }); err != nil {
				return err
			}
			switch {
			case r.Missing != storecheck.Words{}:
				return answer(exitNo)
			case !r.Fit:
				return answer(exitUnavailable)
			}
			return nil
		},
	}
	c.Flags().StringVar(&address, "url", "", "the store to check, instead of the installation's: s3://BUCKET/PREFIX?endpoint=…&retention=… or file:///FOLDER")
	return c
}

// storeToCheck is what the address names, else what the installation has; and the folder that its files are relative to.
func (a *app) storeToCheck(address string) (objectsConfig, string, error) {
	if address != "" {
		where, err := objectsAt(address)
		return where, "", err
	}
	c, err := a.readConfig()
	return c.Objects, a.data, err
}

// trial opens a place for trials in the store; end closes what was opened.
func (a *app) trial(where objectsConfig, folder string) (name string, subject storecheck.Subject, end func() error, err error) {
	if where.Driver == "s3" {
		store, err := a.openS3(where.S3, folder)
		if err != nil {
			return "", nil, nil, err
		}
		return where.S3.String(), store.Trial(), store.Close, nil
	}
	i := installation{app: a, dir: folder, config: config{Objects: where}}
	if _, err := os.Stat(i.path(where.Path)); err != nil { // a check makes no store
		return "", nil, nil, err
	}
	store, err := dir.Open(i.path(where.Path))
	if err != nil {
		return "", nil, nil, err
	}
	t, err := store.Trial()
	if err != nil {
		return "", nil, nil, err
	}
	return i.path(where.Path), t, func() error {
		if err := t.Close(); err != nil {
			return err
		}
		return store.Close()
	}, nil
}

// checkStore runs the trial and, for people, tells each finding as it is made.
func (a *app) checkStore(ctx context.Context, name string, subject storecheck.Subject) storageReport {
	if !a.json {
		fmt.Fprintln(a.stdout, name)
	}
	r := storecheck.Run(ctx, subject, func(f storecheck.Finding) {
		if !a.json {
			tellFinding(a.stdout, f)
		}
	})
	return storageReport{Store: name, Fit: r.Fit(), Missing: r.Missing(), Report: r}
}

func tellFinding(w io.Writer, f storecheck.Finding) {
	verdict := map[storecheck.Verdict]string{
		storecheck.Passed: "通过 passed   ", storecheck.Missing: "缺少 MISSING  ", storecheck.NotOffered: "没有 not here ", storecheck.Undecided: "不明 undecided",
	}[f.Verdict]
	fmt.Fprintf(w, "  %s  %s · %s\n", verdict, f.Check.ZH, f.Check.EN)
	switch {
	case f.Detail != "":
		fmt.Fprintf(w, "                   %s\n", f.Detail)
	case f.Needs != storecheck.Words{}:
		fmt.Fprintf(w, "                   %s · %s\n", f.Needs.ZH, f.Needs.EN)
	}
}

func tellStorage(w io.Writer, r storageReport) {
	switch {
	case r.Missing != storecheck.Words{}:
		fmt.Fprintf(w, "不合格，缺少：%s · unfit, missing: %s\n", r.Missing.ZH, r.Missing.EN)
	case !r.Fit:
		fmt.Fprintln(w, "未能查明 · it could not be found out")
	default:
		fmt.Fprintln(w, "合格 · fit: the store keeps what it must")
	}
	if r.Left != "" {
		fmt.Fprintf(w, "试验对象暂留，无人可提前删除 · trial objects stay, and nobody can delete them earlier: %s\n", r.Left)
	}
}

var (
	_ objectStore = (*s3.Store)(nil)
	_ objectStore = (*dir.Store)(nil)
)
