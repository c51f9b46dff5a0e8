package main

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/elicence/elicence/storage/records/postgrestest"
)

// The benchmark runs the real way, births to verified files, and leaves nothing behind.
func TestBench(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	var results []benchResult
	if err := decode(must(t, filepath.Join(parent, "data"), "bench", "verify", "-n", "20", "--births", birthsOf(t, 1, 12), "--json"), &results); err != nil {
		t.Fatal(err)
	}
	if len(results) != 2 {
		t.Fatalf("%d results, want one with and one without receipts", len(results))
	}
	for _, r := range results {
		if r.N != 20 || r.PerSecond <= 0 || r.P50ms <= 0 || r.P99ms < r.P50ms || r.Bytes <= 0 {
			t.Errorf("%+v", r)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(parent, ".*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// What bench fills passes for an installation that has issued: its log and its trail hold, and each licence opens.
func TestBenchOfManyLicences(t *testing.T) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		filled := filepath.Join(t.TempDir(), "filled")
		benchMany(t, filled)
		// The service is a process of its own, which is measured from outside.
		out, err := exec.CommandContext(t.Context(), "elicence", "bench", "serve", "--filled", filled, "--rest", "1s", "--json").Output()
		var report manyReport
		if derr := decode(string(out), &report); derr != nil || report.Serve == nil {
			t.Fatalf("%v, %v: %s", err, derr, out)
		}
		s := report.Serve
		if report.N != 150 || s.ReadySeconds <= 0 || s.RestMB < 10 || s.PeakMB < s.RestMB || s.RestSeconds != 1 || len(report.Aims) != 2 {
			t.Errorf("%+v, %+v", report, *s)
		}
		if (err == nil) != met(report) {
			t.Errorf("exit %v for %+v", err, report.Aims)
		}
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		server, err := postgrestest.Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := server.Stop(); err != nil {
				t.Error(err)
			}
		})
		if err := server.Create(t.Context(), "many"); err != nil {
			t.Fatal(err)
		}
		filled := filepath.Join(t.TempDir(), "filled")
		benchMany(t, filled, "--records", server.URL("many"))
		// Neither is another installation put into the database, nor the folder filled twice.
		births := birthsOf(t, 1, 12)
		for _, c := range []struct {
			code int
			args []string
		}{
			{exitNo, []string{"bench", "lookup", "-n", "150", "--records", server.URL("many"), "--births", births}},
			{exitUsage, []string{"bench", "lookup", "-n", "150", "--records", server.URL("many"), "--births", births, "--filled", filled}},
		} {
			if got := call(t.Context(), filepath.Join(t.TempDir(), "data"), systemClock, c.args...); got.code != c.code {
				t.Errorf("%v: exit %d: %s%s", c.args, got.code, got.stdout, got.stderr)
			}
		}
		besideTheDefault(t, server, births)
	})
}

func met(r manyReport) bool {
	return !slices.ContainsFunc(r.Aims, func(a aimResult) bool { return !a.Met })
}

func benchMany(t *testing.T, filled string, args ...string) {
	t.Helper()
	args = append([]string{"bench", "lookup", "-n", "150", "--lookups", "8", "--filled", filled, "--births", birthsOf(t, 1, 12), "--json"}, args...)
	c := call(t.Context(), filepath.Join(t.TempDir(), "data"), systemClock, args...)
	var report manyReport
	if err := decode(c.stdout, &report); err != nil {
		t.Fatalf("exit %d: %v: %s", c.code, err, c.stderr)
	}
	if report.N != 150 || report.Filled == nil || report.Filled.Bytes < 1000 || report.Filled.PerSecond <= 0 || len(report.Aims) != 2 {
		t.Errorf("%+v", report)
	}
	if (c.code == exitYes) != met(report) || c.code != exitYes && c.code != exitNo {
		t.Errorf("exit %d for %+v", c.code, report.Aims)
	}
	kinds := len(questions(2026))
	if len(report.Lookups) != 3*kinds { // cold, warm alone, warm beside others
		t.Errorf("%d look-ups of %d kinds", len(report.Lookups), kinds)
	}
	for _, l := range report.Lookups {
		if l.N != 8 || l.P99ms < l.P50ms || l.MaxMs < l.P99ms || l.P50ms < 0 {
			t.Errorf("%+v", l)
		}
	}
	must(t, filled, "ledger", "audit")
	must(t, filled, "audit", "verify")
	var list []struct{ Status string }
	if err := decode(must(t, filled, "list", "--status", "revoked", "--json"), &list); err != nil || len(list) != 1 {
		t.Errorf("%d revoked, %v", len(list), err)
	}
	var views []licenceView
	if err := decode(must(t, filled, "show", "L000000007", "--fields", "--why", "test", "--json"), &views); err != nil || len(views) != 1 {
		t.Fatalf("%d found, %v", len(views), err)
	}
	v := views[0]
	if v.BusinessID != "L-000000007" || v.Fields["businessId"] != v.BusinessID || len(v.Parts) != 2 || len(v.Events) != 1 || v.Events[0].Index == nil {
		t.Errorf("%+v", v)
	}
}

// besideTheDefault issues by turns in a file and on the server.
func besideTheDefault(t *testing.T, server *postgrestest.Server, births string) {
	t.Helper()
	if err := server.Create(t.Context(), "beside"); err != nil {
		t.Fatal(err)
	}
	var results []benchResult
	out := must(t, filepath.Join(t.TempDir(), "data"), "bench", "issue", "-n", "8", "--beside", "--records", server.URL("beside"), "--births", births, "--json")
	if err := decode(out, &results); err != nil {
		t.Fatal(err)
	}
	sides := map[string]int{}
	for _, r := range results {
		side, _, _ := strings.Cut(r.What, " 1:")
		side, _, _ = strings.Cut(side, " 2:")
		side, _, _ = strings.Cut(side, " 3:")
		sides[side]++
		if r.N != 8 || r.CPUms <= 0 || r.PerSecond <= 0 {
			t.Errorf("%+v", r)
		}
	}
	if sides["embedded default"] != 2*besideTurns || sides["server"] != 2*besideTurns || len(sides) != 2 {
		t.Errorf("%v", sides)
	}
}
