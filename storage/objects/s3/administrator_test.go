package s3

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/elicence/elicence/storage/objects"
)

// over lays a version over a name, as an administrator can who may write to the bucket.
func over(t testing.TB, s *Store, key string, b []byte) {
	t.Helper()
	_, err := raw.Client.PutObject(ctx, bucket, s.prefix+key, bytes.NewReader(b), int64(len(b)), minio.PutObjectOptions{})
	must(t, err)
}

// marker lays a delete marker over a name.
func marker(t testing.TB, s *Store, key string) {
	t.Helper()
	must(t, raw.RemoveObject(ctx, bucket, s.prefix+key, minio.RemoveObjectOptions{}))
}

// TestWhatAnAdministratorLaysOverCountsForNothing: newer versions and delete markers hide no retained object, neither
// from Get nor from Stat and List, and a put still knows what stands there.
func TestWhatAnAdministratorLaysOverCountsForNothing(t *testing.T) {
	b := []byte("what was put first")
	for what, name := range sortsOfKeys {
		for how, attack := range map[string]func(s *Store, key string){
			"other bytes":        func(s *Store, key string) { over(t, s, key, []byte("forged")) },
			"no bytes":           func(s *Store, key string) { over(t, s, key, nil) },
			"a marker":           func(s *Store, key string) { marker(t, s, key) },
			"bytes and a marker": func(s *Store, key string) { over(t, s, key, []byte("forged")); marker(t, s, key) },
			"a marker and bytes": func(s *Store, key string) { marker(t, s, key); over(t, s, key, []byte("forged")) },
			"more versions than are remembered": func(s *Store, key string) {
				for n := range mostVersions + 10 {
					over(t, s, key, fmt.Appendf(nil, "forged %d", n))
				}
			},
		} {
			t.Run(what+" under "+how, func(t *testing.T) {
				s := fresh(t)
				key := name(b)
				must(t, s.Put(ctx, key, b))
				attack(s, key)
				got, err := s.Get(ctx, key)
				must(t, err)
				if !bytes.Equal(got, b) {
					t.Errorf("get gives %q", got)
				}
				info, err := s.Stat(ctx, key)
				must(t, err)
				var listed []objects.Info
				must(t, s.List(ctx, "", func(i objects.Info) error { listed = append(listed, i); return nil }))
				if want := (objects.Info{Key: key, Size: int64(len(b))}); info != want || len(listed) != 1 || listed[0] != want {
					t.Errorf("stat says %+v, list %+v", info, listed)
				}
				must(t, s.Put(ctx, key, b))
				if what == "tile" {
					if err := s.Put(ctx, key, []byte("other")); !errors.Is(err, objects.ErrExists) {
						t.Errorf("a put of other bytes says %v", err)
					}
					if got, err = s.Get(ctx, key); err != nil || !bytes.Equal(got, b) {
						t.Errorf("then get gives %q, %v", got, err)
					}
				}
			})
		}
	}
}

// TestForeignBytesAtAnAddressAreDamage: where no version is what the address says, the answer is objects.ErrDamaged, and
// nothing is laid over the evidence.
func TestForeignBytesAtAnAddressAreDamage(t *testing.T) {
	s := fresh(t)
	b := []byte("a certificate")
	key := objects.ContentKey(b)
	over(t, s, key, []byte("A certificate"))
	over(t, s, key, []byte("a Certificate"))
	if _, err := s.Get(ctx, key); !errors.Is(err, objects.ErrDamaged) {
		t.Errorf("get says %v", err)
	}
	if err := s.Put(ctx, key, b); !errors.Is(err, objects.ErrDamaged) {
		t.Errorf("put says %v", err)
	}
	if n, _ := versionsOf(t, s, key); n != 2 {
		t.Errorf("%d versions, want the two that were there", n)
	}
	must(t, s.List(ctx, "", func(objects.Info) error { return nil }))
}

// TestRetainedVersionsStay: an administrator with all rights cannot delete a version, shorten its lock or take it away.
func TestRetainedVersionsStay(t *testing.T) {
	s := fresh(t)
	for _, key := range []string{objects.ContentKey([]byte("kept")), "tile/0/000", "checkpoint/1"} {
		must(t, s.Put(ctx, key, []byte("kept")))
		v, err := s.oldest(ctx, key)
		must(t, err)
		lock, err := s.lockOf(ctx, key, v.id)
		must(t, err)
		day := time.Now().AddDate(0, 0, 1)
		if lock.mode != minio.Compliance || lock.until.Before(day.Add(-time.Minute)) || lock.until.After(day.Add(time.Minute)) {
			t.Errorf("%s is locked %s until %s", key, lock.mode, lock.until)
		}
		if raw.RemoveObject(ctx, bucket, s.prefix+key, minio.RemoveObjectOptions{VersionID: v.id, GovernanceBypass: true}) == nil {
			t.Errorf("a version of %s was deleted", key)
		}
		soon, governance := time.Now().Add(time.Minute), minio.Governance
		compliance := minio.Compliance
		for what, o := range map[string]minio.PutObjectRetentionOptions{
			"shortened": {Mode: &compliance, RetainUntilDate: &soon}, "weakened": {Mode: &governance, RetainUntilDate: &day}, "taken away": {},
		} {
			o.VersionID, o.GovernanceBypass = v.id, true
			if raw.PutObjectRetention(ctx, bucket, s.prefix+key, o) == nil {
				t.Errorf("the lock of %s was %s", key, what)
			}
		}
	}
}

