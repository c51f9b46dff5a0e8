package deliver

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/due"
	"github.com/elicence/elicence/signer"
	"github.com/elicence/elicence/signer/pki"
)

type houseKeys struct{ h *house }

func (k houseKeys) EventKey(_ context.Context, organisation string) (signer.Key, *pki.Certificate, error) {
	if organisation != k.h.sender.Code {
		return nil, nil, errors.New("no such key")
	}
	return k.h.sender.Events.Key, k.h.sender.Events.Certificate, nil
}

// office is a receiver as docs/formats/delivery.md says one is written: it keeps a parcel under its key once it has checked
// manifest, signature and files, and says 409 to what it has.
type office struct {
	t    testing.TB
	h    *house
	mu   sync.Mutex
	kept map[string]*Signed
	hits int
	say  func(w http.ResponseWriter, r *http.Request) bool // answers instead, if it returns true
}

func (o *office) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.hits++
	if o.say != nil && o.say(w, r) {
		return
	}
	status, err := o.take(r)
	if err != nil {
		o.t.Errorf("the office: %v", err)
	}
	w.WriteHeader(status)
}

func (o *office) take(r *http.Request) (int, error) {
	if r.Method != http.MethodPost || r.URL.RawQuery != "" || r.URL.Path != "/inbox" {
		return http.StatusNotFound, fmt.Errorf("%s %s", r.Method, r.URL)
	}
	if err := r.ParseMultipartForm(1 << 20); err != nil {
		return http.StatusBadRequest, err
	}
	read := func(field string) (map[string][]byte, error) {
		files := map[string][]byte{}
		for _, part := range r.MultipartForm.File[field] {
			f, err := part.Open()
			if err != nil {
				return nil, err
			}
			b, err := io.ReadAll(f)
			if err = errors.Join(err, f.Close()); err != nil {
				return nil, err
			}
			files[part.Filename] = b
		}
		return files, nil
	}
	manifests, err := read("manifest")
	if err != nil || len(manifests) != 1 {
		return http.StatusBadRequest, fmt.Errorf("%d manifests, %w", len(manifests), err)
	}
	files, err := read("file")
	if err != nil {
		return http.StatusBadRequest, err
	}
	s, err := Parse(manifests[ManifestName])
	if err != nil {
		return http.StatusBadRequest, err
	}
	if err := errors.Join(s.Verify(o.h.sender.Events.Certificate), s.CheckFiles(files)); err != nil {
		return http.StatusBadRequest, err
	}
	if s.Receiver != o.h.Police.Code || r.Header.Get(KeyHeader) != s.Key {
		return http.StatusBadRequest, errors.New("not for here, or another key in the header")
	}
	if o.kept[s.Key] != nil {
		return http.StatusConflict, nil
	}
	o.kept[s.Key] = s
	return http.StatusNoContent, nil
}

func newOffice(t *testing.T, h *house) *office {
	return &office{t: t, h: h, kept: map[string]*Signed{}}
}

func plain(t *testing.T, o http.Handler) (*httptest.Server, *HTTPS) {
	t.Helper()
	server := httptest.NewServer(o)
	t.Cleanup(server.Close)
	return server, to(t, HTTPSOptions{Address: server.URL + "/inbox"})
}

