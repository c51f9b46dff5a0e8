// Package versitygwtest runs a real S3 server for tests: versitygw, on loopback, in throw-away folders, ended by its
// process id.
package versitygwtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Server is a running server. It is safe for concurrent use, but for Stop and Kill.
type Server struct {
	Address              string // 127.0.0.1:PORT
	AccessKey, SecretKey string

	folder  string
	secured []string // flags of a server with TLS
	process *exec.Cmd
	ended   chan struct{} // closed when the process is gone
	said    *output
	buckets atomic.Int64
}

// Start runs a server for the time of a test. It fails the test where there is no versitygw.
func Start(t testing.TB) *Server {
	t.Helper()
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Open starts a server that keeps everything below a folder, which may have been another's before. The caller stops it.
func Open(folder string) (*Server, error) {
	program, err := find()
	if err != nil {
		return nil, err
	}
	if folder, err = filepath.Abs(folder); err != nil {
		return nil, err
	}
	for _, d := range []string{"objects", "versions"} {
		if err := os.MkdirAll(filepath.Join(folder, d), 0o755); err != nil {
			return nil, err
		}
	}
	return (&Server{AccessKey: "test-" + rand.Text()[:8], SecretKey: rand.Text(), folder: folder}).open(program)
}

// Secured starts a second server on the folder of s, with TLS and the same credentials. The caller stops it.
func (s *Server) Secured(certFile, keyFile string) (*Server, error) {
	program, err := find()
	if err != nil {
		return nil, err
	}
	second := &Server{AccessKey: s.AccessKey, SecretKey: s.SecretKey, folder: s.folder, secured: []string{"--cert", certFile, "--key", keyFile}}
	return second.open(program)
}

func (s *Server) open(program string) (_ *Server, err error) {
	// Between the choice of a free port and its use another process may take it: then choose again.
	for range 5 {
		if err = s.start(program); err == nil {
			return s, nil
		}
	}
	return nil, err
}

// find returns the program: in .tools of this checkout, else on the path.
func find() (string, error) {
	at, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; at != "/"; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			if path := filepath.Join(at, ".tools", "versitygw"); executable(path) {
				return path, nil
			}
			break
		}
	}
	if path, err := exec.LookPath("versitygw"); err == nil {
		return path, nil
	}
	return "", errors.New("versitygw is not in .tools and not on the path: sh scripts/test-tools.sh installs it")
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// output keeps the end of what the server says, for the error of a test.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.b.Len() > 1<<16 {
		o.b.Reset()
	}
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func (s *Server) start(program string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.Address = listener.Addr().String()
	if err := listener.Close(); err != nil {
		return err
	}
	s.said = &output{}
	arguments := append([]string{"--port", s.Address, "--keep-alive", "--quiet", "--health", "/alive"}, s.secured...)
	s.process = exec.Command(program, append(arguments,
		"posix", "--versioning-dir", filepath.Join(s.folder, "versions"), filepath.Join(s.folder, "objects"))...)
	s.process.Env = []string{"ROOT_ACCESS_KEY=" + s.AccessKey, "ROOT_SECRET_KEY=" + s.SecretKey, "PATH=" + os.Getenv("PATH"), "HOME=" + s.folder}
	s.process.Stdout, s.process.Stderr = s.said, s.said
	// A killed test takes its server along.
	s.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.process.Start(); err != nil {
		return fmt.Errorf("versitygw: %w", err)
	}
	s.ended = make(chan struct{})
	go func() {
		_ = s.process.Wait()
		close(s.ended)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		if s.alive(ctx) {
			return nil
		}
		select {
		case <-s.ended:
			return fmt.Errorf("versitygw ended at once: %s", s.said)
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("versitygw does not answer: %s", s.said), s.Stop())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (s *Server) alive(ctx context.Context) bool {
	if len(s.secured) > 0 { // it listens only when it is ready
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.Address)
		if err != nil {
			return false
		}
		return c.Close() == nil
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Address+"/alive", nil)
	if err != nil {
		return false
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	_ = answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// Stop asks the process to end and waits until it is gone; after ten seconds it is killed.
func (s *Server) Stop() error {
	_ = s.process.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
		return nil
	case <-time.After(10 * time.Second):
		s.Kill()
		return fmt.Errorf("versitygw did not end: %s", s.said)
	}
}

// Kill ends the process as a power failure would, and waits until it is gone.
func (s *Server) Kill() {
	_ = s.process.Process.Kill()
	<-s.ended
}

// Endpoint is the server's address as a URL.
func (s *Server) Endpoint() string {
	if len(s.secured) > 0 {
		return "https://" + s.Address
	}
	return "http://" + s.Address
}

// Environment holds the credentials, as FindCredentials of package s3 looks for them.
func (s *Server) Environment(name string) string {
	switch name {
	case "ELICENCE_S3_ACCESS_KEY":
		return s.AccessKey
	case "ELICENCE_S3_SECRET_KEY":
		return s.SecretKey
	}
	return ""
}

// Administrator is a raw client with all rights, for what an administrator may do behind our back.
func (s *Server) Administrator() (*minio.Core, error) {
	return minio.NewCore(s.Address, &minio.Options{Creds: credentials.NewStaticV4(s.AccessKey, s.SecretKey, ""), Region: "us-east-1"})
}

// Bucket makes a bucket of its own, with object lock and versioning.
func (s *Server) Bucket() (string, error) { return s.MakeBucket(true) }

// MakeBucket makes a bucket of its own, with or without object lock.
func (s *Server) MakeBucket(lock bool) (string, error) {
	name := fmt.Sprintf("bucket-%d-%s", s.buckets.Add(1), strings.ToLower(rand.Text()[:6]))
	administrator, err := s.Administrator()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := administrator.MakeBucket(ctx, name, minio.MakeBucketOptions{ObjectLocking: lock}); err != nil {
		return "", fmt.Errorf("make a bucket: %w", err)
	}
	return name, nil
}
