// Package s3 keeps objects in a bucket with object lock, so that not even an administrator of the store can change or
// remove what was put before its time.
//
// # What the bucket must have
//
// Versioning and object lock, no default retention. Each put of anything outside keys/ carries mode COMPLIANCE and a
// date of its own; keys/ carries none, because erasing a licence means deleting its data key. A default retention would
// lock those too, so a bucket with one is refused. All is looked at once, before the first put of a process.
//
// # Which version counts
//
// A lock protects a version, not a name: whoever may write to the bucket can still lay a newer version or a delete marker
// over an object. Neither counts here. Below objects/ the version counts whose SM3 is the address, whichever that is:
// the newest is read first, and if it is missing or not what the address says, all others are looked through from the
// oldest on. Everywhere else the oldest version counts, which is the one that was created; it is found by listing the
// name's versions and read by its version id. Only if every version is foreign, Get says objects.ErrDamaged. Lists and
// Stat go by the oldest version, too, so that a delete marker hides nothing.
//
// Below keys/ there is no lock: an administrator can destroy or replace data keys. The wrapped key in the records and its
// authenticated encryption stand against that, not the store.
//
// # How a put can go wrong and not double
//
// A put is one request with If-None-Match: * and the SHA-256 of the bytes as a signed checksum. An answer that says
// nothing (500, 503, a cut connection, no answer in time) is tried again, with growing pauses; if an earlier try did
// arrive, the next is told that the name is taken, reads what stands there, and takes it for its own if the bytes are the
// same. Outside objects/ and keys/ the writer then looks whether its version is the oldest one, so that even a store
// which does not check If-None-Match has one winner. Adopted objects without a lock get one.
package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/elicence/elicence/storage/objects"
)

// parallel bounds the requests of one store at a time, and with them connections and memory.
const parallel = 64

// Store is a bucket, or what stands under one prefix of it. It is safe for concurrent use, also by several processes.
type Store struct {
	core   *minio.Core
	web    *http.Transport
	config Config
	prefix string // "" or with a slash at its end
	until  func(now time.Time) time.Time
	now    func() time.Time

	slots    chan struct{}
	patience patience

	looking chan struct{} // one looks whether the bucket is fit, the others wait
	fit     atomic.Bool
}