func to(t *testing.T, o HTTPSOptions) *HTTPS {
	t.Helper()
	if o.Now == nil {
		o.Now = func() time.Time { return noon }
	}
	r, err := NewHTTPS(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// failed holds an error to what the runner goes by.
func failed(t *testing.T, what string, err error, code string, v due.Verdict, after time.Duration) {
	t.Helper()
	var f *due.Failed
	if !errors.As(err, &f) {
		t.Errorf("%s: %v is not for the runner", what, err)
		return
	}
	if f.Code != code || f.Verdict != v || f.After != after {
		t.Errorf("%s: %s (%s), verdict %d, after %s; want %s, %d, %s", what, f.Code, f.Detail, f.Verdict, f.After, code, v, after)
	}
	if due.Say(f.Code).EN == f.Code {
		t.Errorf("%s: the code %s has no words", what, f.Code)
	}
}

func TestADeliveryArrivesAndARepeatIsSeen(t *testing.T) {
	h := newHouse(t)
	o := newOffice(t, h)
	_, r := plain(t, o)
	for n, want := range []bool{false, true, true} {
		p := h.pack(t) // each time made and signed anew
		if repeat, err := r.Push(t.Context(), p); err != nil || repeat != want {
			t.Errorf("push %d: repeat %v, %v", n, repeat, err)
		}
	}
	if len(o.kept) != 1 || o.hits != 3 {
		t.Errorf("the office keeps %d of %d", len(o.kept), o.hits)
	}
}

// What a receiver answers decides what becomes of the job, and nothing that it says is repeated: it may quote the parcel.
func TestAnswersOfReceivers(t *testing.T) {
	h := newHouse(t)
	const secret = "曹宸书"
	for _, c := range []struct {
		status  int
		retry   string
		code    string
		verdict due.Verdict
		after   time.Duration
	}{
		{503, "", "unavailable", due.Away, 0},
		{503, "120", "unavailable", due.Away, 2 * time.Minute},
		{503, "-5", "unavailable", due.Away, 0},
		{503, "soon", "unavailable", due.Away, 0},
		{503, "99999999999999999999", "unavailable", due.Away, 0},
		{429, noon.Add(90 * time.Second).Format(http.TimeFormat), "unavailable", due.Away, 89*time.Second + 999877*time.Microsecond},
		{429, noon.Add(-time.Hour).Format(http.TimeFormat), "unavailable", due.Away, 0},
		{408, "", "unavailable", due.Away, 0}, {425, "", "unavailable", due.Away, 0}, {502, "", "unavailable", due.Away, 0}, {504, "7", "unavailable", due.Away, 7 * time.Second},
		{500, "", "receiver-error", due.Again, 0}, {501, "3", "receiver-error", due.Again, 3 * time.Second}, {599, "", "receiver-error", due.Again, 0},
		{400, "", "refused", due.Refused, 0}, {401, "10", "refused", due.Refused, 0}, {404, "", "refused", due.Refused, 0},
		{410, "", "refused", due.Refused, 0}, {413, "", "refused", due.Refused, 0}, {422, "", "refused", due.Refused, 0},
		{301, "", "refused", due.Refused, 0}, {307, "", "refused", due.Refused, 0}, {304, "", "refused", due.Refused, 0},
	} {
		what := fmt.Sprintf("HTTP %d %s", c.status, c.retry)
		o := newOffice(t, h)
		o.say = func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
			if c.retry != "" {
				w.Header().Set("Retry-After", c.retry)
			}
			w.WriteHeader(c.status)
			_, err := io.WriteString(w, secret)
			return err == nil || true
		}
		_, r := plain(t, o)
		repeat, err := r.Push(t.Context(), h.pack(t))
		if repeat {
			t.Errorf("%s is a repeat", what)
		}
		failed(t, what, err, c.code, c.verdict, c.after)
		if strings.Contains(fmt.Sprint(err), secret) || strings.Contains(fmt.Sprint(err), "X000000001") {
			t.Errorf("%s: the error quotes the receiver or the parcel", what)
		}
		if o.hits != 1 {
			t.Errorf("%s: sent %d times", what, o.hits)
		}
	}
	for _, status := range []int{200, 201, 202, 204} {
		o := newOffice(t, h)
		o.say = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(status); return true }
		_, r := plain(t, o)
		if repeat, err := r.Push(t.Context(), h.pack(t)); repeat || err != nil {
			t.Errorf("HTTP %d: %v, %v", status, repeat, err)
		}
	}
}

