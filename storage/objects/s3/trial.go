package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/elicence/elicence/storage/objects"
	"github.com/elicence/elicence/storage/objects/storecheck"
)

// trialRetention is as short as it can be: a request's signature is good while the clocks differ by fifteen minutes, and
// a date that is past by the store's clock is refused.
const trialRetention = 20 * time.Minute

// trialFolder begins with a dot, so that what is in it is no key of the house and never listed.
const trialFolder = ".storage-check/"

// Trial is a place for trials beside a store's objects; its own objects are kept for twenty minutes only. It implements
// storecheck.Subject.
type Trial struct {
	*Store
	touched atomic.Bool // something may have been put
}

// Trial returns a new place for trials. It shares the store's connections and needs no Close.
func (s *Store) Trial() *Trial {
	begun := s.now().UTC()
	t := &Store{
		core: s.core, web: s.web, config: s.config, now: s.now, slots: s.slots, looking: make(chan struct{}, 1), patience: s.patience,
		prefix: s.prefix + trialFolder + begun.Format("20060102t150405z") + "-" + strings.ToLower(rand.Text()[:8]) + "/",
		until:  func(now time.Time) time.Time { return now.Add(trialRetention) },
	}
	return &Trial{Store: t}
}

// Put implements storecheck.Subject.
func (t *Trial) Put(ctx context.Context, key string, b []byte) error {
	t.touched.Store(true)
	return t.Store.Put(ctx, key, b)
}

