package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/elicence/elicence/storage/records"
)

// Names of the drivers of the records.
const (
	onSQLite   = "sqlite"
	onPostgres = "postgres"
)

func (d recordsDriver) check() error {
	switch {
	case d.Driver == onSQLite && d.Path == "":
		return errors.New("the driver sqlite needs a path")
	case d.Driver == onSQLite && d.URL != "":
		return errors.New("the driver sqlite has no url")
	case d.Driver == onPostgres && d.URL == "":
		return errors.New("the driver postgres needs a url")
	case d.Driver == onPostgres && d.Path != "":
		return errors.New("the driver postgres has no path")
	}
	return nil
}

// shared says that other processes write the same records.
func (d recordsDriver) shared() bool { return d.Driver == onPostgres }

// patience is how long an unfinished licence is left to the process that took it up.
func (d recordsDriver) patience() time.Duration {
	if d.shared() {
		return 2 * time.Minute // a birth takes milliseconds: whoever has not finished by then has ended, or is fenced off
	}
	return 0
}

func (i *installation) openRecords(ctx context.Context, o records.Options) (*records.DB, error) {
	if i.config.Records.Driver == onPostgres {
		return records.OpenPostgres(ctx, i.config.Records.URL, o)
	}
	return records.Open(ctx, i.path(i.config.Records.Path), o)
}

// driverFlags are those of commands that make an installation.
func (a *app) driverFlags(c *cobra.Command) {
	c.Flags().StringVar(&a.recordsURL, "records", "", "records in this empty PostgreSQL database (postgres://USER@HOST/DB; password in $PGPASSWORD or $PGPASSFILE); default a file in the folder")
}
