package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/elicence/elicence/storage/records"
)

func (a *app) databaseCommand() *cobra.Command {
	c := &cobra.Command{Use: "database", Short: "数据库 · the tables of the records: their version, the way back, rights of the service's role", Example: "  elicence database grants --role elicence_service | psql elicence"}
	c.AddCommand(a.databaseGrants(), a.databaseVersion(), a.databaseDown())
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