// TestAdoptedObjectsAreLocked: what stands there without a lock, because its writer was killed or an administrator put it,
// has one when a put has adopted it.
func TestAdoptedObjectsAreLocked(t *testing.T) {
	s := fresh(t)
	for what, name := range sortsOfKeys {
		b := []byte("without a lock")
		key := name(b)
		over(t, s, key, b)
		must(t, s.Put(ctx, key, b))
		v, err := s.oldest(ctx, key)
		must(t, err)
		lock, err := s.lockOf(ctx, key, v.id)
		must(t, err)
		if want := what != "data key"; (lock.mode == minio.Compliance) != want {
			t.Errorf("an adopted %s has the lock %q", what, lock.mode)
		}
		if n, _ := versionsOf(t, s, key); n != 1 {
			t.Errorf("an adopted %s has %d versions", what, n)
		}
	}
}

// TestDeletedKeysAreGone: of a data key nothing is left, no version and no marker, however many there were.
func TestDeletedKeysAreGone(t *testing.T) {
	s := fresh(t)
	const key = "keys/0011"
	must(t, s.Put(ctx, key, []byte("wrapped")))
	must(t, s.Put(ctx, "keys/00112233", []byte("another's")))
	for range 20 {
		over(t, s, key, []byte("another version"))
		marker(t, s, key)
	}
	must(t, s.Delete(ctx, key))
	if versions, markers := versionsOf(t, s, key); versions+markers != 0 {
		t.Errorf("%d versions and %d markers are left", versions, markers)
	}
	if _, err := s.Get(ctx, key); !errors.Is(err, objects.ErrNotFound) {
		t.Errorf("get says %v", err)
	}
	if err := s.Delete(ctx, key); !errors.Is(err, objects.ErrNotFound) {
		t.Errorf("delete again says %v", err)
	}
	must(t, s.Put(ctx, key, []byte("anew")))
	for k, want := range map[string]string{key: "anew", "keys/00112233": "another's"} {
		if got, err := s.Get(ctx, k); err != nil || string(got) != want {
			t.Errorf("%s holds %q, %v", k, got, err)
		}
	}
	// A lock that somebody set behind our back keeps the key: that must be said, not hidden.
	v, err := s.oldest(ctx, key)
	must(t, err)
	mode, until := minio.Compliance, time.Now().Add(time.Hour)
	must(t, raw.PutObjectRetention(ctx, bucket, s.prefix+key, minio.PutObjectRetentionOptions{Mode: &mode, RetainUntilDate: &until, VersionID: v.id}))
	if err := s.Delete(ctx, key); !errors.Is(err, objects.ErrUnfit) {
		t.Errorf("delete of a locked key says %v", err)
	}
}

// TestUnfitBuckets: nothing is entrusted to a bucket that cannot keep it, or that would keep data keys.
func TestUnfitBuckets(t *testing.T) {
	plain, err := server.MakeBucket(false)
	must(t, err)
	byDefault, err := server.Bucket()
	must(t, err)
	mode, one, unit := minio.Governance, uint(1), minio.Days
	must(t, raw.SetObjectLockConfig(ctx, byDefault, &mode, &one, &unit))
	for what, name := range map[string]string{"no lock": plain, "default retention": byDefault, "not there": "no-such-bucket"} {
		c := settings()
		c.Bucket = name
		s := open(t, c)
		for _, key := range []string{"tile/0/000", "keys/0011"} {
			if err := s.Put(ctx, key, []byte("b")); !errors.Is(err, objects.ErrUnfit) {
				t.Errorf("%s: put of %s says %v", what, key, err)
			}
		}
		for o := range raw.ListObjectsIter(ctx, name, minio.ListObjectsOptions{Recursive: true}) {
			if o.Err == nil {
				t.Errorf("%s: %s was put", what, o.Key)
			}
		}
	}
}

// TestWrongCredentials are told as such, at once, and without the secret.
func TestWrongCredentials(t *testing.T) {
	s, err := Open(settings(), Credentials{server.AccessKey, "wrong-secret"}, time.Now)
	must(t, err)
	defer s.Close()
	for verb, err := range map[string]error{"put": s.Put(ctx, "tile/0/000", []byte("b")), "delete": s.Delete(ctx, "keys/0011"),
		"list": s.List(ctx, "", func(objects.Info) error { return nil })} {
		if !errors.Is(err, objects.ErrAccess) || bytes.Contains([]byte(err.Error()), []byte("wrong-secret")) {
			t.Errorf("%s says %v", verb, err)
		}
	}
}
