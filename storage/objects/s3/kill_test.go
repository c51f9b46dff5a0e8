package s3

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/minio/minio-go/v7"

	"github.com/elicence/elicence/storage/objects"
	"github.com/elicence/elicence/storage/objects/s3/versitygwtest"
)

// putterSettings names, in the environment of a child, the store that it puts to until it is killed.
const putterSettings = "ELICENCE_TEST_PUTTER"

// content of the n-th object that a test puts.
func content(n int) []byte { return bytes.Repeat(fmt.Appendf(nil, "object %d ", n), 5_000) }

// put puts one object of each sort.
func put(s *Store, n int) error {
	if err := s.Put(ctx, objects.ContentKey(content(n)), content(n)); err != nil {
		return err
	}
	if err := s.Put(ctx, fmt.Sprintf("tile/0/%06d", n), content(n)); err != nil {
		return err
	}
	return s.Put(ctx, fmt.Sprintf("keys/%06d", n), content(n))
}

// putter is the child: it says what is done when it is done.
func putter(settings string) error {
	var c Config
	if err := json.Unmarshal([]byte(settings), &c); err != nil {
		return err
	}
	k, err := FindCredentials(c, os.Getenv)
	if err != nil {
		return err
	}
	s, err := Open(c, k, systemClock)
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		if err := put(s, n); err != nil {
			return err
		}
		fmt.Println(n)
	}
}

// readable holds everything that is there to being whole, and returns its keys.
func readable(t *testing.T, s *Store) map[string]bool {
	t.Helper()
	present := map[string]bool{}
	must(t, s.List(ctx, "", func(i objects.Info) error {
		present[i.Key] = true
		b, err := s.Get(ctx, i.Key)
		n := -1
		_, _ = fmt.Sscanf(string(b[:min(len(b), 40)]), "object %d ", &n)
		if err != nil || n < 0 || !bytes.Equal(b, content(n)) {
			t.Errorf("%s is not whole: %d bytes, %v", i.Key, len(b), err)
		}
		return nil
	}))
	return present
}

// whole holds a store to what is promised after any death: what was said to be done is there, everything that is there is
// whole, the same puts again succeed, and then each object is there once, with its lock.
func whole(t *testing.T, s *Store, administrator *minio.Core, bucket string, done int) {
	t.Helper()
	present := readable(t, s)
	for n := range done {
		for _, key := range []string{objects.ContentKey(content(n)), fmt.Sprintf("tile/0/%06d", n), fmt.Sprintf("keys/%06d", n)} {
			if !present[key] {
				t.Errorf("%s was said to be there and is not", key)
			}
		}
	}
	for n := range done + 1 {
		if err := put(s, n); err != nil {
			t.Errorf("the same put again: %v", err)
		}
	}
	seen := map[string]int{}
	for o := range administrator.ListObjectsIter(ctx, bucket, minio.ListObjectsOptions{Prefix: s.prefix, Recursive: true, WithVersions: true}) {
		must(t, o.Err)
		key := strings.TrimPrefix(o.Key, s.prefix)
		if seen[key]++; seen[key] > 1 {
			t.Errorf("%s is there twice", key)
		}
		lock, err := s.lockOf(ctx, key, o.VersionID)
		must(t, err)
		if (lock.mode == minio.Compliance) != locked(key) {
			t.Errorf("%s has the lock %q", key, lock.mode)
		}
	}
	if len(seen) != 3*(done+1) {
		t.Errorf("%d objects, want %d", len(seen), 3*(done+1))
	}
}

func TestKilledWhilePutting(t *testing.T) {
	for _, after := range []int{1, 3, 7, 12} {
		c := settings()
		b, err := json.Marshal(c)
		must(t, err)
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), putterSettings+"="+string(b), AccessKeyName+"="+server.AccessKey, SecretKeyName+"="+server.SecretKey)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		must(t, err)
		must(t, child.Start())
		done := 0
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if done++; done == after {
				must(t, child.Process.Kill())
			}
		}
		if err := child.Wait(); err == nil || done < after {
			t.Fatalf("the child ended by itself after %d: %v", done, err)
		}
		whole(t, open(t, c), raw, bucket, done)
	}
}

// TestServerKilledWhileItIsPutTo: the server dies under sixteen writers. Whoever got no answer is told that the store is
// away, and the next server on the same disk has everything that was acknowledged.
func TestServerKilledWhileItIsPutTo(t *testing.T) {
	folder := t.TempDir()
	first, err := versitygwtest.Open(folder)
	must(t, err)
	defer first.Stop()
	name, err := first.Bucket()
	must(t, err)
	c := settings()
	c.Bucket, c.Endpoint = name, first.Endpoint()
	k, err := FindCredentials(c, first.Environment)
	must(t, err)
	s, err := Open(c, k, systemClock)
	must(t, err)
	defer s.Close()
	s.patience = hasty
	var next, acknowledged atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for {
				if put(s, int(next.Add(1)-1)) != nil {
					return
				}
				if acknowledged.Add(1) == 40 {
					first.Kill()
				}
			}
		})
	}
	wg.Wait()
	second, err := versitygwtest.Open(folder)
	must(t, err)
	defer second.Stop()
	c.Endpoint = second.Endpoint()
	k, err = FindCredentials(c, second.Environment)
	must(t, err)
	again, err := Open(c, k, systemClock)
	must(t, err)
	defer again.Close()
	administrator, err := second.Administrator()
	must(t, err)
	if n := len(readable(t, again)); n < 3*40 {
		t.Errorf("%d objects are left of at least 120 that were acknowledged", n)
	}
	tried := int(next.Load())
	for n := range tried { // those whose answers were lost are put again, as issuing does
		must(t, put(again, n))
	}
	whole(t, again, administrator, name, tried-1)
}
