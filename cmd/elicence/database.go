package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/elicence/elicence/storage/records"
)

func (a *app) databaseCommand() *cobra.Command {
	c := &cobra.Command{Use: "database", Short: "数据库 · the tables of the records: their version, the way back, rights of the service's role", Example: "  elicence database grants --role elicence_service | psql elicence"}
	c.AddCommand(a.databaseGrants(), a.databaseVersion(), a.databaseDown(), a.databaseRestored())
	return c
}

func (a *app) databaseGrants() *cobra.Command {
	var role string
	c := &cobra.Command{
		Use: "grants", Short: "授权语句 · the SQL that gives the service's role what it needs, and no more", Args: cobra.NoArgs,
		Long: `Grants prints SQL for the owner of the tables: the named role may then do all that the commands do. It adds to
the audit trail, to the events and to the log, and can change or remove nothing in them. Run it after every upgrade.`,
		Example: "  elicence database grants --role elicence_service | psql elicence",
		RunE: func(*cobra.Command, []string) error {
			if role == "" {
				return usage("--role names the role that the service logs in with")
			}
			_, err := fmt.Fprint(a.stdout, records.Grants(role))
			return err
		},
	}
	c.Flags().StringVar(&role, "role", "", "role that the service logs in with")
	return c
}

func (a *app) databaseRestored() *cobra.Command {
	var why string
	c := &cobra.Command{
		Use: "restored", Short: "已恢复 · say that the database was put back from a copy: nothing is written before it is reconciled", Args: cobra.NoArgs,
		Long: `Restored marks the records of a database that was put back to a moment of the past, or that a standby holds which may
lack what was answered. Until "elicence reconcile --mend" has found everything right, nothing can be written: a number
that was used since must not be used again. Run it before any service is started.`,
		Example: "  elicence database restored --why 'disk failure, put back to 09:30'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if why == "" {
				return usage("--why is needed: what happened")
			}
			c, err := a.readConfig()
			if err != nil {
				return err
			}
			i := &installation{app: a, dir: a.data, config: c}
			db, err := i.openRecords(cmd.Context(), records.Options{})
			if err != nil {
				return err
			}
			if err := errors.Join(db.MarkRestored(cmd.Context(), why), db.Close()); err != nil {
				return err
			}
			return a.tell(map[string]string{"restored": why}, func(w io.Writer) {
				fmt.Fprintln(w, "已标记为只读；核对：elicence reconcile --mend / marked: read-only until elicence reconcile --mend")
			})
		},
	}
	c.Flags().StringVar(&why, "why", "", "what happened")
	return c
}
