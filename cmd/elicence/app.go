package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/elicence/elicence/hsm/softkey"
)

func systemClock() time.Time { return time.Now() }

// app is what all commands share: streams, the environment, the clock and the flags of the root.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environment    func(string) string
	variables      []string // NAME=value pairs, all that there are
	set            []string // KEY=VALUE pairs of settings that flags give
	now            func() time.Time
	data           string
	json           bool
	passphraseFile string
	recordsURL     string           // of an installation that is made: a PostgreSQL database; "" for a file in the folder
	reconciling    bool             // records that were put back from a copy may be opened for writing
	fills          bool             // records are opened to be filled for a measurement
	shared         *keystores       // of a command of several steps; nil: each installation opens and closes its own
	watch          *watch           // what a service measures; nil for none
	keystores      []softkey.Option // of keystores that are made here; tests make cheaper ones
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "elicence",
		Short: "签发、保管、移交、核验电子证照 · issue, keep, hand over and verify electronic licences",
		Long: `elicence issues licences as signed PDF parts (SM2/SM3), keeps them encrypted, anchors every
hand-over in a log that several organisations cosign, and lets anybody verify a part off line.

Exit codes: 0 yes, 1 no, 2 indeterminate, 3 a batch with refused lines, 64 usage, 69 unavailable, 70 internal.`,
		Example:       "  elicence demo\n  elicence verify --trust data/export/trust.json data/export/*.pdf",
		Version:       ownBuild().Version,
		SilenceErrors: true,
		SilenceUsage:  true,
		// Cobra's own completion command would stand beside the product's verbs.
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	data := a.environment("ELICENCE_DATA")
	if data == "" {
		data = "./data"
	}
	root.PersistentFlags().StringVar(&a.data, "data", data, "folder of the installation (default $ELICENCE_DATA, then ./data)")
	root.PersistentFlags().BoolVar(&a.json, "json", false, "answer as JSON, for programs")
	root.PersistentFlags().StringVar(&a.passphraseFile, "passphrase-file", "", "file with the passphrase of the acting organisation's keystore (else $ELICENCE_PASSPHRASE, else a prompt)")
	root.PersistentFlags().StringArrayVar(&a.set, "set", nil, "KEY=VALUE of a setting for this command alone, before environment and elicence.yaml; see config show")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%w", err) })
	root.AddCommand(
		a.demoCommand(), a.initCommand(), a.issueCommand(), a.resumeCommand(), a.showCommand(), a.listCommand(), a.exportCommand(),
		a.verifyCommand(), a.numberCommand(), a.keyCommand(), a.caCommand(), a.trustCommand(), a.ledgerCommand(),
		a.jobsCommand(), a.benchCommand(), a.databaseCommand(), a.storageCommand(), a.configCommand(), a.serveCommand(),
		a.auditCommand(), a.eraseCommand(), a.backupCommand(), a.restoreCommand(), a.reconcileCommand(),
		a.versionCommand(),
	)
	root.AddCommand(a.custodyCommands()...)
	usageErrors(root)
	return root
}

// usageErrors makes a wrong count of arguments and an unknown command usage errors, as wrong flags are.
func usageErrors(c *cobra.Command) {
	if c.HasSubCommands() {
		c.Args = cobra.ArbitraryArgs
		c.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return usage("unknown command %q; see %s --help", args[0], cmd.CommandPath())
		}
	} else if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usage("%w; see elicence %s --help", err, cmd.Name())
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		usageErrors(sub)
	}
}

// tell prints v as JSON if --json is set, else the text.
func (a *app) tell(v any, text func(w io.Writer)) error {
	if !a.json {
		text(a.stdout)
		return nil
	}
	e := json.NewEncoder(a.stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}
