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
				l, err := issue(ctx, r, beginning(witness{}, kek, fmt.Sprint("B", n), start), 1)
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

// run starts a child and kills it after so many lines, 0 for never; it reports whether it was killed.
func run(t *testing.T, dir string, births, lines int) bool {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(program)
	c.Env = append(os.Environ(), childFolder+"="+dir, childBirths+"="+strconv.Itoa(births))
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
