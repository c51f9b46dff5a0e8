package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/elicence/elicence/storage/records"
)

// Of a packed program the linker sets these (scripts/dist.sh).
var release, commit string

// build says which program this is.
type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"` // "" if it was built outside a repository
	Go      string `json:"go"`
	System  string `json:"system"`
	Records int    `json:"records"` // version of the records' tables
}

func ownBuild() build {
	b := build{Version: release, Commit: commit, Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH, Records: records.TablesVersion}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && b.Commit == "" {
				b.Commit = s.Value
			}
		}
	}
	if b.Version == "" {
		b.Version = "development"
	}
	return b
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "版本 · which program this is, and which tables it works with", Args: cobra.NoArgs,
		Example: "  elicence version\n  elicence version --json",
		RunE: func(*cobra.Command, []string) error {
			b := ownBuild()
			return a.tell(b, func(w io.Writer) {
				fmt.Fprintf(w, "elicence %s\n", b.Version)
				if b.Commit != "" {
					fmt.Fprintf(w, "提交 commit: %s\n", b.Commit)
				}
				fmt.Fprintf(w, "%s, %s\n数据表版本 version of the tables: %d\n", b.Go, b.System, b.Records)
			})
		},
	}
}
