package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/elicence/elicence/storage/objects"
	"github.com/elicence/elicence/storage/objects/objectstest"
	"github.com/elicence/elicence/storage/objects/s3/versitygwtest"
)

// hasty gives up soon, so that silence costs tests little.
var hasty = patience{tries: 5, once: 300 * time.Millisecond, least: time.Millisecond, most: 5 * time.Millisecond, perSec: 256 << 10}

// behind is a store of its own behind a proxy.
func behind(t testing.TB, decide func(versitygwtest.Request) versitygwtest.Fault) (*Store, *versitygwtest.Proxy) {
	t.Helper()
	p := versitygwtest.Between(t, server, decide)
	c := settings()
	c.Endpoint = p.Endpoint()
	s := open(t, c)
	s.patience = hasty
	return s, p
}

func noFault(versitygwtest.Request) versitygwtest.Fault { return versitygwtest.None }

// direct is the same store without the proxy.
func direct(t testing.TB, s *Store) *Store {
	t.Helper()
	c := s.config
	c.Endpoint = server.Endpoint()
	return open(t, c)
}

// versionsOf counts the versions and markers of a name as an administrator sees them.
func versionsOf(t testing.TB, s *Store, key string) (versions, markers int) {
	t.Helper()
	for o := range raw.ListObjectsIter(ctx, bucket, minio.ListObjectsOptions{Prefix: s.prefix + key, Recursive: true, WithVersions: true}) {
		must(t, o.Err)
		switch {
		case o.Key != s.prefix+key:
		case o.IsDeleteMarker:
			markers++
		default:
			versions++
		}
	}
	return versions, markers
}

var sortsOfKeys = map[string]func(b []byte) string{
	"address": objects.ContentKey, "tile": func([]byte) string { return "tile/0/000" }, "data key": func([]byte) string { return "keys/0011" },
}

// TestEveryRequestFailsOnce lets each request of a put and a get fail in turn, in every way. Nobody notices: the object is
// there once, whole, and what is read is what was put.
func TestEveryRequestFailsOnce(t *testing.T) {
	b := bytes.Repeat([]byte("personal "), 7_000)
	for what, name := range sortsOfKeys {
		for _, fault := range versitygwtest.Faults {
			t.Run(what+" "+fault.String(), func(t *testing.T) {
				t.Parallel()
				key := name(b)
				for at := 0; ; at++ {
					fail := func(r versitygwtest.Request) versitygwtest.Fault {
						if r.Number == at {
							return fault
						}
						return versitygwtest.None
					}
					s, p := behind(t, fail)
					must(t, s.Put(ctx, key, b))
					put := p.Requests()
					if n, _ := versionsOf(t, s, key); n != 1 {
						t.Errorf("request %d of the put: %d versions, want 1", at, n)
					}
					p.Decide(fail)
					got, err := s.Get(ctx, key)
					if err != nil || !bytes.Equal(got, b) {
						t.Errorf("request %d of the get: %d bytes, %v", at, len(got), err)
					}
					if at >= put && at >= p.Requests() {
						if at < 2 {
							t.Error("no request failed")
						}
						break
					}
				}
			})
		}
	}
}

// TestStoreThatStaysAway: the answer is objects.ErrUnavailable within the patience, it tells nothing of what was put,
// and when the store is back the same put succeeds, with one object to show for it.
func TestStoreThatStaysAway(t *testing.T) {
	secret := []byte("child's name, mother's number")
	key := objects.ContentKey(secret)
	for _, fault := range versitygwtest.Faults {
		t.Run(fault.String(), func(t *testing.T) {
			t.Parallel()
			s, p := behind(t, noFault)
			must(t, s.Put(ctx, "tile/0/000", []byte("first"))) // the bucket is known to be fit
			p.Decide(func(versitygwtest.Request) versitygwtest.Fault { return fault })
			begun := time.Now()
			var calls sync.WaitGroup
			for verb, call := range map[string]func() error{
				"put":        func() error { return s.Put(ctx, key, secret) },
				"put a tile": func() error { return s.Put(ctx, "tile/0/001", secret) },
				"delete":     func() error { return s.Delete(ctx, "keys/0011") },
				"list":       func() error { return s.List(ctx, "", func(objects.Info) error { return nil }) },
				"get":        func() error { _, err := s.Get(ctx, "tile/0/000"); return err },
				"stat":       func() error { _, err := s.Stat(ctx, "tile/0/000"); return err },
			} {
				calls.Go(func() {
					err := call()
					if !errors.Is(err, objects.ErrUnavailable) {
						t.Errorf("%s says %v", verb, err)
						return
					}
					for _, leak := range []string{"child", "mother", server.AccessKey, server.SecretKey, "Signature"} {
						if strings.Contains(err.Error(), leak) {
							t.Errorf("%s tells %q: %v", verb, leak, err)
						}
					}
				})
			}
			calls.Wait()
			if took := time.Since(begun); took > 30*time.Second {
				t.Errorf("the answers took %s", took)
			}
			p.Decide(noFault)
			must(t, s.Put(ctx, key, secret))
			must(t, s.Put(ctx, "tile/0/001", secret))
			for _, k := range []string{key, "tile/0/001"} {
				if n, _ := versionsOf(t, s, k); n != 1 {
					t.Errorf("%s has %d versions, want 1", k, n)
				}
			}
		})
	}
}