// Open returns the store without asking it anything. now is the clock that retention counts from. Errors: ErrConfig.
func Open(c Config, k Credentials, now func() time.Time) (*Store, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	endpoint, err := c.endpoint()
	if err != nil {
		return nil, err
	}
	last, err := c.retention()
	if err != nil {
		return nil, err
	}
	web, err := transport(c)
	if err != nil {
		return nil, err
	}
	region := c.Region
	if region == "" {
		region = "us-east-1"
	}
	lookup := minio.BucketLookupPath
	if c.VirtualHost {
		lookup = minio.BucketLookupDNS
	}
	// One try each: which failures may be tried again, and what a try may cost, is decided here. A region that is known
	// saves a request. Without trailing checksums a put over http is not cut into signed chunks.
	core, err := minio.NewCore(endpoint.Host, &minio.Options{
		Creds: credentials.NewStaticV4(k.access, k.secret, ""), Secure: endpoint.Scheme == "https", Region: region,
		BucketLookup: lookup, Transport: web, MaxRetries: 1,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	s := &Store{core: core, web: web, config: c, until: last.from, now: now, slots: make(chan struct{}, parallel), looking: make(chan struct{}, 1), patience: usualPatience}
	if c.Prefix != "" {
		s.prefix = c.Prefix + "/"
	}
	return s, nil
}

func transport(c Config) (*http.Transport, error) {
	t := &http.Transport{
		Proxy:       http.ProxyFromEnvironment,
		DialContext: (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		// As many as may be in use: a connection that is not kept costs three round trips the next time.
		MaxIdleConns: parallel, MaxIdleConnsPerHost: parallel, IdleConnTimeout: time.Minute,
		TLSHandshakeTimeout: 10 * time.Second, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
		DisableCompression: true, // the bytes are what they are
		WriteBufferSize:    64 << 10, ReadBufferSize: 64 << 10,
	}
	if c.CAFile == "" {
		return t, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("%w: caFile: %w", ErrConfig, err)
	}
	t.TLSClientConfig.RootCAs = x509.NewCertPool()
	if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%w: caFile: no certificate in %s", ErrConfig, c.CAFile)
	}
	return t, nil
}

// Close gives the connections back. The store must not be used afterwards.
func (s *Store) Close() error {
	s.web.CloseIdleConnections()
	return nil
}

// Put creates the object and returns once the store has it, with its lock. The same bytes under the same key are
// adopted: nil. Errors: objects.ErrExists (other bytes stand there), ErrDamaged (the address is taken by bytes that are
// not its own), ErrKey, ErrTooLarge, ErrUnfit, ErrAccess, ErrUntrusted, ErrFull, ErrUnavailable. After the last, and after any error
// without a sentinel, the object may or may not be there: put it again.
func (s *Store) Put(ctx context.Context, key string, b []byte) error {
	if err := objects.CheckPut(key, b); err != nil {
		return err
	}
	return s.put(ctx, key, b)
}

// PutObject is Put of an object whose address is known to be its own.
func (s *Store) PutObject(ctx context.Context, o objects.Object) error {
	if err := o.Check(); err != nil {
		return err
	}
	return s.put(ctx, o.Key(), o.Bytes())
}

func (s *Store) put(ctx context.Context, key string, b []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.look(ctx); err != nil {
		return say("put", key, err)
	}
	// A name may be freed between the refusal and the look: only keys/ can, and only by somebody erasing it.
	for range 3 {
		err := s.create(ctx, key, b)
		if !errors.Is(err, errTaken) {
			return say("put", key, err)
		}
		err = s.adopt(ctx, key, b)
		if !errors.Is(err, objects.ErrNotFound) {
			return say("put", key, err)
		}
	}
	return say("put", key, fmt.Errorf("%w: the name is taken and free by turns", objects.ErrUnavailable))
}

// errTaken says that something stands under the name.
var errTaken = errors.New("something stands there")

// errShifted says that an answer belonged to another request. It is tried again: whoever was first is adopted.
var errShifted = fmt.Errorf("%w: the answer belongs to another request", errAgain)

// create puts the object if nothing stands under its name; errTaken if something does.
func (s *Store) create(ctx context.Context, key string, b []byte) error {
	// The signature covers the checksum and not the bytes again: the store holds them to it, which storage check proves.
	sum := sha256.Sum256(b)
	checksum := base64.StdEncoding.EncodeToString(sum[:])
	options := minio.PutObjectOptions{
		ContentType: "application/octet-stream", DisableContentSha256: true,
		UserMetadata: map[string]string{"X-Amz-Checksum-Sha256": checksum},
	}
	options.SetMatchETagExcept("*")
	if locked(key) {
		options.Mode, options.RetainUntilDate = minio.Compliance, s.until(s.now()).UTC().Truncate(time.Second)
	}
	var made minio.UploadInfo
	err := s.try(ctx, int64(len(b)), func(ctx context.Context) (err error) {
		made, err = s.core.PutObject(ctx, s.config.Bucket, s.prefix+key, bytes.NewReader(b), int64(len(b)), "", "", options)
		if err == nil && made.ChecksumSHA256 != "" && made.ChecksumSHA256 != checksum {
			// A server that answers one request twice shifts all answers that follow on its connection.
			s.web.CloseIdleConnections()
			return errShifted
		}
		return err
	})
	switch {
	case status(err) == http.StatusPreconditionFailed:
		return errTaken
	case err != nil:
		return err
	case made.VersionID == "":
		return fmt.Errorf("%w: it gave the object no version: versioning is not on", objects.ErrUnfit)
	case strings.HasPrefix(key, objects.Content) || !locked(key):
		return nil // its address says which version counts, or there is no lock that an older one could have
	}
	oldest, err := s.oldest(ctx, key)
	if err == nil && oldest.id != made.VersionID {
		return errTaken
	}
	return err
}

// locked reports whether what stands under the key is kept until its date: everything but wrapped data keys.
func locked(key string) bool { return !strings.HasPrefix(key, objects.Deletable) }

// adopt returns nil if b stands under the key, with its lock: objects.ErrNotFound, ErrExists or ErrDamaged if not.
func (s *Store) adopt(ctx context.Context, key string, b []byte) error {
	there, err := s.get(ctx, key)
	if err != nil {
		return err
	}
	if !bytes.Equal(there.bytes, b) {
		return fmt.Errorf("%w: %s", objects.ErrExists, key)
	}
	if !locked(key) {
		return nil
	}
	until := s.until(s.now()).UTC().Truncate(time.Second)
	if kept, err := s.kept(ctx, key, there.version, until); kept || err != nil {
		return err
	}
	// Some stores lock an object after they have it: whoever was killed in between left it without.
	mode := minio.Compliance
	refused := s.try(ctx, 0, func(ctx context.Context) error {
		return s.core.PutObjectRetention(ctx, s.config.Bucket, s.prefix+key,
			minio.PutObjectRetentionOptions{Mode: &mode, RetainUntilDate: &until, VersionID: there.version})
	})
	if refused == nil {
		return nil
	}
	// Another writer may have locked it meanwhile, for a second longer: then ours would have been shorter.
	if kept, err := s.kept(ctx, key, there.version, until); kept || err != nil {
		return err
	}
	return refused
}

// kept reports whether the version is locked until that time. A day may be lost between a put and its repetition, or by a
// clock; a lock that is shorter still is not this house's.
func (s *Store) kept(ctx context.Context, key, version string, until time.Time) (bool, error) {
	lock, err := s.lockOf(ctx, key, version)
	return lock.mode == minio.Compliance && lock.until.After(until.AddDate(0, 0, -1)), err
}

// lockOf reads the lock of one version. Not every store tells it with the bytes; all tell it with the head.
func (s *Store) lockOf(ctx context.Context, key, version string) (lock lockOfVersion, err error) {
	err = s.try(ctx, 0, func(ctx context.Context) error {
		info, err := s.core.StatObject(ctx, s.config.Bucket, s.prefix+key, minio.StatObjectOptions{VersionID: version})
		if err != nil {
			return err
		}
		lock.mode = minio.RetentionMode(info.Metadata.Get("X-Amz-Object-Lock-Mode"))
		if date := info.Metadata.Get("X-Amz-Object-Lock-Retain-Until-Date"); date != "" {
			lock.until, err = time.Parse(time.RFC3339, date)
		}
		return err
	})
	return lock, err
}

type lockOfVersion struct {
	mode  minio.RetentionMode // "" for none
	until time.Time
}

// Get returns the object's bytes; objects.ErrNotFound when there is none, ErrDamaged when no version has the bytes of
// the address, or the store's own checksum does not fit.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	if err := objects.CheckKey(key); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	there, err := s.get(ctx, key)
	return there.bytes, say("get", key, err)
}

// got is one version as the store gave it.
type got struct {
	bytes   []byte
	version string
}

// get returns the version that counts; see the package's comment.
func (s *Store) get(ctx context.Context, key string) (got, error) {
	if strings.HasPrefix(key, objects.Content) {
		newest, err := s.read(ctx, key, "")
		if err == nil && objects.CheckGet(key, newest.bytes) == nil {
			return newest, nil
		}
		if err != nil && !errors.Is(err, objects.ErrNotFound) && !errors.Is(err, objects.ErrDamaged) {
			return got{}, err
		}
	}
	all, err := s.versions(ctx, key)
	if err != nil {
		return got{}, err
	}
	if len(all) == 0 {
		return got{}, fmt.Errorf("%w: %s", objects.ErrNotFound, key)
	}
	if !strings.HasPrefix(key, objects.Content) {
		return s.read(ctx, key, all[len(all)-1].id)
	}
	for n := len(all) - 1; n >= 0; n-- {
		there, err := s.read(ctx, key, all[n].id)
		if err == nil && objects.CheckGet(key, there.bytes) == nil {
			return there, nil
		}
		if err != nil && !errors.Is(err, objects.ErrNotFound) && !errors.Is(err, objects.ErrDamaged) {
			return got{}, err
		}
	}
	return got{}, fmt.Errorf("%w: %s", objects.ErrDamaged, key)
}

// read gets one version, "" for the newest. What does not fit the store's own checksum was damaged on the way or where it
// lies: after a second try the answer is objects.ErrDamaged.
func (s *Store) read(ctx context.Context, key, version string) (there got, err error) {
	err = s.try(ctx, 0, func(ctx context.Context) error {
		there, err = s.readOnce(ctx, key, version)
		return err
	})
	return there, err
}

func (s *Store) readOnce(ctx context.Context, key, version string) (got, error) {
	options := minio.GetObjectOptions{VersionID: version}
	if !strings.HasPrefix(key, objects.Content) { // what stands under its address is checked by that
		options.Set("X-Amz-Checksum-Mode", "ENABLED")
	}
	body, info, _, err := s.core.GetObject(ctx, s.config.Bucket, s.prefix+key, options)
	if err != nil {
		if status(err) == http.StatusNotFound && code(err) != minio.NoSuchBucket || status(err) == http.StatusMethodNotAllowed {
			return got{}, fmt.Errorf("%w: %s", objects.ErrNotFound, key) // 405: the version is a delete marker
		}
		return got{}, err
	}
	defer body.Close()
	if version != "" && info.VersionID != "" && info.VersionID != version {
		s.web.CloseIdleConnections()
		return got{}, errShifted
	}
	if info.Size > objects.MaxSize {
		return got{}, fmt.Errorf("%w: %d bytes where at most %d were put", objects.ErrDamaged, info.Size, objects.MaxSize)
	}
	there := got{bytes: make([]byte, max(info.Size, 0)), version: info.VersionID}
	if _, err := io.ReadFull(body, there.bytes); err != nil {
		return got{}, fmt.Errorf("%w: the answer ended early: %w", errAgain, err)
	}
	if n, err := body.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		return got{}, fmt.Errorf("%w: the answer has other bytes than it says: %w", errAgain, err)
	}
	if want := info.ChecksumSHA256; want != "" && !strings.Contains(want, "-") {
		if sum := sha256.Sum256(there.bytes); base64.StdEncoding.EncodeToString(sum[:]) != want {
			return got{}, fmt.Errorf("%w: %s: not what its checksum says", errMangled, key)
		}
	}
	return there, nil
}

