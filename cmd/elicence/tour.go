package main

import (
	"embed"
	"fmt"
	"html/template"
	"os"
	"path/filepath"
)

//go:embed tour.html.tmpl
var tourTemplate embed.FS

// tour is what the demo shows each kind of user; tour.html.tmpl says it in words. Paths are relative to data/tour.
type tour struct {
	Data          string
	Licences      int
	Files         int
	Entries       uint64
	Pin           string
	Example       string // path of one main page, for the closing commands
	ExampleNumber string
	Clerk         clerkStory
	Police        policeStory
	Archivist     archivistStory
	Commission    commissionStory
	Engineer      engineerStory
	Forgeries     []forgery
	Stages        []stage
	Picture       string // of the example's page, relative to the tour; "" where none could be drawn
	Verdict       string // on the example, as verify prints it
}

type clerkStory struct{ Hospital, Jammed, Next string }

type policeStory struct {
	Registered int
	Example    string
}

type archivistStory struct {
	Accepted, Rejected       int
	Example, RejectedExample string
}

type commissionStory struct {
	Exchanged, Replaced, Revoked string
	Rows                         []yearRow
}

type engineerStory struct{ Births, BeforeKill, Standing, Issued int }

// write renders the page and puts it in place whole.
func (t tour) write(folder string) error {
	page, err := template.New("tour.html.tmpl").Funcs(template.FuncMap{"ms": short}).ParseFS(tourTemplate, "tour.html.tmpl")
	if err != nil {
		return fmt.Errorf("tour: %w", err)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("tour: %w", err)
	}
	f, err := os.CreateTemp(folder, ".index-*")
	if err != nil {
		return fmt.Errorf("tour: %w", err)
	}
	defer os.Remove(f.Name())
	if err := page.Execute(f, t); err != nil {
		f.Close()
		return fmt.Errorf("tour: %w", err)
	}
	if err := f.Chmod(0o644); err != nil {
		f.Close()
		return fmt.Errorf("tour: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("tour: %w", err)
	}
	return os.Rename(f.Name(), filepath.Join(folder, "index.html"))
}