// TestSixteenWritersOnABadLine: every third answer fails in some way, and still each object is there exactly once, one of
// those who differ wins, and the winner knows it.
func TestSixteenWritersOnABadLine(t *testing.T) {
	s, _ := behind(t, func(r versitygwtest.Request) versitygwtest.Fault {
		faults := []versitygwtest.Fault{versitygwtest.Lost, versitygwtest.Busy, versitygwtest.CutAnswer, versitygwtest.CutRequest, versitygwtest.Broken}
		if r.Number%3 == 2 {
			return faults[r.Number/3%len(faults)]
		}
		return versitygwtest.None
	})
	s.patience.tries = 12
	const writers = 16
	for round := range 4 {
		same := fmt.Appendf(nil, "the same %d", round)
		for _, k := range []string{fmt.Sprintf("tile/1/%03d", round), fmt.Sprintf("keys/01%02d", round)} {
			results := make([]error, writers)
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					results[w] = s.Put(ctx, k, fmt.Appendf(nil, "writer %d", w))
					if err := s.Put(ctx, objects.ContentKey(same), same); err != nil {
						t.Errorf("writer %d of the same bytes: %v", w, err)
					}
				})
			}
			wg.Wait()
			got, err := direct(t, s).Get(ctx, k)
			must(t, err)
			for w, err := range results {
				switch mine := string(got) == fmt.Sprintf("writer %d", w); {
				case mine && err != nil:
					t.Errorf("writer %d won %s and was told %v", w, k, err)
				case !mine && !errors.Is(err, objects.ErrExists):
					t.Errorf("writer %d lost %s and was told %v", w, k, err)
				}
			}
			if n, _ := versionsOf(t, s, k); n != 1 {
				t.Errorf("%s has %d versions", k, n)
			}
		}
		if n, _ := versionsOf(t, s, objects.ContentKey(same)); n != 1 {
			t.Errorf("the same bytes stand there %d times", n)
		}
	}
}

// TestListGoesOnWhereItBrokeOff: a listing of many pages loses and doubles nothing when its answers are cut.
func TestListGoesOnWhereItBrokeOff(t *testing.T) {
	s, p := behind(t, noFault)
	want := 0
	for n := range 40 {
		must(t, s.Put(ctx, fmt.Sprintf("tile/0/%03d", n), []byte("b")))
		want++
	}
	// Pages are small only for one name; a walk is cut whatever its page is.
	p.Decide(func(r versitygwtest.Request) versitygwtest.Fault {
		return []versitygwtest.Fault{versitygwtest.CutAnswer, versitygwtest.Busy, versitygwtest.None}[r.Number%3]
	})
	// What was not complete when the answer broke off comes again; nothing comes out of order.
	got, last := map[string]bool{}, ""
	must(t, s.walkPages(ctx, "tile/", 7, func(v version) error {
		if v.key < last {
			t.Errorf("%s after %s", v.key, last)
		}
		last, got[v.key] = v.key, true
		return nil
	}))
	if len(got) != want {
		t.Errorf("%d keys, want %d", len(got), want)
	}
	listed := 0
	must(t, s.List(ctx, "tile/", func(objects.Info) error { listed++; return nil }))
	if listed != want {
		t.Errorf("%d objects listed, want %d", listed, want)
	}
}