// Stat tells an object's size without reading it; objects.ErrNotFound when there is none.
func (s *Store) Stat(ctx context.Context, key string) (objects.Info, error) {
	if err := objects.CheckKey(key); err != nil {
		return objects.Info{}, err
	}
	if err := ctx.Err(); err != nil {
		return objects.Info{}, err
	}
	oldest, err := s.oldest(ctx, key)
	return objects.Info{Key: key, Size: oldest.size}, say("stat", key, err)
}

// List calls each with every object whose key begins with prefix, in the order of the keys, and stops at its first
// error, which it returns. Objects put meanwhile may or may not be seen. What lies there and is no key of the house is
// passed over.
func (s *Store) List(ctx context.Context, prefix string, each func(objects.Info) error) error {
	if err := objects.CheckPrefix(prefix); err != nil {
		return err
	}
	var current *objects.Info // the oldest version of the name so far
	emit := func() error {
		if current == nil {
			return nil
		}
		info := *current
		current = nil
		return each(info)
	}
	failed := s.walk(ctx, prefix, "", func(v version) error {
		if current != nil && current.Key != v.key {
			if err := emit(); err != nil {
				return stop{err}
			}
		}
		if ours := objects.CheckKey(v.key) == nil; v.marker || !ours {
			return nil
		}
		current = &objects.Info{Key: v.key, Size: v.size}
		return nil
	})
	var stopped stop
	if errors.As(failed, &stopped) {
		return stopped.error
	}
	if failed != nil {
		return say("list", prefix, failed)
	}
	return emit()
}

