package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/elicence/elicence/storage/records"
)

// recordsPlace is where the installation's records are; no passphrase is needed to find it.
func (a *app) recordsPlace() (records.Place, error) {
	c, err := a.readConfig()
	if err != nil {
		return records.Place{}, err
	}
	if c.Records.Driver == onPostgres {
		return records.Place{URL: c.Records.URL}, nil
	}
	i := installation{dir: a.data}
	return records.Place{Path: i.path(c.Records.Path)}, nil
}

func (a *app) databaseVersion() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "数据表版本 · the version of the tables, and the one that this program works with", Args: cobra.NoArgs,
		Long: `Version changes nothing and needs no passphrase. Exit 0: this program works with these tables, or brings them
forward. Exit 1: they are of a newer program.`,
		Example: "  elicence database version --data ./data --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := a.recordsPlace()
			if err != nil {
				return err
			}
			at, err := records.VersionOfTables(cmd.Context(), p)
			if err != nil {
				return err
			}
			err = a.tell(map[string]int{"tables": at, "program": records.TablesVersion}, func(w io.Writer) {
				fmt.Fprintf(w, "数据表版本 tables: %d\n本程序 this program: %d\n", at, records.TablesVersion)
			})
			if err == nil && at > records.TablesVersion {
				return answer(exitNo)
			}
			return err
		},
	}
}

func (a *app) databaseDown() *cobra.Command {
	var to int
	c := &cobra.Command{
		Use: "down", Short: "退回旧版数据表 · take the tables back, before an older program is put in place", Args: cobra.NoArgs,
		Long: `Down is the first step of the way back to an older program. Run it with the newer program while no service and no
command runs. Everything that was issued, allotted and logged stays; what only the newer tables have room for is
dropped, as docs/operations.md says. A backup of before the upgrade is no way back: it does not know the numbers
that were used since.`,
		Example: "  elicence database down --to 4 --data ./data",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("to") {
				return usage("--to names the version that the older program works with: it says so itself with its version command")
			}
			p, err := a.recordsPlace()
			if err != nil {
				return err
			}
			from, err := records.Down(cmd.Context(), p, to)
			if err != nil {
				return err
			}
			return a.tell(map[string]int{"from": from, "tables": to}, func(w io.Writer) {
				fmt.Fprintf(w, "数据表已从版本 %d 退到 %d / the tables went back from version %d to %d\n", from, to, from, to)
				fmt.Fprintln(w, "现在换上旧程序；本程序一写入就会再升级 / now put the older program in place: this one brings them forward again when it writes")
			})
		},
	}
	c.Flags().IntVar(&to, "to", 0, "version that the older program works with")
	return c
}