func TestReceiversThatDoNotAnswer(t *testing.T) {
	h := newHouse(t)
	server, _ := plain(t, newOffice(t, h))
	server.Close()
	_, err := to(t, HTTPSOptions{Address: server.URL + "/inbox"}).Push(t.Context(), h.pack(t))
	failed(t, "nobody listens", err, "unreachable", due.Away, 0)

	// It takes the connection and says nothing.
	hanging := make(chan struct{})
	o := newOffice(t, h)
	o.say = func(_ http.ResponseWriter, r *http.Request) bool {
		_, _ = io.Copy(io.Discard, r.Body)
		<-hanging
		return true
	}
	server, _ = plain(t, o)
	_, err = to(t, HTTPSOptions{Address: server.URL + "/inbox", Timeout: 50 * time.Millisecond}).Push(t.Context(), h.pack(t))
	failed(t, "no answer", err, "timeout", due.Away, 0)
	close(hanging)

	// It hangs up in the middle.
	o = newOffice(t, h)
	o.say = func(w http.ResponseWriter, _ *http.Request) bool {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return true
		}
		return c.Close() == nil
	}
	_, r := plain(t, o)
	_, err = r.Push(t.Context(), h.pack(t))
	failed(t, "hung up", err, "unreachable", due.Away, 0)

	// The program is being stopped.
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err = r.Push(ctx, h.pack(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
}

// authority issues certificates for TLS.
type authority struct {
	t    *testing.T
	dir  string
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.issue(name, nil)
	a.write(name, a.cert, a.key)
	return a
}

func (a *authority) issue(name string, parent *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: parent == nil, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	signing := a.key
	if parent == nil {
		parent, signing = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signing)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

func (a *authority) write(name string, cert *x509.Certificate, key *ecdsa.PrivateKey) (certFile, keyFile string) {
	a.t.Helper()
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(a.dir, name+".pem"), filepath.Join(a.dir, name+".key")
	for path, b := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert.Raw}, keyFile: {Type: "EC PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(b), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// TLS both ways: the receiver's certificate must come from the named authority, and ours is asked for.
func TestTLS(t *testing.T) {
	h := newHouse(t)
	o := newOffice(t, h)
	ours, others := newAuthority(t, "ours"), newAuthority(t, "others")
	serverCert, serverKey := ours.issue("office", ours.cert)
	clients := x509.NewCertPool()
	clients.AddCert(ours.cert)
	server := httptest.NewUnstartedServer(o)
	server.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients,
		Certificates: []tls.Certificate{{Certificate: [][]byte{serverCert.Raw}, PrivateKey: serverKey}}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it tells of every handshake that is meant to fail
	server.StartTLS()
	t.Cleanup(server.Close)
	address := server.URL + "/inbox"
	if !strings.HasPrefix(address, "https://127.0.0.1") {
		t.Fatal(address)
	}
	client, key := ours.issue("sender", ours.cert)
	certFile, keyFile := ours.write("sender", client, key)
	stranger, strangerKey := others.issue("stranger", others.cert)
	strangerFile, strangerKeyFile := others.write("stranger", stranger, strangerKey)
	ca, otherCA := filepath.Join(ours.dir, "ours.pem"), filepath.Join(others.dir, "others.pem")

	if _, err := to(t, HTTPSOptions{Address: address, CA: ca, Certificate: certFile, Key: keyFile}).Push(t.Context(), h.pack(t)); err != nil {
		t.Error(err)
	}
	theirs := map[string]bool{"no certificate of ours": true, "a stranger's": true, "plain http to TLS": true} // refused by them, not by us
	for name, opts := range map[string]HTTPSOptions{
		"another authority":      {CA: otherCA, Certificate: certFile, Key: keyFile},
		"the system's":           {Certificate: certFile, Key: keyFile},
		"no certificate of ours": {CA: ca},
		"a stranger's":           {CA: ca, Certificate: strangerFile, Key: strangerKeyFile},
		"another name":           {CA: ca, Certificate: certFile, Key: keyFile, Address: strings.Replace(address, "127.0.0.1", "localhost", 1)},
		"plain http to TLS":      {Address: strings.Replace(address, "https", "http", 1)},
	} {
		if opts.Address == "" {
			opts.Address = address
		}
		_, err := to(t, opts).Push(t.Context(), h.pack(t))
		var f *due.Failed
		switch errors.As(err, &f); {
		case f == nil || f.Verdict == due.Refused && opts.CA != "":
			t.Errorf("%s: %v", name, err)
		case !theirs[name]:
			failed(t, name, err, "tls", due.Away, 0)
		case f.Code != "tls" && f.Code != "unreachable" && f.Code != "refused": // they may hang up before their alert is read
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(o.kept) != 1 {
		t.Errorf("the office keeps %d", len(o.kept))
	}
	// A certificate that is renewed in its place is used without a restart.
	r := to(t, HTTPSOptions{Address: address, CA: ca, Certificate: strangerFile, Key: strangerKeyFile})
	if _, err := r.Push(t.Context(), h.pack(t)); err == nil {
		t.Error("a stranger's certificate is taken")
	}
	for from, dest := range map[string]string{certFile: strangerFile, keyFile: strangerKeyFile} {
		b, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(dest, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if repeat, err := r.Push(t.Context(), h.pack(t)); err != nil || !repeat {
		t.Errorf("after the renewal: %v, %v", repeat, err)
	}
	for name, opts := range map[string]HTTPSOptions{
		"no such file":          {CA: filepath.Join(ours.dir, "none")},
		"a key as authority":    {CA: keyFile},
		"half a certificate":    {Certificate: certFile},
		"half a key":            {Key: keyFile},
		"a key of another":      {Certificate: certFile, Key: filepath.Join(ours.dir, "ours.key")},
		"a key that is not one": {Certificate: certFile, Key: certFile},
	} {
		opts.Address = address
		if _, err := NewHTTPS(opts); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, good := range []string{"https://police.example/inbox", "https://10.0.0.7:8443/", "http://127.0.0.1:8080/inbox", "http://[::1]:1/", "https://户政.example/x"} {
		if err := CheckAddress(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "inbox", "/inbox", "https://", "https:inbox", "http://police.example/", "http://10.0.0.7/", "http://localhost/", "http://127.0.0.1.example/", "http://0.0.0.0/",
		"ftp://127.0.0.1/", "https://user:secret@police.example/", "https://police.example/?token=secret", "https://police.example/#a", "https://police.example/%zz",
	} {
		err := CheckAddress(bad)
		if !errors.Is(err, ErrAddress) {
			t.Errorf("%q: %v", bad, err)
		}
		if strings.Contains(fmt.Sprint(err), "secret") {
			t.Errorf("the error has the password: %v", err)
		}
	}
}

// What an exchange folder shows is complete; the same again is harmless; sixteen at once leave one.
func TestFolder(t *testing.T) {
	h := newHouse(t)
	dir := t.TempDir()
	f := NewFolder(dir)
	var first, repeats atomic.Int64
	var group sync.WaitGroup
	// What a killed process has left of this delivery and of another.
	for _, left := range []string{incoming(h.job().Key) + "1", incoming(strings.Repeat("0", 32)) + "1"} {
		if err := os.Mkdir(filepath.Join(dir, left), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if repeat, err := f.Push(t.Context(), h.pack(t)); err != nil || repeat {
		t.Fatal(repeat, err)
	}
	for range 16 {
		p := h.pack(t)
		group.Go(func() {
			switch repeat, err := f.Push(context.Background(), p); {
			case err != nil:
				t.Error(err)
			case repeat:
				repeats.Add(1)
			default:
				first.Add(1)
			}
		})
	}
	group.Wait()
	if first.Load() != 0 || repeats.Load() != 16 {
		t.Errorf("%d first, %d repeats", first.Load(), repeats.Load())
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	want := []string{incoming(strings.Repeat("0", 32)) + "1", h.job().Key} // another's leftover is another's to remove
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	files := map[string][]byte{}
	found, err := os.ReadDir(filepath.Join(dir, h.job().Key))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range found {
		if files[e.Name()], err = os.ReadFile(filepath.Join(dir, h.job().Key, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Parse(files[ManifestName])
	if err != nil {
		t.Fatal(err)
	}
	delete(files, ManifestName)
	if err := errors.Join(s.Verify(h.sender.Events.Certificate), s.CheckFiles(files)); err != nil {
		t.Error(err)
	}
}

func TestFoldersThatAreNotThere(t *testing.T) {
	h := newHouse(t)
	missing := filepath.Join(t.TempDir(), "share")
	_, err := NewFolder(missing).Push(t.Context(), h.pack(t))
	failed(t, "missing", err, "folder", due.Away, 0)
	if _, err := os.Stat(missing); !errors.Is(err, os.ErrNotExist) {
		t.Error("a folder that is not mounted was made")
	}
	if err := os.WriteFile(missing, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = NewFolder(missing).Push(t.Context(), h.pack(t))
	failed(t, "a file", err, "folder", due.Away, 0)
	dir := t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err = NewFolder(dir).Push(ctx, h.pack(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
	if left, err := os.ReadDir(dir); len(left) != 0 || err != nil {
		t.Errorf("half a delivery: %v, %v", left, err)
	}
}

type fixed struct {
	d   Document
	err error
}

func (f fixed) Document(context.Context, due.Job) (Document, error) { return f.d, f.err }

// Each push that arrived is recorded: who sent what of which licence to whom, and whether it was there before.
func TestWorker(t *testing.T) {
	h := newHouse(t)
	o := newOffice(t, h)
	_, r := plain(t, o)
	work := Worker(fixed{d: h.document()}, houseKeys{h}, r, audit.Entry{Person: "jobs", From: "test"}, func() time.Time { return noon })
	for _, why := range []string{"parts → " + h.Police.Code, "parts → " + h.Police.Code + " (repeat)"} {
		done, err := work(t.Context(), h.job())
		if err != nil {
			t.Fatal(err)
		}
		want := audit.Entry{At: noon, Organisation: h.sender.Code, Person: "jobs", What: "delivered", Why: why, From: "test", Licence: h.job().Licence}
		if diff := cmp.Diff(&want, done.Audit); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	now := func() time.Time { return noon }
	_, err := Worker(fixed{err: &due.Failed{Failure: due.Failure{Code: "awaits-receipt"}, Verdict: due.NotYet}}, houseKeys{h}, r, audit.Entry{}, now)(t.Context(), h.job())
	failed(t, "no receipt yet", err, "awaits-receipt", due.NotYet, 0)
	other := h.document()
	other.Sender = h.Police.Code
	_, err = Worker(fixed{d: other}, houseKeys{h}, r, audit.Entry{}, now)(t.Context(), h.job())
	failed(t, "no key", err, "key", due.NotYet, 0)
	broken := h.document()
	broken.Files[0].Name = "../x"
	_, err = Worker(fixed{d: broken}, houseKeys{h}, r, audit.Entry{}, now)(t.Context(), h.job())
	failed(t, "no manifest", err, "internal", due.Refused, 0)
}