// stop carries the caller's own error through a walk.
type stop struct{ error }

func (e stop) Unwrap() error { return e.error }

// Delete removes a wrapped data key for ever, with every version of it: nothing readable is left on return.
// objects.ErrRetained for anything outside keys/, ErrNotFound when there is none; ErrUnfit when the store keeps a version
// all the same, because it was locked behind our back.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := objects.CheckDelete(key); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	found := false
	// Markers go as well: nothing shall tell that there was a key. What is listed is removed before the next look, until
	// a look finds nothing: an answer may be long.
	for range 1000 {
		var some []version
		err := s.walk(ctx, key, key, func(v version) error {
			if some = append(some, v); len(some) == 500 {
				return stop{io.EOF}
			}
			return nil
		})
		var full stop
		if err != nil && !errors.As(err, &full) {
			return say("delete", key, err)
		}
		for _, v := range some {
			found = found || !v.marker
			if err := s.remove(ctx, key, v.id); err != nil {
				return say("delete", key, err)
			}
		}
		if len(some) < 500 {
			break
		}
	}
	if !found {
		return say("delete", key, fmt.Errorf("%w: %s", objects.ErrNotFound, key))
	}
	return nil
}

// remove deletes one version; one that is gone already is as good.
func (s *Store) remove(ctx context.Context, key, version string) error {
	err := s.try(ctx, 0, func(ctx context.Context) error {
		return s.core.RemoveObject(ctx, s.config.Bucket, s.prefix+key, minio.RemoveObjectOptions{VersionID: version})
	})
	switch status(err) {
	case http.StatusNotFound:
		return nil
	case http.StatusForbidden:
		return fmt.Errorf("%w: it does not let go of a version of the key: %w", objects.ErrUnfit, err)
	}
	return err
}

