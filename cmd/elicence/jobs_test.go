package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/elicence/elicence/deliver"
	"github.com/elicence/elicence/due"
	"github.com/elicence/elicence/issuing"
	"github.com/elicence/elicence/ledger/contract"
	"github.com/elicence/elicence/verify/trust"
)

// inbox is a police office's server, as docs/formats/delivery.md says one is written: it goes by the trust file alone.
type inbox struct {
	t     *testing.T
	trust *trust.File
	self  string

	mu      sync.Mutex
	kept    map[string]*deliver.Signed // by key
	order   []string                   // numbers, in the order in which they arrived first
	hits    []string                   // keys, of every request
	repeats int
	before  func(s *deliver.Signed) int // a status to answer before it is kept, 0 for none
	after   func(r *http.Request)       // once it is kept, before the answer
}

func (in *inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	in.mu.Lock()
	defer in.mu.Unlock()
	s, _, err := in.read(r)
	if err != nil {
		in.t.Errorf("the inbox: %v", err)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	in.hits = append(in.hits, s.Key)
	if in.before != nil {
		if status := in.before(s); status != 0 {
			w.WriteHeader(status)
			return
		}
	}
	if in.kept[s.Key] != nil {
		in.repeats++
		w.WriteHeader(http.StatusConflict)
		return
	}
	in.kept[s.Key], in.order = s, append(in.order, s.Number)
	if in.after != nil {
		in.after(r)
	}
}

func (in *inbox) read(r *http.Request) (*deliver.Signed, map[string][]byte, error) {
	_, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return nil, nil, err
	}
	form := multipart.NewReader(r.Body, params["boundary"])
	var manifest []byte
	files := map[string][]byte{}
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		b, err := io.ReadAll(part)
		if err != nil {
			return nil, nil, err
		}
		if part.FormName() == "manifest" {
			manifest = b
		} else {
			files[part.FileName()] = b
		}
	}
	s, err := checked(in.trust, in.self, manifest, files)
	if err == nil && r.Header.Get(deliver.KeyHeader) != s.Key {
		err = errors.New("another key in the header")
	}
	return s, files, err
}

// checked is what every receiver does with what it was given.
func checked(t *trust.File, self string, manifest []byte, files map[string][]byte) (*deliver.Signed, error) {
	s, err := deliver.Parse(manifest)
	if err != nil {
		return nil, err
	}
	cert, ok := t.Certificate(s.Certificate)
	if !ok {
		return nil, errors.New("the trust file does not have the certificate")
	}
	if s.Receiver != self {
		return nil, errors.New("it is for somebody else")
	}
	return s, errors.Join(s.Verify(cert.Certificate), s.CheckFiles(files))
}

// office is an installation with the police as receiver at a server's address.
type office struct {
	t      *testing.T
	data   string
	scheme scheme
	inbox  *inbox
	addr   string
	server *http.Server
}

