package versitygwtest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// Fault is what happens to one request on its way to the server or back.
type Fault int

// Faults. Lost and CutAnswer are those that programs forget: the effect is there, the answer is not.
const (
	None          Fault = iota
	Broken              // answered with 500, never forwarded
	Busy                // answered with 503 SlowDown, never forwarded
	Refused             // the connection is closed, nothing is forwarded
	CutRequest          // half of the body reaches the server, then its connection is closed
	CutAnswer           // half of the answer reaches the client, then its connection is closed
	Lost                // forwarded; the answer is dropped and the connection closed
	Silent              // never forwarded and never answered, until the client gives up
	Late                // forwarded, and answered only when the client has given up
	Mangled             // one bit of the body is turned on its way to the server
	Full                // answered with 507, never forwarded
	Foreign             // answered with what the last good PUT was answered, never forwarded
	MangledAnswer       // one bit of the answer is turned on its way back
)

// Faults are all that can happen to any request. Bits that turn are another matter: where there is neither TLS nor a
// checksum nobody can notice.
var Faults = []Fault{Broken, Busy, Refused, CutRequest, CutAnswer, Lost, Silent, Late}

// String names the fault.
func (f Fault) String() string {
	names := [...]string{"none", "500", "503", "refused", "request cut", "answer cut", "answer lost", "silent", "late", "mangled", "full", "another's answer", "answer mangled"}
	return names[f]
}

// Request is what a fault is decided by.
type Request struct {
	Number int // 0, 1, 2, … of this proxy
	Method string
	Path   string // "/BUCKET/PREFIX/KEY"
	Query  string
}

// Proxy stands between a client and the server. It is safe for concurrent use.
type Proxy struct {
	server *httptest.Server
	to     string
	web    *http.Transport

	mu     sync.Mutex
	count  int
	decide func(Request) Fault
	last   http.Header // of the last good answer to a PUT
}

// Between puts a proxy before the server for the time of a test; decide is asked before each request, one at a time.
func Between(t testing.TB, s *Server, decide func(Request) Fault) *Proxy {
	p := &Proxy{to: s.Address, web: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}, decide: decide}
	p.server = httptest.NewServer(p)
	t.Cleanup(func() {
		p.server.CloseClientConnections()
		p.server.Close()
		p.web.CloseIdleConnections()
	})
	return p
}

// Endpoint is the proxy's address as a URL.
func (p *Proxy) Endpoint() string { return p.server.URL }

// Requests is how many requests came so far.
func (p *Proxy) Requests() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// Decide changes what decides and counts from 0 again.
func (p *Proxy) Decide(decide func(Request) Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count, p.decide = 0, decide
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	request := Request{p.count, r.Method, r.URL.Path, r.URL.RawQuery}
	p.count++
	fault, last := p.decide(request), p.last
	p.mu.Unlock()
	switch fault {
	case Broken:
		w.WriteHeader(http.StatusInternalServerError)
		return
	case Busy:
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, `<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>`)
		return
	case Full:
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusInsufficientStorage)
		fmt.Fprint(w, `<?xml version="1.0"?><Error><Code>InsufficientStorage</Code><Message>No space left on device.</Message></Error>`)
		return
	case Foreign:
		for name, values := range last {
			w.Header()[name] = values
		}
		return
	case Refused:
		panic(http.ErrAbortHandler)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	switch fault {
	case Silent:
		<-r.Context().Done()
		return
	case CutRequest:
		p.half(r, body)
		panic(http.ErrAbortHandler)
	}
	if fault == Mangled && len(body) > 0 {
		body[len(body)/2] ^= 1
	}
	// What the client has given up may reach the server all the same.
	forwarded, err := http.NewRequest(r.Method, "http://"+p.to+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	forwarded.Header, forwarded.Host = r.Header.Clone(), r.Host // the signature covers the host
	answer, err := p.web.RoundTrip(forwarded)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	content, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if err != nil || fault == Lost {
		panic(http.ErrAbortHandler)
	}
	if fault == Late {
		<-r.Context().Done()
		return
	}
	if r.Method == http.MethodPut && answer.StatusCode == http.StatusOK {
		p.mu.Lock()
		p.last = answer.Header
		p.mu.Unlock()
	}
	if fault == MangledAnswer && len(content) > 0 {
		content[len(content)/2] ^= 1
	}
	for name, values := range answer.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.StatusCode)
	if fault == CutAnswer {
		if len(content) == 0 { // then there is no half of it: the status line must do
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write(content[:len(content)/2])
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(content)
}

// half sends the head of a request and half of its body.
func (p *Proxy) half(r *http.Request, body []byte) {
	var whole bytes.Buffer
	sent := r.Clone(r.Context())
	sent.Body, sent.ContentLength, sent.RequestURI = io.NopCloser(bytes.NewReader(body)), int64(len(body)), ""
	if sent.Write(&whole) != nil {
		return
	}
	c, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = c.Write(whole.Bytes()[:whole.Len()-len(body)/2])
}