// look makes sure, once a process, that the bucket is one to which anything may be entrusted.
func (s *Store) look(ctx context.Context) error {
	if s.fit.Load() {
		return nil
	}
	select {
	case s.looking <- struct{}{}:
		defer func() { <-s.looking }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.fit.Load() {
		return nil
	}
	lock, err := s.lock(ctx)
	switch {
	case err != nil:
		return err
	case !lock.on:
		return fmt.Errorf("%w: bucket %s has no object lock: make one that has", objects.ErrUnfit, s.config.Bucket)
	case lock.byDefault:
		return fmt.Errorf("%w: bucket %s has a default retention, which would lock keys/ too: remove it", objects.ErrUnfit, s.config.Bucket)
	}
	s.fit.Store(true)
	return nil
}

type lockState struct{ on, byDefault bool }

// lock asks what the bucket does about object lock.
func (s *Store) lock(ctx context.Context) (state lockState, err error) {
	err = s.try(ctx, 0, func(ctx context.Context) error {
		enabled, mode, _, _, err := s.core.GetObjectLockConfig(ctx, s.config.Bucket)
		// Some stores answer with a rule that is empty.
		state = lockState{enabled == "Enabled", mode != nil && *mode != ""}
		return err
	})
	if code(err) == "ObjectLockConfigurationNotFoundError" || status(err) == http.StatusNotImplemented {
		return lockState{}, nil
	}
	return state, err
}

// Probe returns nil if the store answers and is one to which anything may be entrusted: objects.ErrUnfit, ErrAccess,
// ErrUntrusted or ErrUnavailable if not.
func (s *Store) Probe(ctx context.Context) error {
	return say("open", s.config.Bucket, s.look(ctx))
}
