package main

import (
	"path/filepath"
	"testing"
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
