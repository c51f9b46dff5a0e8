package recordstest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/elicence/elicence/issuing"
)

// Variables of the child process's environment.
const (
	childFolder = "ELICENCE_RECORDSTEST_FOLDER"
	childBirths = "ELICENCE_RECORDSTEST_BIRTHS"
)

// Main is the TestMain of an engine's tests: in a child process of Kill it issues births until it is killed.
func Main(m *testing.M, e Engine) int {
	dir := os.Getenv(childFolder)
	if dir == "" {
		return m.Run()
	}
	births, err := strconv.Atoi(os.Getenv(childBirths))
	if err == nil {
		err = child(e, dir, births)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// witness is a testing.TB for the child, which has no test.
type witness struct{ testing.TB }

func (witness) Helper()           {}
func (witness) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

// child finishes what its predecessor left and goes on with the batch, eight births at a time, one line for each.
func child(e Engine, dir string, births int) error {
	ctx := context.Background()
	kek := testKEK(1)
	r, err := e.Open(ctx, dir, Options{KEK: kek})
	if err != nil {
		return err
	}
	ids, err := r.Unfinished(ctx, time.Time{}, births)
	if err != nil {
		return err
	}
	for _, id := range ids {
		l, err := r.ByID(ctx, id)
		if err != nil {
			return err
		}
		if _, err := attempt(ctx, r, again(l)); err != nil {
			return err
		}
		fmt.Println(id)
	}
	tries := 1
	if e.Locked == nil {
		tries = 20
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, 9)
	for range 8 {
		wg.Go(func() {
			for {
				n := int(next.Add(1)) - 1
				if n >= births {
					return
				}
				// Where several processes issue, each asks again when another one had its hands on the birth.
				l, err := issue(ctx, r, beginning(witness{}, kek, fmt.Sprint("B", n), start), tries)
				if err != nil {
					errs <- err
					return
				}
				fmt.Println(l.ID)
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		return err
	}
	if _, _, err := r.Seal(ctx); err != nil {
		return err
	}
	return r.Close()
}

// again is the request of a licence that stands.
func again(l issuing.Licence) issuing.Beginning {
	return issuing.Beginning{Intent: l.Intent, UseStock: true, DataKey: l.DataKey, DataKeyID: l.DataKeyID}
}

// Kill kills a process in the midst of a batch, kills times at seeded random births, lets the next one go on, and then
// holds the records to their invariants: every birth once, nothing half, books that balance, a chain without a gap.
// The engine's TestMain must call Main.
func Kill(t *testing.T, e Engine, births, kills int) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := newScene(t, e, births+7)
	s.close()
	killed := 0
	for range kills {
		if run(t, s.dir, births, 1+random.IntN(births)) {
			killed++
		}
		// Between two lives the records are readable, and nothing is half that says it is whole.
		s.open(Options{ReadOnly: true})
		all := s.all()
		s.unique(all)
		for _, l := range all {
			if l.Stage == issuing.StageIssued {
				s.whole(l)
			}
		}
		s.close()
	}
	if run(t, s.dir, births, 0) {
		t.Fatal("the last process was killed by nobody")
	}
	s.open(Options{})
	s.check(births)
	if killed == 0 {
		t.Error("no process was killed: the test proves nothing")
	}
	t.Logf("%d of %d processes killed", killed, kills)
}

// Frozen runs two processes with one batch, and stops one of them again and again in the midst of it, for longer than its
// transactions may last. The other goes on, and in the end every birth is there once.
func Frozen(t *testing.T, e Engine, births, freezes int) {
	s := newScene(t, e, births+7)
	s.close()
	var children []*exec.Cmd
	for range 2 {
		c := process(t, s.dir, births)
		c.Stderr = os.Stderr
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		children = append(children, c)
	}
	s.open(Options{})
	count := func() int {
		t.Helper()
		counts, err := s.r.Counts(s.ctx())
		s.must(err)
		return counts.ByStage[issuing.StageIssued]
	}
	frozen := 0
	for i := range freezes {
		c := children[i%2]
		if c.Process.Signal(syscall.SIGSTOP) != nil {
			break // it is done
		}
		frozen++
		// The other one gets on: what the frozen one holds is given free in time.
		for deadline, before := time.Now().Add(time.Minute), count(); count() < min(before+births/5, births); {
			if time.Now().After(deadline) {
				t.Fatalf("a frozen process holds up everybody at %d births", count())
			}
			time.Sleep(20 * time.Millisecond)
		}
		s.must(c.Process.Signal(syscall.SIGCONT))
	}
	for _, c := range children {
		if err := c.Wait(); err != nil {
			t.Errorf("a process that was frozen: %v", err)
		}
	}
	if frozen == 0 {
		t.Error("no process was frozen: the test proves nothing")
	}
	s.check(births)
}

// process is a child that issues births and has not begun.
func process(t *testing.T, dir string, births int) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(program)
	c.Env = append(os.Environ(), childFolder+"="+dir, childBirths+"="+strconv.Itoa(births))
	return c
}

// run starts a child and kills it after so many lines, 0 for never; it reports whether it was killed.
func run(t *testing.T, dir string, births, lines int) bool {
	t.Helper()
	c := process(t, dir, births)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	scanner := bufio.NewScanner(out)
	for n := 1; scanner.Scan(); n++ {
		if n == lines {
			if err := c.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Error(err)
			}
		}
	}
	err = c.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == -1 {
		return true
	}
	if err != nil {
		t.Fatalf("a child failed: %v", err)
	}
	return false
}
