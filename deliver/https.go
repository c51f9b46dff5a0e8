package deliver

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/elicence/elicence/due"
)

// KeyHeader names the header with the idempotency key.
const KeyHeader = "Idempotency-Key"

// ErrAddress says that an address is none that personal data may be sent to.
var ErrAddress = errors.New("deliver: not an address to deliver to")

// HTTPSOptions of a receiver.
type HTTPSOptions struct {
	Address     string        // https://…; http:// for this machine's loopback alone
	CA          string        // file with the PEM certificates that the receiver's is checked against; "": the system's
	Certificate string        // PEM files that this sender shows; "" for none. They are read again for every connection, so
	Key         string        // that they can be renewed meanwhile
	Timeout     time.Duration // of one push, 0: 30 s
	Now         func() time.Time
}

// HTTPS posts parcels: see docs/formats/delivery.md.
type HTTPS struct {
	address string
	timeout time.Duration
	client  *http.Client
	now     func() time.Time
}

// CheckAddress refuses what is not an https address without user, fragment and query, or http on loopback. ErrAddress.
func CheckAddress(address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return fmt.Errorf("%w: it cannot be read", ErrAddress) // the parser's words echo it
	}
	switch {
	case u.Host == "" || u.Opaque != "":
		return fmt.Errorf("%w: no host", ErrAddress)
	case u.User != nil:
		return fmt.Errorf("%w: a user or password stands in it", ErrAddress)
	case u.Fragment != "" || u.RawQuery != "":
		return fmt.Errorf("%w: it has a query or a fragment", ErrAddress)
	case u.Scheme == "https":
		return nil
	case u.Scheme != "http":
		return fmt.Errorf("%w: the scheme is not https", ErrAddress)
	}
	if ip := net.ParseIP(u.Hostname()); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("%w: http without TLS is for loopback addresses (127.0.0.1, ::1) alone", ErrAddress)
	}
	return nil
}

// NewHTTPS makes a receiver. Errors: ErrAddress, and those of reading the files, which must be readable now.
func NewHTTPS(o HTTPSOptions) (*HTTPS, error) {
	if err := CheckAddress(o.Address); err != nil {
		return nil, err
	}
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CA != "" {
		pem, err := os.ReadFile(o.CA)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("deliver: %s: no PEM certificate", o.CA)
		}
	}
	if (o.Certificate == "") != (o.Key == "") {
		return nil, errors.New("deliver: a client certificate needs its key, and a key its certificate")
	}
	if o.Certificate != "" {
		read := func() (*tls.Certificate, error) {
			c, err := tls.LoadX509KeyPair(o.Certificate, o.Key)
			return &c, err
		}
		if _, err := read(); err != nil {
			return nil, fmt.Errorf("deliver: client certificate: %w", err)
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return read() }
	}
	return &HTTPS{address: o.Address, timeout: o.Timeout, now: o.Now, client: &http.Client{
		Transport: &http.Transport{
			Proxy:           nil, // personal data goes to the receiver and to nobody between
			TLSClientConfig: config, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute,
			DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext, TLSHandshakeTimeout: 10 * time.Second,
		},
		// Whoever redirects is not who was configured.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Close ends idle connections.
func (h *HTTPS) Close() { h.client.CloseIdleConnections() }

// Push implements Receiver.
func (h *HTTPS) Push(ctx context.Context, p Parcel) (repeat bool, err error) {
	body, contentType, err := form(p)
	if err != nil {
		return false, err
	}
	ctx, stop := context.WithTimeout(ctx, h.timeout)
	defer stop()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.address, bytes.NewReader(body))
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrAddress, err)
	}
	r.Header.Set("Content-Type", contentType)
	r.Header.Set(KeyHeader, p.Key)
	r.Header.Set("User-Agent", "elicence")
	answer, err := h.client.Do(r)
	if err != nil {
		return false, unanswered(err)
	}
	// What the receiver says beside its status may quote the parcel: it is read, so that the connection can be used again,
	// and kept nowhere.
	_, rerr := io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10))
	if err := errors.Join(rerr, answer.Body.Close()); err != nil && answer.StatusCode/100 != 2 {
		return false, unanswered(err)
	}
	return h.judge(answer)
}

func (h *HTTPS) judge(a *http.Response) (repeat bool, err error) {
	f := &due.Failed{Failure: due.Failure{Detail: "HTTP " + strconv.Itoa(a.StatusCode)}, After: h.retryAfter(a)}
	switch code := a.StatusCode; {
	case code/100 == 2:
		return false, nil
	case code == http.StatusConflict:
		return true, nil
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests,
		code == http.StatusBadGateway, code == http.StatusServiceUnavailable, code == http.StatusGatewayTimeout:
		f.Code, f.Verdict = "unavailable", due.Away
	case code >= 500:
		f.Code, f.Verdict = "receiver-error", due.Again
	default:
		f.Code, f.Verdict, f.After = "refused", due.Refused, 0
	}
	return false, f
}

// retryAfter reads seconds or a date (RFC 9110, 10.2.3); 0 when there is none.
func (h *HTTPS) retryAfter(a *http.Response) time.Duration {
	v := a.Header.Get("Retry-After")
	if n, err := strconv.ParseInt(v, 10, 32); err == nil {
		return time.Duration(max(n, 0)) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(at.Sub(h.now()), 0)
	}
	return 0
}

// unanswered says why there was no answer, in words that quote neither address nor parcel.
func unanswered(err error) error {
	f := &due.Failed{Failure: due.Failure{Code: "unreachable"}, Verdict: due.Away, Cause: err}
	var timeout interface{ Timeout() bool }
	var certificate *tls.CertificateVerificationError
	var operation *net.OpError
	var record tls.RecordHeaderError
	var dns *net.DNSError
	var number syscall.Errno
	switch {
	case errors.As(err, &certificate), errors.As(err, &record), errors.As(err, &operation) && operation.Op == "remote error": // its TLS alert
		f.Code = "tls"
	case errors.As(err, &dns):
		f.Detail = "the name is not found"
	case errors.As(err, &timeout) && timeout.Timeout():
		f.Code = "timeout"
	case errors.As(err, &number):
		f.Detail = number.Error()
	}
	return f
}

// form is the parcel as multipart/form-data: the manifest first, then the files in its order.
func form(p Parcel) (body []byte, contentType string, err error) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	add := func(field, name, mediaType string, content []byte) {
		if err != nil {
			return
		}
		header := textproto.MIMEHeader{}
		header.Set("Content-Disposition", fmt.Sprintf(`form-data; name=%q; filename=%q`, field, name))
		header.Set("Content-Type", mediaType)
		var part io.Writer
		if part, err = w.CreatePart(header); err == nil {
			_, err = part.Write(content)
		}
	}
	add("manifest", ManifestName, "application/cose", p.Manifest)
	for _, f := range p.Files {
		add("file", f.Name, f.MediaType, f.Bytes)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, "", fmt.Errorf("deliver: %w", err)
	}
	return b.Bytes(), w.FormDataContentType(), nil
}
