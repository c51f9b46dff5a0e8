package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/elicence/elicence/due"
	"github.com/elicence/elicence/verify/status"
)

// A licence is erased while its delivery waits for a receiver that is away: it is never sent, and whoever looks sees why.
func TestErasureEndsWaitingDeliveries(t *testing.T) {
	t.Parallel()
	o := newOffice(t, fresh)
	says(t, "issue", o.call(0, "issue", "--workers", "1", "--births", birthsOf(t, 1, 3)), exitYes, "issued 3", "3 deliveries wait")
	const number = "X000000002"
	says(t, "erase", o.call(0, eraseArgs(number)...), exitYes)
	cancelled := o.list("--state", "cancelled")
	if len(cancelled) != 1 || cancelled[0].Number != number || cancelled[0].Failure != due.CodeErased || cancelled[0].EndedAt == nil || cancelled[0].Words == nil {
		t.Fatalf("cancelled: %+v", cancelled)
	}
	says(t, "jobs list", o.call(0, "jobs", "list", "--state", "cancelled"), exitYes, number, "取消 cancelled", "个人数据已销毁", "were erased")
	says(t, "jobs retry", o.call(0, "jobs", "retry", fmt.Sprint(cancelled[0].ID), "--as", o.clerk()), exitNo)
	o.open()
	says(t, "jobs run", o.call(time.Hour, "jobs", "run", "--receiver", o.inbox.self), exitYes, "done 2", "dead 0", "waiting 0")
	if !slices.Equal(o.inbox.order, []string{"X000000001", "X000000003"}) {
		t.Errorf("arrived: %v", o.inbox.order)
	}
	var rows []trailRow
	if err := decode(must(t, o.data, "audit", "list", "--licence", number, "--what", "cancel-delivery", "--json"), &rows); err != nil || len(rows) != 1 ||
		rows[0].Person != "supervisor-1" || !strings.HasPrefix(rows[0].Why, "court-decision; approved by ") {
		t.Errorf("the trail says %+v, %v", rows, err)
	}
	must(t, o.data, "audit", "verify")
}

// What is done is kept as long as the configuration says, and removed by the upkeep; what waits is not.
func TestDoneDueWorkIsRemovedInTime(t *testing.T) {
	t.Parallel()
	o := newOffice(t, fresh)
	o.open()
	const day = 24 * time.Hour
	says(t, "issue", o.call(0, "issue", "--workers", "1", "--births", birthsOf(t, 1, 2)), exitYes, "issued 2")
	if err := o.server.Close(); err != nil {
		t.Fatal(err)
	}
	says(t, "issue", o.call(0, "issue", "--workers", "1", "--births", birthsOf(t, 3, 1)), exitYes, "issued 1", "1 deliveries wait")
	holds := func(what string, done int) {
		t.Helper()
		if rows := o.list("--state", "done"); len(rows) != done {
			t.Errorf("%s: %d are done, want %d", what, len(rows), done)
		}
		if rows := o.list(); len(rows) != 1 || rows[0].Number != "X000000003" {
			t.Errorf("%s: %+v wait", what, rows)
		}
	}
	prune := func(at time.Duration, set ...string) {
		t.Helper()
		says(t, "prune", o.call(at, append([]string{"jobs", "run", "--receiver", upkeepPrune}, set...)...), exitYes, "done 1")
	}
	holds("delivered", 2)
	prune(0)
	prune(89 * day)
	holds("after 89 days", 2)
	prune(91 * day)
	holds("after 91 days", 0)
	says(t, "the same births again", o.call(92*day, "issue", "--births", birthsOf(t, 1, 3), "--json"), exitYes, `"issued": 0`, `"standing": 3`)
	holds("after the same births again", 0)

	says(t, "config show", o.call(0, "config", "show"), exitYes, "deliver.keep", "2160h")
	says(t, "too short", o.call(0, "jobs", "run", "--set", "deliver.keep=23h"), exitUsage, "deliver", "keep is 23h", "at least 24h")
	short := newOffice(t, fresh)
	short.open()
	says(t, "issue", short.call(0, "issue", "--workers", "1", "--births", birthsOf(t, 1, 1)), exitYes, "issued 1")
	for _, c := range []struct {
		at   time.Duration
		left int
	}{{2 * day, 1}, {4 * day, 0}} {
		says(t, "prune", short.call(c.at, "jobs", "run", "--receiver", upkeepPrune, "--set", "deliver.keep=72h"), exitYes)
		if rows := short.list("--state", "done"); len(rows) != c.left {
			t.Errorf("kept for three days: %d left after %s, want %d", len(rows), c.at, c.left)
		}
	}
}