// TestMangledOnTheWay: a bit that turns on the way to the store is refused there, one that turns on the way back is
// noticed here; both are tried again, and nobody is given other bytes than were put.
func TestMangledOnTheWay(t *testing.T) {
	b := bytes.Repeat([]byte("part "), 12_000)
	for what, name := range sortsOfKeys {
		t.Run(what, func(t *testing.T) {
			key := name(b)
			once := func(method string, fault versitygwtest.Fault) func(versitygwtest.Request) versitygwtest.Fault {
				done := false
				return func(r versitygwtest.Request) versitygwtest.Fault {
					if done || r.Method != method || !strings.HasSuffix(r.Path, key) {
						return versitygwtest.None
					}
					done = true
					return fault
				}
			}
			s, p := behind(t, once("PUT", versitygwtest.Mangled))
			must(t, s.Put(ctx, key, b))
			if n, _ := versionsOf(t, s, key); n != 1 {
				t.Errorf("%d versions", n)
			}
			p.Decide(once("GET", versitygwtest.MangledAnswer))
			got, err := s.Get(ctx, key)
			if err != nil || !bytes.Equal(got, b) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			always := func(fault versitygwtest.Fault) func(versitygwtest.Request) versitygwtest.Fault {
				return func(r versitygwtest.Request) versitygwtest.Fault {
					if strings.Contains(r.Path, s.prefix) {
						return fault
					}
					return versitygwtest.None
				}
			}
			p.Decide(always(versitygwtest.MangledAnswer))
			if got, err := s.Get(ctx, key); !errors.Is(err, objects.ErrDamaged) || got != nil {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			p.Decide(always(versitygwtest.Mangled))
			other := append([]byte("other"), b...)
			if err := s.Put(ctx, objects.ContentKey(other), other); !errors.Is(err, objects.ErrUnavailable) {
				t.Errorf("a line that always mangles: %v", err)
			}
			if n, _ := versionsOf(t, s, objects.ContentKey(other)); n != 0 {
				t.Error("mangled bytes were stored")
			}
		})
	}
}

// TestFullStore: no room is told as such, without asking again and again, and cured by room.
func TestFullStore(t *testing.T) {
	s, p := behind(t, noFault)
	must(t, s.Put(ctx, "tile/0/000", []byte("first")))
	p.Decide(func(versitygwtest.Request) versitygwtest.Fault { return versitygwtest.Full })
	if err := s.Put(ctx, "tile/0/001", []byte("second")); !errors.Is(err, objects.ErrFull) || p.Requests() != 1 {
		t.Errorf("%v after %d requests", err, p.Requests())
	}
	p.Decide(noFault)
	must(t, s.Put(ctx, "tile/0/001", []byte("second")))
}

// TestAnswerOfAnotherRequest: where a server's answers have slipped by one, a success that is somebody else's must not
// count.
func TestAnswerOfAnotherRequest(t *testing.T) {
	b := []byte("nobody has put this yet")
	for what, name := range sortsOfKeys {
		s, p := behind(t, noFault)
		must(t, s.Put(ctx, "tile/9/999", []byte("somebody else's")))
		p.Decide(func(r versitygwtest.Request) versitygwtest.Fault {
			if r.Number == 0 {
				return versitygwtest.Foreign
			}
			return versitygwtest.None
		})
		must(t, s.Put(ctx, name(b), b))
		if n, _ := versionsOf(t, s, name(b)); n != 1 {
			t.Errorf("%s was acknowledged and is there %d times", what, n)
		}
	}
}

// TestTimeIsBounded: a context that ends ends the call at once, whatever the store does.
func TestTimeIsBounded(t *testing.T) {
	s, p := behind(t, noFault)
	must(t, s.Put(ctx, "keys/0011", []byte("w")))
	s.patience = usualPatience
	p.Decide(func(versitygwtest.Request) versitygwtest.Fault { return versitygwtest.Silent })
	for verb, call := range map[string]func(ctx context.Context) error{
		"put":    func(ctx context.Context) error { return s.Put(ctx, "tile/0/000", []byte("b")) },
		"get":    func(ctx context.Context) error { _, err := s.Get(ctx, "keys/0011"); return err },
		"list":   func(ctx context.Context) error { return s.List(ctx, "", func(objects.Info) error { return nil }) },
		"delete": func(ctx context.Context) error { return s.Delete(ctx, "keys/0011") },
	} {
		ended, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		begun := time.Now()
		if err := call(ended); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", verb, err)
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("%s took %s of 50 ms", verb, took)
		}
		cancel()
	}
	// Nor does one caller wait for another's first look at the bucket.
	again := direct(t, s)
	again.looking <- struct{}{}
	ended, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if err := again.Put(ended, "tile/0/000", []byte("b")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while another looks: %v", err)
	}
}

// TestSuiteOnABadLine is the whole suite while every seventh answer is lost.
func TestSuiteOnABadLine(t *testing.T) {
	objectstest.Run(t, func(t *testing.T) objectstest.Store {
		s, _ := behind(t, func(r versitygwtest.Request) versitygwtest.Fault {
			if r.Number%7 == 6 {
				return versitygwtest.Lost
			}
			return versitygwtest.None
		})
		s.patience.tries = 8
		return s
	}, nil)
}