func newOffice(t *testing.T, from func() (string, error)) *office {
	t.Helper()
	o := &office{t: t, data: copyOf(t, from), scheme: demonstrationScheme()}
	b, err := os.ReadFile(filepath.Join(o.data, "publish", "trust.json"))
	if err != nil {
		t.Fatal(err)
	}
	file, err := trust.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	o.inbox = &inbox{t: t, trust: file, self: o.scheme.police.Code, kept: map[string]*deliver.Signed{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.addr = l.Addr().String()
	if err := l.Close(); err != nil { // it is down until it is opened
		t.Fatal(err)
	}
	o.configure(fmt.Sprintf("    - {organisation: %s, driver: https, address: 'http://%s/inbox', topics: [parts]}\n", o.scheme.police.Code, o.addr))
	return o
}

func (o *office) configure(receivers string) {
	o.t.Helper()
	path := filepath.Join(o.data, configFile)
	b, err := os.ReadFile(path)
	if err == nil {
		if !bytes.Contains(b, []byte("\ndeliver:")) {
			b = append(b, "deliver:\n  receivers:\n"...)
		}
		err = os.WriteFile(path, append(b, receivers...), 0o644)
	}
	if err != nil {
		o.t.Fatal(err)
	}
}

// open starts the server at the configured address.
func (o *office) open() {
	o.t.Helper()
	l, err := net.Listen("tcp", o.addr)
	if err != nil {
		o.t.Fatal(err)
	}
	o.server = &http.Server{Handler: o.inbox, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = o.server.Serve(l) }() // ends with Close
	o.t.Cleanup(func() {
		if err := o.server.Close(); err != nil {
			o.t.Error(err)
		}
	})
}

func (o *office) call(ahead time.Duration, args ...string) called {
	o.t.Helper()
	return call(o.t.Context(), o.data, later(ahead), args...)
}

func (o *office) list(args ...string) (rows []jobRow) {
	o.t.Helper()
	c := o.call(0, append([]string{"jobs", "list", "--json"}, args...)...)
	if c.code != exitYes || json.Unmarshal([]byte(c.stdout), &rows) != nil {
		o.t.Fatalf("jobs list: exit %d: %s%s", c.code, c.stdout, c.stderr)
	}
	// What is owed to receivers; the upkeep has a test of its own.
	return slices.DeleteFunc(rows, func(r jobRow) bool { return r.Number == "" })
}

func (o *office) clerk() string { return o.scheme.hospitals[0].Code + "/clerk-1" }

// The police's server is down while births are registered: nobody is refused. When it is back, everything arrives once and in
// order, as the trust file demands, and the trail says what went where.
func TestTheReceiverIsDownAndThenUp(t *testing.T) {
	t.Parallel()
	o := newOffice(t, fresh)
	says(t, "issue", o.call(0, "issue", "--workers", "1", "--births", birthsOf(t, 1, 4)), exitYes, "issued 4", "4 deliveries wait", "elicence jobs run")
	rows := o.list()
	if len(rows) != 4 || rows[0].Failure != "unreachable" || rows[0].Paused == nil || rows[0].Words == nil || rows[1].Attempts != 0 {
		t.Fatalf("one attempt shows that nobody is there: %+v", rows)
	}
	says(t, "jobs list", o.call(0, "jobs", "list"), exitYes, "接收方连接不上", "cannot be reached", "X000000001")
	says(t, "jobs run in the pause", o.call(0, "jobs", "run", "--receiver", o.inbox.self), exitYes, "done 0", "waiting 4")
	says(t, "jobs run, still down", o.call(time.Minute, "jobs", "run", "--receiver", o.inbox.self), exitBatch, "again 1", "waiting 4")
	o.open()
	says(t, "jobs run, up", o.call(2*time.Minute, "jobs", "run", "--receiver", o.inbox.self), exitYes, "done 4", "waiting 0")
	says(t, "jobs run again", o.call(time.Hour, "jobs", "run", "--receiver", o.inbox.self), exitYes, "done 0")
	if diff := cmp.Diff([]string{"X000000001", "X000000002", "X000000003", "X000000004"}, o.inbox.order); diff != "" || len(o.inbox.hits) != 4 {
		t.Errorf("%d requests; arrived (-want +got):\n%s", len(o.inbox.hits), diff)
	}
	for _, s := range o.inbox.kept {
		var roles []string
		for _, f := range s.Files {
			roles = append(roles, f.Role+f.Part)
		}
		if diff := cmp.Diff([]string{"partmain", "partcounterfoil", "receipt"}, roles); diff != "" || s.Sender != o.scheme.hospitals[0].Code {
			t.Errorf("%s from %s (-want +got):\n%s", s.Number, s.Sender, diff)
		}
	}
	if left := o.list(); len(left) != 0 {
		t.Errorf("left: %+v", left)
	}
	if done := o.list("--state", "done"); len(done) != 4 || done[3].EndedAt == nil {
		t.Errorf("done: %+v", done)
	}
	i, err := appAt(o.data, later(3*time.Hour), io.Discard, io.Discard).openForReading(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer i.close()
	l, err := i.db.ByNumber(t.Context(), "X000000002")
	if err != nil {
		t.Fatal(err)
	}
	trail, err := i.db.OfLicence(t.Context(), l.ID)
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, link := range trail {
		if e := link.Entry; strings.HasPrefix(e.What, "deliver") {
			said = append(said, e.What+" "+e.Why+" "+e.Organisation)
		}
	}
	to := "parts → " + o.inbox.self + " " + o.scheme.hospitals[0].Code
	if diff := cmp.Diff([]string{"deliver " + to, "delivered " + to}, said); diff != "" {
		t.Errorf("the trail (-want +got):\n%s", diff)
	}
}

// The process dies when the receiver has the delivery and it has not written that down: the next one sends it again under
// the same key, and the receiver sees a repeat.
func TestKilledWhenTheReceiverHasIt(t *testing.T) {
	t.Parallel()
	o := newOffice(t, fresh)
	says(t, "issue", o.call(0, "issue", "--births", birthsOf(t, 1, 3)), exitYes, "issued 3")
	// A person need not wait for the pause to end; nobody is there yet.
	rows := o.list()
	says(t, "retry", o.call(0, "jobs", "retry", fmt.Sprint(rows[0].ID), "--as", o.clerk()), exitYes, "sent again: 1")
	o.open()
	for _, deadly := range []bool{true, false} {
		waitForPause(t, o)
		c := exec.Command("elicence", "--data", o.data, "jobs", "run", "--receiver", o.inbox.self)
		var out bytes.Buffer
		c.Stdout, c.Stderr = &out, &out
		o.inbox.mu.Lock()
		o.inbox.after = nil
		if deadly {
			o.inbox.after = func(r *http.Request) {
				if err := c.Process.Signal(syscall.SIGKILL); err != nil {
					t.Error(err)
				}
				<-r.Context().Done() // its connection ends with it: no answer can reach it any more
			}
		}
		o.inbox.mu.Unlock()
		if err := c.Run(); (err != nil) != deadly {
			t.Fatalf("%v: %s", err, out.String())
		}
	}
	if len(o.inbox.kept) != 3 || o.inbox.repeats != 1 || len(o.inbox.hits) != 4 || o.inbox.hits[0] != o.inbox.hits[1] {
		t.Errorf("kept %d, repeats %d, requests %v", len(o.inbox.kept), o.inbox.repeats, o.inbox.hits)
	}
	if done := o.list("--state", "done"); len(done) != 3 || len(o.list()) != 0 {
		t.Errorf("done: %+v", done)
	}
}

// waitForPause ends the pause of a receiver that was found away: a real process goes by the real clock.
func waitForPause(t *testing.T, o *office) {
	t.Helper()
	i, err := appAt(o.data, systemClock, io.Discard, io.Discard).openForWriting(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer i.close()
	jobs, err := i.db.Jobs(t.Context(), due.Due, o.inbox.self, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(jobs) > 0 {
		if _, err := i.db.Retry(t.Context(), []int64{jobs[0].ID}, jobs[0].Due, i.who(t.Context(), "test")); err != nil {
			t.Fatal(err)
		}
	}
}

// What the receiver refuses is a dead letter: a person sees it with its reason, and sends it again or ends it.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	o := newOffice(t, fresh)
	o.open()
	refuse := map[string]bool{"X000000002": true, "X000000003": true}
	o.inbox.before = func(s *deliver.Signed) int {
		if refuse[s.Number] {
			return http.StatusUnprocessableEntity
		}
		return 0
	}
	says(t, "issue", o.call(0, "issue", "--workers", "1", "--births", birthsOf(t, 1, 4)), exitYes, "issued 4", "2 are dead letters")
	says(t, "jobs run", o.call(1000*time.Hour, "jobs", "run", "--receiver", o.inbox.self), exitYes, "2 dead letters", "jobs retry")
	dead := o.list("--state", "dead")
	if len(dead) != 2 || dead[0].Number != "X000000002" || dead[0].Failure != "refused" || dead[0].Detail != "HTTP 422" {
		t.Fatalf("%+v", dead)
	}
	says(t, "jobs list", o.call(0, "jobs", "list", "--state", "dead", "--receiver", o.inbox.self), exitYes, "退信 dead", "拒收", "HTTP 422")
	first, second := fmt.Sprint(dead[0].ID), fmt.Sprint(dead[1].ID)
	stranger := o.scheme.hospitals[1].Code + "/clerk-1"
	for _, c := range []struct {
		code int
		word string
		args []string
	}{
		{exitUsage, "--as", []string{"retry", first}},
		{exitUsage, "either", []string{"retry", "--as", o.clerk()}},
		{exitUsage, "either", []string{"retry", first, "--receiver", o.inbox.self, "--as", o.clerk()}},
		{exitUsage, "no job", []string{"retry", "X000000002", "--as", o.clerk()}},
		{exitUsage, "--reason", []string{"cancel", first, "--as", o.clerk()}},
		{exitNo, "not found", []string{"retry", "4711", "--as", o.clerk()}},
		{exitNo, "another organisation", []string{"retry", first, "--as", stranger}},
		{exitNo, "another organisation", []string{"cancel", first, "--reason", "x", "--as", stranger}},
		{exitNo, "may not", []string{"retry", first, "--as", o.scheme.police.Code + "/officer-1"}},
		{exitUsage, "--state", []string{"list", "--state", "lost"}},
		{exitUsage, "neither a receiver", []string{"run", "--receiver", "nobody"}},
	} {
		says(t, strings.Join(c.args, " "), o.call(0, append([]string{"jobs"}, c.args...)...), c.code, c.word)
	}
	if got := o.list("--state", "dead"); len(got) != 2 {
		t.Fatalf("a refused command has changed something: %+v", got)
	}
	delete(refuse, "X000000002")
	says(t, "retry of a stranger's", o.call(0, "jobs", "retry", "--receiver", o.inbox.self, "--as", stranger), exitYes, "sent again: 0")
	says(t, "retry", o.call(0, "jobs", "retry", "--receiver", o.inbox.self, "--as", o.scheme.commission.Code+"/supervisor-1", "--why", "schema mended"), exitYes, "sent again: 2")
	if diff := cmp.Diff([]string{"X000000001", "X000000004", "X000000002"}, o.inbox.order); diff != "" {
		t.Errorf("arrived (-want +got):\n%s", diff)
	}
	says(t, "cancel", o.call(0, "jobs", "cancel", second, "--reason", "handed over on paper", "--as", o.clerk()), exitYes, "cancelled: 1")
	says(t, "retry of the cancelled", o.call(0, "jobs", "retry", second, "--as", o.clerk()), exitNo, "is cancelled")
	if left := o.list(); len(left) != 0 {
		t.Errorf("left: %+v", left)
	}
	c := o.call(0, "show", "X000000003", "--json")
	for _, word := range []string{"retry-delivery", "schema mended", "cancel-delivery", "handed over on paper", "clerk-1", "supervisor-1"} {
		if audit := trailOf(t, o, "X000000003"); !strings.Contains(audit, word) {
			t.Errorf("the trail does not say %q: %s", word, audit)
		}
	}
	says(t, "show", c, exitYes)
}

func trailOf(t *testing.T, o *office, number string) string {
	t.Helper()
	i, err := appAt(o.data, systemClock, io.Discard, io.Discard).openForReading(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer i.close()
	l, err := i.db.ByNumber(t.Context(), number)
	if err != nil {
		t.Fatal(err)
	}
	trail, err := i.db.OfLicence(t.Context(), l.ID)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%+v", trail)
}

// In paper mode the police hear nothing before the claimant has the paper.
func TestDeliveriesWaitForThePaper(t *testing.T) {
	t.Parallel()
	o := newOffice(t, fresh)
	o.open()
	births := birthsOf(t, 1, 2)
	b, err := os.ReadFile(births)
	if err != nil {
		t.Fatal(err)
	}
	var first struct {
		BusinessID string `json:"businessId"`
	}
	if err := json.Unmarshal(bytes.SplitN(b, []byte("\n"), 2)[0], &first); err != nil || first.BusinessID == "" {
		t.Fatal(err)
	}
	says(t, "bind", o.call(0, "number", "bind", "X000000009", "--business", first.BusinessID, "--as", o.clerk()), exitYes)
	says(t, "issue", o.call(0, "issue", "--births", births), exitYes, "issued 2")
	says(t, "jobs run", o.call(1000*time.Hour, "jobs", "run", "--receiver", o.inbox.self), exitYes, "done 0")
	held := o.list("--state", "held")
	if len(held) != 1 || held[0].Number != "X000000009" || len(o.inbox.order) != 1 {
		t.Fatalf("held %+v, arrived %v", held, o.inbox.order)
	}
	says(t, "jobs list", o.call(0, "jobs", "list"), exitYes, "待领证 held")
	says(t, "retry of the held", o.call(0, "jobs", "retry", fmt.Sprint(held[0].ID), "--as", o.clerk()), exitNo, "is held")
	says(t, "release by another", o.call(0, "jobs", "release", "X000000009", "--as", o.scheme.hospitals[1].Code+"/clerk-1"), exitNo, "another organisation")
	says(t, "release of nothing", o.call(0, "jobs", "release", "X990000001", "--as", o.clerk()), exitNo, "not found")
	if len(o.inbox.order) != 1 {
		t.Error("it was delivered before the paper was given")
	}
	says(t, "release", o.call(0, "jobs", "release", "X000000009", "--as", o.clerk()), exitYes, "released: 1")
	says(t, "release again", o.call(0, "jobs", "release", "X000000009", "--as", o.clerk()), exitYes, "released: 0")
	if !slices.Equal(o.inbox.order, []string{"X000000001", "X000000009"}) || len(o.list()) != 0 {
		t.Errorf("arrived %v", o.inbox.order)
	}
}

// delivered reads an exchange folder as its receiver does: whatever is visible there is whole and signed.
func delivered(t *testing.T, o *office, dir, self string) map[string]*deliver.Signed {
	t.Helper()
	found := map[string]*deliver.Signed{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		files := map[string][]byte{}
		inside, err := os.ReadDir(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range inside {
			if files[f.Name()], err = os.ReadFile(filepath.Join(dir, e.Name(), f.Name())); err != nil {
				t.Fatal(err)
			}
		}
		manifest := files[deliver.ManifestName]
		delete(files, deliver.ManifestName)
		s, err := checked(o.inbox.trust, self, manifest, files)
		if err != nil || s.Key != e.Name() {
			t.Fatalf("%s: %v", e.Name(), err)
		}
		found[s.Key] = s
		for name, b := range files {
			if strings.HasSuffix(name, ".event") {
				signed, err := contract.ParseEvent(b)
				if err != nil || signed.Event.Counterparty != self || signed.Event.Actor != s.Sender {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
	return found
}

// An archive gets the counterfoil that is offered to it, with the event that offers it and the receipt; another archive, which
// is no receiver, gets nothing. A folder that is not mounted holds up nobody.
func TestHandOversToAnExchangeFolder(t *testing.T) {
	t.Parallel()
	o := newOffice(t, issued)
	share := filepath.Join(t.TempDir(), "share")
	city, stock := o.scheme.cityArchive.Code, o.scheme.hospitals[0].Code+"/stock-1"
	o.configure(fmt.Sprintf("    - {organisation: %s, driver: folder, address: %s, topics: [hand-over]}\n", city, share))
	says(t, "handover", o.call(0, "handover", "X000000001", "X000000002", "--to", city, "--as", stock), exitYes, "handed-over", "2 deliveries wait")
	says(t, "handover", o.call(0, "handover", "X000000003", "--to", o.scheme.districtArchive.Code, "--as", stock), exitYes, "handed-over")
	if _, err := os.Stat(share); !errors.Is(err, os.ErrNotExist) {
		t.Error("a share that is not mounted was made")
	}
	if err := os.Mkdir(share, 0o755); err != nil {
		t.Fatal(err)
	}
	says(t, "jobs run", o.call(time.Hour, "jobs", "run", "--receiver", city), exitYes, "done 2")
	found := delivered(t, o, share, city)
	if len(found) != 2 {
		t.Errorf("%d deliveries", len(found))
	}
	for _, s := range found {
		var names []string
		for _, f := range s.Files {
			names = append(names, f.Name)
		}
		want := []string{s.Number + "-handed-over.event", s.Number + "-counterfoil.pdf", s.Number + ".receipt"}
		if diff := cmp.Diff(want, names); diff != "" || s.Topic != deliver.TopicHandOver {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if s.Number != "X000000001" {
			continue
		}
		// The archive verifies what it was given, and accepts by it.
		dir := filepath.Join(share, s.Key)
		says(t, "accept", o.call(time.Hour, "accept", s.Number, "--as", city+"/archivist-1", "--file", filepath.Join(dir, names[1]), "--receipt", filepath.Join(dir, names[2])), exitYes, "accepted")
	}
}

// A process that delivers into a folder is killed again and again: whatever is visible is whole, and in the end everything is
// there once.
func TestKilledWhileDelivering(t *testing.T) {
	t.Parallel()
	o := newOffice(t, fresh)
	share, city := t.TempDir(), o.scheme.police.Code
	path := filepath.Join(o.data, configFile)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	without, _, _ := bytes.Cut(b, []byte("deliver:\n"))
	if err := os.WriteFile(path, without, 0o644); err != nil {
		t.Fatal(err)
	}
	// The share is mounted only after the births.
	late := filepath.Join(share, "in")
	o.configure(fmt.Sprintf("    - {organisation: %s, driver: folder, address: %s, topics: [parts]}\n", city, late))
	const count = 30
	says(t, "issue", o.call(0, "issue", "--births", birthsOf(t, 1, count)), exitYes, "30 deliveries wait")
	if err := os.Mkdir(late, 0o755); err != nil {
		t.Fatal(err)
	}
	entries := func() int {
		e, err := os.ReadDir(late)
		if err != nil {
			t.Fatal(err)
		}
		return len(e)
	}
	hit := 0
	for _, n := range []int{1, 4, 9, 15, 22} {
		waitForPause(t, o)
		if ended, said := killed(t, func() bool { return entries() >= n }, "--data", o.data, "jobs", "run", "--receiver", city); !ended {
			hit++
		} else if !strings.Contains(said, "done") {
			t.Fatal(said)
		}
		delivered(t, o, late, city) // whole, whatever is visible
	}
	if hit == 0 {
		t.Fatal("no kill hit a living process: this shows nothing")
	}
	says(t, "jobs run", o.call(time.Hour, "jobs", "run", "--receiver", city), exitYes, "waiting 0")
	found := delivered(t, o, late, city)
	numbers := map[string]int{}
	for _, s := range found {
		numbers[s.Number]++
	}
	if len(found) != count || len(numbers) != count || len(o.list()) != 0 || entries() != count {
		t.Errorf("%d deliveries of %d licences, %d entries", len(found), len(numbers), entries())
	}
}

// Published lists do not end while somebody runs the due work; nothing is published before it must be.
func TestUpkeepKeepsListsAlive(t *testing.T) {
	t.Parallel()
	data := copyOf(t, issued)
	const day = 24 * time.Hour
	sequence := func() string {
		b, err := os.ReadFile(filepath.Join(data, "publish", "trust.json"))
		if err != nil {
			t.Fatal(err)
		}
		f, err := trust.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(f.Sequence())
	}
	run := func(at time.Duration, words ...string) {
		t.Helper()
		says(t, "jobs run after "+at.String(), call(t.Context(), data, later(at), "jobs", "run"), exitYes, words...)
	}
	before := sequence()
	run(0)
	run(0, "done 0")
	if after := sequence(); after != before {
		t.Errorf("the trust file was published again at once: %s, %s", before, after)
	}
	for _, d := range []time.Duration{day, 21 * day, 45 * day} { // lists of revocations are renewed twice
		run(d)
		run(d, "done 0")
	}
	out := filepath.Join(t.TempDir(), "out")
	at := later(45*day + time.Hour)
	if c := call(t.Context(), data, at, "export", "X000000001", "--out", out); c.code != exitYes {
		t.Fatal(c.stderr)
	}
	says(t, "verify", call(t.Context(), "nowhere", at, "verify", "--trust", filepath.Join(out, "trust.json"), filepath.Join(out, "X000000001-main.pdf")), exitYes, "TOTAL-PASSED", "in force")
	var rows []jobRow
	c := call(t.Context(), data, at, "jobs", "list", "--json")
	if err := json.Unmarshal([]byte(c.stdout), &rows); err != nil || len(rows) != 5 {
		t.Fatalf("%d rows of upkeep, %v: %s", len(rows), err, c.stdout)
	}
	for _, r := range rows {
		if r.State != due.Due || !r.Due.After(at()) || r.Failure != "" {
			t.Errorf("%+v", r)
		}
	}
	says(t, "cancel", call(t.Context(), data, at, "jobs", "cancel", fmt.Sprint(rows[0].ID), "--reason", "x", "--as", demonstrationScheme().commission.Code+"/supervisor-1"), exitNo, "not cancelled")
	// A key that is away is told, and tried for again.
	keystore := filepath.Join(data, "keystores", demonstrationScheme().commission.Code+".keystore")
	b, err := os.ReadFile(keystore)
	if err == nil {
		err = os.WriteFile(keystore, []byte("damaged"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	says(t, "jobs run without a key", call(t.Context(), data, later(47*day), "jobs", "run", "--receiver", upkeepStatus), exitBatch, "签名密钥不可用", "again 1")
	if err := os.WriteFile(keystore, b, 0o600); err != nil {
		t.Fatal(err)
	}
	says(t, "jobs run with it", call(t.Context(), data, later(48*day), "jobs", "run", "--receiver", upkeepStatus), exitYes, "done 1")
}

// A process that runs on has a loop for each receiver and each upkeep; while one receiver hangs, another's loop goes on.
func TestLoopsOfDueWork(t *testing.T) {
	t.Parallel()
	o := newOffice(t, issued)
	share, city := t.TempDir(), o.scheme.cityArchive.Code
	o.configure(fmt.Sprintf("    - {organisation: %s, driver: folder, address: %s, topics: [parts]}\n", city, share))
	says(t, "issue", o.call(0, "issue", "--births", birthsOf(t, 13, 2)), exitYes, "issued 2")
	i, err := appAt(o.data, later(time.Hour), io.Discard, io.Discard).openForWriting(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer i.close()
	loops, err := i.dueLoops(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]wokenLoop{}
	for _, l := range loops {
		by[l.name] = l
		if l.every <= 0 {
			t.Errorf("%s never waits", l.name)
		}
	}
	if len(by) != 2+5 {
		t.Fatalf("%d loops", len(by))
	}
	hanging, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	o.inbox.before = func(*deliver.Signed) int {
		once.Do(func() { close(hanging) })
		<-release
		return 0
	}
	o.open()
	ended := make(chan error, 1)
	go func() { ended <- by["due-"+o.inbox.self].run(t.Context()) }()
	<-hanging
	says(t, "births while a receiver hangs", o.call(0, "jobs", "list", "--state", "leased"), exitYes, "leased")
	for name, l := range by {
		if name != "due-"+o.inbox.self {
			if err := l.run(t.Context()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if found := delivered(t, o, share, city); len(found) != 2 {
		t.Errorf("%d deliveries while another receiver hangs", len(found))
	}
	close(release)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if len(o.inbox.order) != 2 {
		t.Errorf("arrived %v", o.inbox.order)
	}
}

func TestReceiversAreChecked(t *testing.T) {
	t.Parallel()
	data := copyOf(t, fresh)
	path := filepath.Join(data, configFile)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	police := demonstrationScheme().police.Code
	for lines, word := range map[string]string{
		"{organisation: 街道, driver: folder, address: x, topics: [parts]}":                                                                                  "social credit code",
		"{organisation: %s, driver: ftp, address: x, topics: [parts]}":                                                                                     "folder and https",
		"{organisation: %s, driver: folder, topics: [parts]}":                                                                                              "has an address",
		"{organisation: %s, driver: folder, address: x, topics: [parts], atOnce: 33}":                                                                      "at most 32",
		"{organisation: %s, driver: folder, address: x, topics: []}":                                                                                       "topics is empty",
		"{organisation: %s, driver: folder, address: x, topics: [lunch]}":                                                                                  "no topic",
		"{organisation: %s, driver: folder, address: x, topics: [parts], tls: {ca: x}}":                                                                    "neither tls",
		"{organisation: %s, driver: https, address: 'http://police.example/', topics: [parts]}":                                                            "loopback",
		"{organisation: %s, driver: https, address: 'https://a:b@police.example/', topics: [parts]}":                                                       "password",
		"{organisation: %s, driver: https, address: 'https://p.example/', topics: [parts], timeout: 2h}":                                                   "at most an hour",
		"{organisation: %s, driver: https, address: 'https://p.example/', topics: [parts], tls: {key: x}}":                                                 "belong together",
		"{organisation: %s, driver: https, address: 'https://p.example/', topics: [parts], secret: x}":                                                     "secret",
		"{organisation: %[1]s, driver: folder, address: x, topics: [parts]}\n    - {organisation: %[1]s, driver: folder, address: x, topics: [hand-over]}": "twice",
	} {
		if strings.Contains(lines, "%") {
			lines = fmt.Sprintf(lines, police)
		}
		if err := os.WriteFile(path, append(bytes.Clone(before), "deliver:\n  receivers:\n    - "+lines+"\n"...), 0o644); err != nil {
			t.Fatal(err)
		}
		says(t, lines, call(t.Context(), data, systemClock, "list"), exitUsage, word)
	}
	// What is configured and not there fails by itself, and keeps nobody from issuing.
	lines := fmt.Sprintf("deliver:\n  receivers:\n    - {organisation: %s, driver: https, address: 'https://127.0.0.1:1/', topics: [parts], tls: {ca: none.pem}}\n", police)
	if err := os.WriteFile(path, append(bytes.Clone(before), lines...), 0o644); err != nil {
		t.Fatal(err)
	}
	says(t, "issue", call(t.Context(), data, systemClock, "issue", "--births", birthsOf(t, 1, 1)), exitYes, "issued 1", "1 deliveries wait")
	says(t, "jobs run", call(t.Context(), data, later(time.Hour), "jobs", "run", "--receiver", police), exitBatch, "接收方的配置有误", "none.pem")
}

// The process died between a revocation and the status list that tells of it: the revocation itself has made the list due.
func TestARevocationIsPublishedWhateverDies(t *testing.T) {
	t.Parallel()
	data, s := copyOf(t, issued), demonstrationScheme()
	must(t, data, "jobs", "run")
	i, err := appAt(data, systemClock, io.Discard, io.Discard).openForWriting(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = i.service.Take(t.Context(), issuing.Move{Kind: contract.Revoked, Number: "X000000004", Actor: s.commission.Code, Reason: "wrongly-issued"},
		i.whoIs(t.Context(), actor{s.commission, "supervisor-1"}))
	i.close()
	if err != nil {
		t.Fatal(err)
	}
	verify := func(word string) {
		t.Helper()
		out := filepath.Join(t.TempDir(), "out")
		must(t, data, "export", "X000000004", "--out", out)
		c := call(t.Context(), "nowhere", systemClock, "verify", "--trust", filepath.Join(out, "trust.json"), filepath.Join(out, "X000000004-main.pdf"))
		if !strings.Contains(c.stdout, word) {
			t.Errorf("the verdict does not say %q: %s", word, c.stdout)
		}
	}
	verify("in force") // nobody was told yet
	must(t, data, "jobs", "run")
	verify("revoked")
}

// A clerk whose command has ended is not asked for the passphrase of another organisation, whose deliveries wait too.
func TestDeliveriesAtTheEndAskNobody(t *testing.T) {
	t.Parallel()
	i, err := appAt(copyOf(t, fresh), systemClock, io.Discard, io.Discard).openForReading(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer i.close()
	i.config.Demonstration = false
	i.unasked.Store(true)
	_, _, err = eventKeys{i.keyring}.EventKey(t.Context(), demonstrationScheme().hospitals[0].Code)
	if !errors.Is(err, errUnasked) || !errors.Is(err, issuing.ErrKey) {
		t.Errorf("it would ask: %v", err)
	}
}

// What cannot be delivered yet waits, what never can does not: each by the reason that a person is told.
func TestWhatADeliveryNeeds(t *testing.T) {
	t.Parallel()
	o := newOffice(t, issued)
	i, err := appAt(o.data, systemClock, io.Discard, io.Discard).openForWriting(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer i.close()
	city := o.scheme.cityArchive
	l, err := i.db.ByNumber(t.Context(), "X000000005")
	if err != nil {
		t.Fatal(err)
	}
	fails := func(what string, j due.Job, code string, v due.Verdict) {
		t.Helper()
		before, err := i.db.OfLicence(t.Context(), l.ID)
		if err != nil {
			t.Fatal(err)
		}
		d, err := documents{i}.Document(t.Context(), j)
		var f *due.Failed
		if !errors.As(err, &f) || f.Code != code || f.Verdict != v {
			t.Errorf("%s: %d files, %v; want %s, verdict %d", what, len(d.Files), err, code, v)
		}
		after, err := i.db.OfLicence(t.Context(), l.ID)
		if err != nil || code != "unreadable" && len(after) != len(before) {
			t.Errorf("%s: it was read, though it cannot be delivered: %v", what, err)
		}
	}
	job := due.Job{Licence: l.ID, Topic: deliver.TopicHandOver, Lane: city.Code, Sequence: -1}
	fails("nothing was handed over", job, "ledger-refused", due.Refused)
	if _, err := i.service.Take(t.Context(), issuing.Move{Kind: contract.HandedOver, Number: l.Number, Actor: l.Issuer, Part: "counterfoil", Counterparty: city.Code},
		i.who(t.Context(), "stock-1")); err != nil {
		t.Fatal(err)
	}
	fails("the ledger has not answered", job, "awaits-receipt", due.Lags)
	if err := i.ledger.catchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d, err := (documents{i}).Document(t.Context(), job); err != nil || len(d.Files) != 3 || d.Sender != l.Issuer {
		t.Errorf("%d files, %v", len(d.Files), err)
	}
	job.Sequence = 7
	fails("another step", job, "ledger-refused", due.Refused)
	job.Sequence, job.Lane = 1, o.scheme.districtArchive.Code
	fails("another archive", job, "ledger-refused", due.Refused)
	fails("no such licence", due.Job{Licence: strings.Repeat("0", 32), Topic: deliver.TopicParts}, "unreadable", due.Refused)
	parts := due.Job{Licence: l.ID, Topic: deliver.TopicParts, Lane: o.inbox.self}
	keyID, err := i.db.Erase(t.Context(), l.ID, i.who(t.Context(), "test"))
	if err != nil || keyID == "" {
		t.Fatal(err)
	}
	fails("erased", parts, "unreadable", due.Refused)
	if err := i.db.Close(); err != nil {
		t.Fatal(err)
	}
	var f *due.Failed
	if _, err := (documents{i}).Document(t.Context(), parts); !errors.As(err, &f) || f.Code != "records" || f.Verdict != due.Lags {
		t.Errorf("records that are away: %v", err)
	}
}