// A service whose status list is lost writes it again, while it runs and after a start.
func TestAServiceWritesALostStatusListAgain(t *testing.T) {
	t.Parallel()
	data := copyOf(t, issued)
	path := filepath.Join(data, "publish", "status.json")
	number := func() uint64 {
		list, err := (&installation{dir: data}).readStatus()
		if errors.Is(err, os.ErrNotExist) {
			return 0
		}
		if err != nil {
			t.Fatal(err)
		}
		return list.Number()
	}
	before := number()
	lose := func() {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	s := serveFolder(t, data, nil)
	lose()
	eventually(t, "the list is there again", func() bool { return number() > before })
	before = number()
	if code := s.stop(t); code != exitYes {
		t.Errorf("it ended with %d", code)
	}
	if number() != before {
		t.Errorf("it was published again without a reason: %d, %d", before, number())
	}
	lose()
	s = serveFolder(t, data, nil)
	eventually(t, "the list is there after a start", func() bool { return number() > before })
	if errs := s.errs(); len(errs) != 0 {
		t.Errorf("errors: %v", errs)
	}
}

// Two services on one database: each hears of what the other makes due, and what is due is done once, by either. Each
// publishes what was revoked through the other.
func TestTwoServicesShareTheDueWork(t *testing.T) {
	t.Parallel()
	first, _ := onServer(t)
	s, share := smallScheme(), t.TempDir()
	appendTo(t, filepath.Join(first, configFile), fmt.Sprintf("deliver:\n  receivers:\n    - {organisation: %s, driver: folder, address: %s, topics: [parts]}\n", s.police.Code, share))
	second := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(second, os.DirFS(first)); err != nil {
		t.Fatal(err)
	}
	objects := "ELICENCE_OBJECTS_PATH=" + filepath.Join(first, "objects")
	services := []*serving{serveFolder(t, first, nil), serveFolder(t, second, []string{objects})}
	for _, one := range services {
		eventually(t, "it hears of what others make due", func() bool { return strings.Contains(one.log.String(), "what others make due is heard") })
	}
	file := filepath.Join(t.TempDir(), "births.jsonl")
	const count = 12
	if err := writeBirths(file, 1, count, s.hospitals[0].Code); err != nil {
		t.Fatal(err)
	}
	must(t, first, "issue", "--births", file)
	done := func() (rows []jobRow) {
		c := call(context.Background(), first, systemClock, "jobs", "list", "--state", "done", "--json")
		if err := json.Unmarshal([]byte(c.stdout), &rows); err != nil {
			t.Fatalf("%v: %s", err, c.stderr)
		}
		return slices.DeleteFunc(rows, func(r jobRow) bool { return r.Number == "" })
	}
	eventually(t, "everything is delivered", func() bool { return len(done()) == count })
	// A revocation through one of them is in the list of each.
	must(t, first, "revoke", "X000000001", "--as", s.commission.Code+"/supervisor-1", "--reason", "wrongly-issued")
	for _, data := range []string{first, second} {
		eventually(t, "its list says what was revoked", func() bool {
			list, err := (&installation{dir: data}).readStatus()
			if err != nil {
				t.Fatal(err)
			}
			return list.Count()[status.Revoked] == 1
		})
	}
	entries, err := os.ReadDir(share)
	if err != nil || len(entries) != count {
		t.Errorf("%d deliveries arrived, want %d; %v", len(entries), count, err)
	}
	for _, r := range done() {
		if r.Failure != "" {
			t.Errorf("%+v", r)
		}
	}
	for _, one := range services {
		if errs := one.errs(); len(errs) != 0 {
			t.Errorf("errors: %v", errs)
		}
		if code := one.stop(t); code != exitYes {
			t.Errorf("it ended with %d", code)
		}
	}
	must(t, first, "ledger", "audit")
}

// What keeps the registrar's key away keeps its lists away, and nothing else; when it is back the service goes on by itself.
func TestAnUpkeepWaitsForItsKeystore(t *testing.T) {
	t.Parallel()
	data := copyOf(t, issued)
	keystore := filepath.Join(data, "keystores", demonstrationScheme().commission.Code+".keystore")
	i, err := appAt(data, later(20*time.Hour), io.Discard, io.Discard).openForWriting(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer i.close()
	l := dueLoop(t, i, upkeepStatus)
	before, err := i.readStatus()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(keystore, keystore+".away"); err != nil {
		t.Fatal(err)
	}
	if err := l.run(t.Context()); err != nil {
		t.Errorf("without its keystore: %v", err)
	}
	if err := os.Rename(keystore+".away", keystore); err != nil {
		t.Fatal(err)
	}
	if err := l.run(t.Context()); err != nil {
		t.Errorf("with its keystore: %v", err)
	}
	after, err := i.readStatus()
	if err != nil || after.Number() <= before.Number() {
		t.Errorf("the list is not made when the key is back: %v", err)
	}
}
