package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/elicence/elicence/storage/records/postgrestest"
)

// A process whose clock stands an hour back, beside one on the same database that has the right time: what it issues or
// moves after the other's events is refused by name and consumes nothing, and no licence's events ever go back in time.
func TestClockBackOnADatabase(t *testing.T) {
	t.Parallel()
	at := onServers(t)
	data := at.data
	s, wrong := smallScheme(), later(-time.Hour)
	hospital := s.hospitals[0].Code
	of := func(from, count int) string {
		path := filepath.Join(t.TempDir(), "births.jsonl")
		if err := writeBirths(path, from, count, hospital); err != nil {
			t.Fatal(err)
		}
		return path
	}
	issue := func(from, count int) []string {
		return []string{"issue", "--births", of(from, count), "--workers", "4"}
	}
	handover := func(numbers ...string) []string {
		return append([]string{"handover", "--as", hospital + "/stock-1", "--to", s.cityArchive.Code}, numbers...)
	}
	books := func(want string) {
		t.Helper()
		says(t, "books", call(t.Context(), data, systemClock, "number", "reconcile", "--issuer", hospital, "--json"), exitYes, want, `"balanced": true`)
	}
	ask := func(query string, into any) {
		t.Helper()
		if err := postgrestest.Ask(t.Context(), at.records, query, into); err != nil {
			t.Fatal(err)
		}
	}

	// Between two runs.
	says(t, "issue", call(t.Context(), data, systemClock, issue(1, 4)...), exitYes, "issued 4")
	says(t, "issue an hour back", call(t.Context(), data, wrong, issue(5, 2)...), exitBatch, "refused 2", "clock")
	says(t, "handover an hour back", call(t.Context(), data, wrong, handover("X000000001")...), exitNo, "clock", "set the clock right")
	books(`"first": 4`)
	says(t, "handover", call(t.Context(), data, systemClock, handover("X000000001")...), exitYes, "handed-over")

	// During a service, whose clock goes back and comes right again, beside commands of processes with the right time: they
	// do not go through the service, because their folder is a copy, on the same database and bucket.
	other := filepath.Join(t.TempDir(), "other")
	if err := os.CopyFS(other, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	back := &shifted{}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	var log written
	go func() { ended <- appAt(data, back.now, io.Discard, &log).serve(ctx) }()
	served := &serving{data: data}
	eventually(t, "ready", func() bool { code, _ := served.get("/readyz"); return code == 200 })
	says(t, "issue through the service", call(t.Context(), data, systemClock, issue(5, 2)...), exitYes, "issued 2")
	back.by(-time.Hour)
	says(t, "issue through the service an hour back", call(t.Context(), data, systemClock, issue(7, 2)...), exitBatch, "refused 2", "clock")
	says(t, "handover through the service an hour back", call(t.Context(), data, systemClock, handover("X000000002")...), exitNo, "clock")
	// Duties are held by the server's clock: neither does the service lose its own, nor does it keep them too long.
	var until int64
	ask(`SELECT COALESCE(MIN(until - (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::BIGINT), 0) FROM leases WHERE until <> 0`, &until)
	if until < -int64(time.Minute/time.Microsecond) || until > int64(10*time.Minute/time.Microsecond) {
		t.Errorf("a duty is held for %s", time.Duration(until)*time.Microsecond)
	}
	says(t, "issue beside it, with the right time", call(t.Context(), other, systemClock, issue(7, 2)...), exitYes, "issued 2")
	says(t, "the same births through the service", call(t.Context(), data, systemClock, issue(7, 2)...), exitBatch, "refused 2", "clock")
	back.by(0)
	says(t, "the same births through the service with the right time", call(t.Context(), data, systemClock, issue(7, 2)...), exitYes, "standing 2")
	says(t, "issue through the service again", call(t.Context(), data, systemClock, issue(9, 2)...), exitYes, "issued 2")
	says(t, "handover through the service again", call(t.Context(), data, systemClock, handover("X000000002")...), exitYes, "handed-over")
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the service ended with %v: %s", err, log.String())
	}

	books(`"first": 10`)
	var backwards, doubled int
	ask(`SELECT COUNT(*) FROM events a JOIN events b ON b.licence = a.licence AND b.sequence = a.sequence + 1 AND b.at < a.at`, &backwards)
	ask(`SELECT COUNT(*) FROM (SELECT log_index FROM events WHERE log_index IS NOT NULL GROUP BY log_index HAVING COUNT(*) > 1) twice`, &doubled)
	if backwards != 0 || doubled != 0 {
		t.Errorf("%d events are before the one that they follow, %d places in the log are taken twice", backwards, doubled)
	}
	must(t, data, "ledger", "cosign")
	says(t, "audit", call(t.Context(), data, systemClock, "ledger", "audit", "--json"), exitYes, `"clean": true`, `"licences": 10`)
	at.sound()
	says(t, "reconcile", call(t.Context(), data, systemClock, "reconcile"), exitYes)
	says(t, "the trail", call(t.Context(), data, systemClock, "audit", "verify"), exitYes)
}

// shifted is a clock that somebody sets wrong.
type shifted struct {
	mu sync.Mutex
	d  time.Duration
}

func (s *shifted) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.d)
}

func (s *shifted) by(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.d = d
}
