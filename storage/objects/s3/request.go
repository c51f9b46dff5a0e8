package s3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/elicence/elicence/storage/objects"
)

// patience is how often and how long a store is waited for.
type patience struct {
	tries  int
	once   time.Duration // that one try may last, without the time that its bytes need
	least  time.Duration // pause after the first failure, twice that after the next, …
	most   time.Duration // longest pause
	perSec int64         // bytes a second that the slowest line carries
}

// usualPatience gives up after some two seconds if every try fails at once, and after one and a half minutes if none is
// answered at all.
var usualPatience = patience{tries: 5, once: 15 * time.Second, least: 100 * time.Millisecond, most: 2 * time.Second, perSec: 256 << 10}

// pause waits after so many failures, at random between half and the whole of its length, so that many writers do not
// come back together.
func (p patience) pause(ctx context.Context, failures int) error {
	d := min(p.most, p.least<<min(failures-1, 16))
	timer := time.NewTimer(d/2 + rand.N(d/2+1))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

var (
	// errAgain is in the chain of a failure that another try may not have.
	errAgain = errors.New("try again")
	// errSlow is what a time limit without a context's deadline ends with.
	errSlow = fmt.Errorf("no answer in time: %w", context.DeadlineExceeded)
	// errEnough ends a walk.
	errEnough = errors.New("enough")
	// errMangled says that the store's checksum does not fit what came.
	errMangled = errors.New("mangled")
)

// take waits for one of the places for requests.
func (s *Store) take(ctx context.Context) error {
	select {
	case s.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Store) give() { <-s.slots }

// try makes one request, again and again while its failure says nothing: each within its own time, all within ctx. size
// is how many bytes it sends.
func (s *Store) try(ctx context.Context, size int64, request func(ctx context.Context) error) error {
	for failures := 0; ; {
		err := s.tryOnce(ctx, size, request)
		if err == nil || !again(ctx, err) {
			return err
		}
		failures++
		if errors.Is(err, errMangled) && failures == 2 {
			return fmt.Errorf("%w: %w", objects.ErrDamaged, err)
		}
		if failures >= s.patience.tries {
			return err
		}
		if err := s.patience.pause(ctx, failures); err != nil {
			return err
		}
	}
}

func (s *Store) tryOnce(ctx context.Context, size int64, request func(ctx context.Context) error) error {
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.give()
	inner, cancel := context.WithTimeout(ctx, s.patience.once+time.Duration(size/s.patience.perSec)*time.Second)
	defer cancel()
	return plain(request(inner))
}

// status is the HTTP status that the store refused with, 0 if it did not.
func status(err error) int { return refusal(err).StatusCode }

// code is the store's word for its refusal, "" if there was none.
func code(err error) string { return refusal(err).Code }

func refusal(err error) minio.ErrorResponse {
	var r minio.ErrorResponse
	errors.As(err, &r)
	return r
}

// Codes that say the bytes were damaged on the way, or that another request was in the way.
var passing = []string{
	"BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "IncompleteBody", "RequestTimeout", "SlowDown", "InternalError",
	"ServiceUnavailable", "ConditionalRequestConflict", "OperationAborted", "Throttling", "ThrottlingException", "RequestLimitExceeded",
}

// again reports whether another try may fare better.
func again(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	if errors.Is(err, errAgain) || errors.Is(err, errMangled) {
		return true
	}
	for _, final := range []error{objects.ErrNotFound, objects.ErrDamaged, objects.ErrUnfit} {
		if errors.Is(err, final) {
			return false
		}
	}
	var stopped stop
	if errors.As(err, &stopped) {
		return false
	}
	if r := refusal(err); r.StatusCode != 0 {
		switch r.StatusCode {
		case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
			http.StatusServiceUnavailable, http.StatusGatewayTimeout, 499, 520, 522, 524:
			return true
		}
		return slices.Contains(passing, r.Code)
	}
	return !untrusted(err)
}

// untrusted reports whether the other side is not who it must be: trying again only knocks at the same wrong door.
func untrusted(err error) bool {
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	var verification *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	return errors.As(err, &authority) || errors.As(err, &invalid) || errors.As(err, &host) || errors.As(err, &verification) ||
		errors.As(err, &record) || strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}

// say turns what the store says into what the caller can act on. Keys, codes and statuses are told; neither content nor
// credentials are ever in an error.
func say(verb, key string, err error) error {
	if err == nil {
		return nil
	}
	for _, known := range []error{
		objects.ErrExists, objects.ErrNotFound, objects.ErrDamaged, objects.ErrUnfit, objects.ErrUnavailable, context.Canceled,
	} {
		if errors.Is(err, known) {
			return fmt.Errorf("objects: %s %s: %w", verb, key, err)
		}
	}
	kind := objects.ErrUnavailable
	if untrusted(err) {
		kind = objects.ErrUntrusted
	}
	if r := refusal(err); r.StatusCode != 0 {
		switch {
		case slices.Contains(passing, r.Code): // in the end it did not pass
		case r.StatusCode == http.StatusInsufficientStorage || r.Code == "QuotaExceeded" || r.Code == "XMinioStorageFull":
			kind = objects.ErrFull
		case r.StatusCode == http.StatusForbidden || r.StatusCode == http.StatusUnauthorized:
			kind = objects.ErrAccess
		case r.Code == minio.NoSuchBucket || strings.HasPrefix(r.Code, "ObjectLock") || r.StatusCode == http.StatusBadRequest || r.StatusCode == http.StatusNotImplemented:
			kind = objects.ErrUnfit
		}
	}
	return fmt.Errorf("objects: %s %s: %w: %w", verb, key, kind, err)
}

// told is an error in the words of this package, with the cause in its chain.
type told struct {
	words string
	cause error
}

func (t told) Error() string { return t.words }
func (t told) Unwrap() error { return t.cause }

// plain gives a refusal and a failed request words of their own: the store's message may repeat what it was sent, and an
// address of a request is as long as a line.
func plain(err error) error {
	if r := refusal(err); r.StatusCode != 0 {
		words := fmt.Sprintf("HTTP %d", r.StatusCode)
		if name := strings.TrimSpace(strings.TrimPrefix(r.Code, strconv.Itoa(r.StatusCode))); name != "" {
			words += " " + word(name)
		}
		if r.RequestID != "" {
			words += ", request " + word(r.RequestID)
		}
		return told{words, err}
	}
	var request *url.Error
	if errors.As(err, &request) {
		return told{fmt.Sprintf("%s: %v", strings.ToUpper(request.Op), request.Err), err}
	}
	return err
}

// word keeps letters, digits and a little more of what the other side calls something.
func word(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), 80)]
}