// Left implements storecheck.Subject.
func (t *Trial) Left() string {
	if !t.touched.Load() {
		return ""
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	left := 0
	if err := t.walk(ctx, "", "", func(version) error { left++; return nil }); err == nil && left == 0 {
		return ""
	}
	return fmt.Sprintf("s3://%s/%s until %s", t.config.Bucket, t.prefix, t.until(t.now()).UTC().Format(time.RFC3339))
}

type words = storecheck.Words

// Attempts implements storecheck.Subject. They have the rights of the store's own credentials: what these may not do
// anyway counts as refused, so a trial with an administrator's credentials proves more.
func (t *Trial) Attempts() []storecheck.Attempt {
	return []storecheck.Attempt{
		{Name: words{ZH: "存储桶开启了版本控制", EN: "the bucket has versioning"}, Needs: words{ZH: "版本控制", EN: "versioning"}, Bucket: true, Try: t.hasVersioning},
		{Name: words{ZH: "存储桶开启了对象锁", EN: "the bucket has object lock"}, Needs: words{ZH: "对象锁", EN: "object lock"}, Bucket: true, Try: t.hasLock},
		{Name: words{ZH: "存储桶没有默认保留期（否则数据密钥无法销毁）", EN: "the bucket has no default retention, which would keep data keys"},
			Needs: words{ZH: "去掉默认保留期", EN: "removal of the default retention"}, Bucket: true, Try: t.hasNoDefault},
		{Name: words{ZH: "对象带有 COMPLIANCE 锁和所定日期", EN: "an object has its COMPLIANCE lock and date"}, Needs: words{ZH: "逐个对象的锁", EN: "locks on single objects"}, Try: t.isLocked},
		{Name: words{ZH: "版本删不掉", EN: "a version cannot be deleted"}, Needs: words{ZH: "不可删除", EN: "versions that cannot be deleted"}, Try: t.deleteVersion},
		{Name: words{ZH: "保留期缩不短、去不掉", EN: "a lock cannot be shortened, weakened or removed"}, Needs: words{ZH: "不可缩短的保留期", EN: "locks that cannot be shortened"}, Try: t.shorten},
		{Name: words{ZH: "上面再写一个版本，原来的仍在、仍读得到", EN: "a version laid over it changes nothing"}, Needs: words{ZH: "不可改写", EN: "versions that stay when others are laid over"}, Try: t.layOver},
		{Name: words{ZH: "删除标记遮不住它", EN: "a delete marker does not hide it"}, Needs: words{ZH: "删除标记之下仍可读", EN: "versions that can be read below a delete marker"}, Try: t.hide},
		{Name: words{ZH: "校验和不符的写入被拒绝", EN: "a put with a wrong checksum is refused"}, Needs: words{ZH: "写入时的校验", EN: "checksums that are checked"}, Try: t.wrongChecksum},
		{Name: words{ZH: "带锁的名字也只有一个写者成功（原始请求）", EN: "of sixteen raw creators of one locked name one wins"}, Needs: words{ZH: "If-None-Match", EN: "If-None-Match"}, Try: t.rawRace},
	}
}

// lacks is an error that wraps storecheck.ErrMissing.
func lacks(format string, v ...any) error {
	return fmt.Errorf("%w: %s", storecheck.ErrMissing, fmt.Sprintf(format, v...))
}

func (t *Trial) hasVersioning(ctx context.Context, _ string, _ []byte) error {
	var state string
	err := t.try(ctx, 0, func(ctx context.Context) error {
		v, err := t.core.GetBucketVersioning(ctx, t.config.Bucket)
		state = v.Status
		return err
	})
	if err == nil && state != "Enabled" {
		return lacks("versioning is %q", state)
	}
	return say("check", "versioning", err)
}

func (t *Trial) hasLock(ctx context.Context, _ string, _ []byte) error {
	state, err := t.lock(ctx)
	if err == nil && !state.on {
		return lacks("the bucket was made without object lock")
	}
	return say("check", "object lock", err)
}

func (t *Trial) hasNoDefault(ctx context.Context, _ string, _ []byte) error {
	state, err := t.lock(ctx)
	if err == nil && state.byDefault {
		return lacks("the bucket locks everything by itself")
	}
	return say("check", "default retention", err)
}

func (t *Trial) isLocked(ctx context.Context, key string, _ []byte) error {
	v, err := t.oldest(ctx, key)
	if err != nil {
		return say("check", key, err)
	}
	lock, err := t.lockOf(ctx, key, v.id)
	if err != nil {
		return say("check", key, err)
	}
	if wrong := lock.until.Sub(t.until(t.now())).Abs(); lock.mode != minio.Compliance || wrong > 5*time.Minute {
		return lacks("its lock is %q until %s", lock.mode, lock.until.Format(time.RFC3339))
	}
	return nil
}

// stands returns nil if the object is still what was put, by version and by name.
func (t *Trial) stands(ctx context.Context, key, version string, b []byte, after string) error {
	for _, read := range []func() ([]byte, error){
		func() ([]byte, error) {
			there, err := t.read(ctx, key, version)
			return there.bytes, say("check", key, err)
		},
		func() ([]byte, error) { return t.Get(ctx, key) },
	} {
		got, err := read()
		if errors.Is(err, objects.ErrNotFound) || errors.Is(err, objects.ErrDamaged) || err == nil && !bytes.Equal(got, b) {
			return lacks("after %s the object does not read as it was put", after)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// refused is nil if the store refused, which is what must happen; an answer of another kind decides nothing.
func refused(err error, what string) error {
	switch s := status(err); {
	case err == nil:
		return lacks("%s was allowed", what)
	case s >= 400 && s < 500:
		return nil
	}
	return say("check", what, err)
}

func (t *Trial) deleteVersion(ctx context.Context, key string, b []byte) error {
	v, err := t.oldest(ctx, key)
	if err != nil {
		return say("check", key, err)
	}
	for _, bypass := range []bool{false, true} {
		err := t.try(ctx, 0, func(ctx context.Context) error {
			return t.core.RemoveObject(ctx, t.config.Bucket, t.prefix+key, minio.RemoveObjectOptions{VersionID: v.id, GovernanceBypass: bypass})
		})
		if err := refused(err, "deleting a locked version"); err != nil {
			return err
		}
	}
	return t.stands(ctx, key, v.id, b, "deleting")
}

func (t *Trial) shorten(ctx context.Context, key string, b []byte) error {
	v, err := t.oldest(ctx, key)
	if err != nil {
		return say("check", key, err)
	}
	before, err := t.lockOf(ctx, key, v.id)
	if err != nil {
		return say("check", key, err)
	}
	if before.mode == "" {
		return lacks("there is no lock")
	}
	sooner, compliance, governance := before.until.Add(-trialRetention/2), minio.Compliance, minio.Governance
	for what, o := range map[string]minio.PutObjectRetentionOptions{
		"shortening a lock": {Mode: &compliance, RetainUntilDate: &sooner}, "weakening a lock": {Mode: &governance, RetainUntilDate: &before.until},
		"removing a lock": {},
	} {
		o.VersionID, o.GovernanceBypass = v.id, true
		err := t.try(ctx, 0, func(ctx context.Context) error {
			return t.core.PutObjectRetention(ctx, t.config.Bucket, t.prefix+key, o)
		})
		if err := refused(err, what); err != nil {
			return err
		}
	}
	after, err := t.lockOf(ctx, key, v.id)
	if err != nil {
		return say("check", key, err)
	}
	if after != before {
		return lacks("the lock is not what it was")
	}
	return t.stands(ctx, key, v.id, b, "attempts on its lock")
}

// layOver puts without If-None-Match: a store may refuse it or keep both versions.
func (t *Trial) layOver(ctx context.Context, key string, b []byte) error {
	v, err := t.oldest(ctx, key)
	if err != nil {
		return say("check", key, err)
	}
	other := []byte("laid over by elicence storage check")
	err = t.try(ctx, 0, func(ctx context.Context) error {
		_, err := t.core.PutObject(ctx, t.config.Bucket, t.prefix+key, bytes.NewReader(other), int64(len(other)), "", hexSum(other), minio.PutObjectOptions{DisableContentSha256: true})
		return err
	})
	if s := status(err); err != nil && (s < 400 || s >= 500) {
		return say("check", key, err)
	}
	return t.stands(ctx, key, v.id, b, "a put over it")
}

func (t *Trial) hide(ctx context.Context, key string, b []byte) error {
	v, err := t.oldest(ctx, key)
	if err != nil {
		return say("check", key, err)
	}
	err = t.try(ctx, 0, func(ctx context.Context) error {
		return t.core.RemoveObject(ctx, t.config.Bucket, t.prefix+key, minio.RemoveObjectOptions{})
	})
	if s := status(err); err != nil && (s < 400 || s >= 500) {
		return say("check", key, err)
	}
	return t.stands(ctx, key, v.id, b, "a delete marker")
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// wrongChecksum sends bytes that are signed as they are, with the checksum of others: the signature must not be what
// finds out.
func (t *Trial) wrongChecksum(ctx context.Context, _ string, b []byte) error {
	sum := sha256.Sum256([]byte("something else"))
	err := t.tryOnce(ctx, int64(len(b)), func(ctx context.Context) error {
		_, err := t.core.PutObject(ctx, t.config.Bucket, t.prefix+"keys/c0", bytes.NewReader(b), int64(len(b)), "", hexSum(b), minio.PutObjectOptions{
			DisableContentSha256: true, UserMetadata: map[string]string{"X-Amz-Checksum-Sha256": base64.StdEncoding.EncodeToString(sum[:])}})
		return err
	})
	if err == nil {
		_ = t.Delete(ctx, "keys/c0")
	}
	return refused(err, "a put with a wrong checksum")
}

func (t *Trial) rawRace(ctx context.Context, key string, _ []byte) error {
	key += ".raced"
	const writers = 16
	results := make([]error, writers)
	var all sync.WaitGroup
	start := make(chan struct{})
	for n := range writers {
		all.Go(func() {
			b := fmt.Appendf(nil, "writer %d", n)
			o := minio.PutObjectOptions{DisableContentSha256: true, Mode: minio.Compliance, RetainUntilDate: t.until(t.now()).UTC().Truncate(time.Second)}
			sum := sha256.Sum256(b)
			o.UserMetadata = map[string]string{"X-Amz-Checksum-Sha256": base64.StdEncoding.EncodeToString(sum[:])}
			o.SetMatchETagExcept("*")
			<-start
			results[n] = t.tryOnce(ctx, 0, func(ctx context.Context) error {
				_, err := t.core.PutObject(ctx, t.config.Bucket, t.prefix+key, bytes.NewReader(b), int64(len(b)), "", hex.EncodeToString(sum[:]), o)
				return err
			})
		})
	}
	close(start)
	all.Wait()
	won := 0
	for _, err := range results {
		switch s := status(err); {
		case err == nil:
			won++
		case s != http.StatusPreconditionFailed && s != http.StatusConflict:
			return say("check", key, err)
		}
	}
	if won != 1 {
		return lacks("%d of %d creators of one name were told that they had won", won, writers)
	}
	return nil
}

var _ storecheck.Subject = (*Trial)(nil)
