package s3

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/elicence/elicence/storage/objects"
)

// version is one version of an object, or a delete marker.
type version struct {
	key    string // without the store's prefix
	id     string
	size   int64
	marker bool
}

// mostVersions bounds what is remembered of one name. Of more the oldest count: the first was made by the house.
const mostVersions = 64

// versions returns the versions of one name without delete markers, the newest first.
func (s *Store) versions(ctx context.Context, key string) ([]version, error) {
	var all []version
	err := s.walk(ctx, key, key, func(v version) error {
		if v.marker {
			return nil
		}
		if all = append(all, v); len(all) > mostVersions {
			all = all[1:]
		}
		return nil
	})
	return all, err
}

// oldest returns the version that was created; objects.ErrNotFound if there is none.
func (s *Store) oldest(ctx context.Context, key string) (version, error) {
	all, err := s.versions(ctx, key)
	if err != nil {
		return version{}, err
	}
	if len(all) == 0 {
		return version{}, fmt.Errorf("%w: %s", objects.ErrNotFound, key)
	}
	return all[len(all)-1], nil
}

// walk calls each with every version and marker whose key begins with prefix, in the order of the keys, a key's newest
// first; with only, no other key than that. A listing that breaks off goes on behind the last key that was complete: of
// a key that was not, each sees the versions again. An error of each ends the walk and is returned as it is.
func (s *Store) walk(ctx context.Context, prefix, only string, each func(version) error) error {
	if only == "" {
		return s.walkPages(ctx, prefix, 1000, each)
	}
	// As a rule there is one version, and what comes behind belongs to others.
	return s.walkPages(ctx, prefix, 16, func(v version) error {
		if v.key != only {
			return errEnough
		}
		return each(v)
	})
}

func (s *Store) walkPages(ctx context.Context, prefix string, page int, each func(version) error) error {
	var done, at string // the last key that is complete, and the one that is being listed
	for failures := 0; ; {
		seen, err := s.walkOnce(ctx, prefix, done, page, func(v version) error {
			if v.key != at {
				if at != "" {
					done = at
				}
				at = v.key
			}
			return each(v)
		})
		switch {
		case err == nil || errors.Is(err, errEnough):
			return nil
		case !again(ctx, err):
			return err
		}
		if seen > 0 {
			failures = 0
		}
		at = ""
		if failures++; failures >= s.patience.tries {
			return err
		}
		if err := s.patience.pause(ctx, failures); err != nil {
			return err
		}
	}
}

// walkOnce is walk until the first failure; it returns how many versions it saw.
func (s *Store) walkOnce(ctx context.Context, prefix, after string, page int, each func(version) error) (seen int, err error) {
	if err := s.take(ctx); err != nil {
		return 0, err
	}
	defer s.give()
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	// The time limit is for the store's answers, not for what the caller does between them.
	limit := time.AfterFunc(s.patience.once, cancel)
	defer limit.Stop()
	options := minio.ListObjectsOptions{Prefix: s.prefix + prefix, Recursive: true, WithVersions: true, MaxKeys: page}
	if after != "" {
		options.StartAfter = s.prefix + after
	}
	for o := range s.core.ListObjectsIter(inner, s.config.Bucket, options) {
		if o.Err != nil {
			if inner.Err() != nil && ctx.Err() == nil {
				return seen, errSlow
			}
			return seen, plain(o.Err)
		}
		limit.Stop()
		key, ok := strings.CutPrefix(o.Key, s.prefix)
		if ok && (after == "" || key > after) {
			seen++
			if err := each(version{key: key, id: o.VersionID, size: o.Size, marker: o.IsDeleteMarker}); err != nil {
				return seen, err
			}
		}
		limit.Reset(s.patience.once)
	}
	if err := ctx.Err(); err != nil { // an iterator whose context has ended just ends
		return seen, err
	}
	if inner.Err() != nil {
		return seen, errSlow
	}
	return seen, nil
}
