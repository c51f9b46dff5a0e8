package s3

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/elicence/elicence/storage/objects"
)

func TestAddresses(t *testing.T) {
	got, err := ParseURL("s3://licences/city/north?endpoint=https://objects.example.org:9000&retention=30y&region=cn-1&credentials-file=/etc/c&ca-file=/etc/ca&virtual-host=true")
	must(t, err)
	want := Config{Endpoint: "https://objects.example.org:9000", Bucket: "licences", Prefix: "city/north", Region: "cn-1", Retention: "30y",
		CredentialsFile: "/etc/c", CAFile: "/etc/ca", VirtualHost: true}
	if got != want {
		t.Errorf("%+v", got)
	}
	for _, good := range []string{
		"s3://licences?endpoint=https://h&retention=1d", "s3://licences/?endpoint=http://127.0.0.1:1&retention=200y",
		"s3://licences?endpoint=http://[::1]:1&retention=1d", "s3://licences?endpoint=http://localhost&retention=1d",
		"s3://licences?endpoint=http://10.0.0.1&retention=1d&plain-http=true",
	} {
		if _, err := ParseURL(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for bad, word := range map[string]string{
		"": "like s3://", "https://licences": "like s3://", "s3:licences": "like s3://",
		"s3://licences?retention=1d":                                              "endpoint is missing",
		"s3://licences?endpoint=https://h":                                        "retention is missing",
		"s3://licences?endpoint=ftp://h&retention=1d":                             "endpoint",
		"s3://licences?endpoint=https://user:hunter2@h&retention=1d":              "endpoint",
		"s3://licences?endpoint=https://h/path&retention=1d":                      "endpoint",
		"s3://licences?endpoint=http://10.0.0.1&retention=1d":                     "not encrypted",
		"s3://user:hunter2@licences?endpoint=https://h&retention=1d":              "no credentials",
		"s3://licences?endpoint=https://h&retention=0y":                           "retention",
		"s3://licences?endpoint=https://h&retention=y":                            "retention",
		"s3://licences?endpoint=https://h&retention=30":                           "retention",
		"s3://licences?endpoint=https://h&retention=201y":                         "retention",
		"s3://Licences?endpoint=https://h&retention=1d":                           "bucket",
		"s3://licences/Capital?endpoint=https://h&retention=1d":                   "prefix",
		"s3://licences/a//b?endpoint=https://h&retention=1d":                      "prefix",
		"s3://licences/../b?endpoint=https://h&retention=1d":                      "prefix",
		"s3://licences/keys?endpoint=https://h&retention=1d":                      "prefix",
		"s3://licences?endpoint=https://h&retention=1d&retention=2d":              "more than once",
		"s3://licences?endpoint=https://h&retention=1d&colour=red":                `"colour"`,
		"s3://licences?endpoint=https://h&retention=1d&plain-http=perhaps":        "plain-http",
		"s3://licences?endpoint=https://h&retention=1d&secret-key=hunter2&x=y;z=": "cannot be read",
	} {
		_, err := ParseURL(bad)
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v does not say %q", bad, err, word)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error tells a secret: %v", bad, err)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	f.Add("s3://licences/city?endpoint=https://objects.example.org&retention=30y")
	f.Add("s3://licences?endpoint=http://127.0.0.1:9000&retention=7d&plain-http=true&region=x")
	f.Add("s3://licences/.a?endpoint=https://h&retention=1d")
	f.Fuzz(func(t *testing.T, address string) {
		c, err := ParseURL(address)
		if err != nil {
			if !errors.Is(err, ErrConfig) {
				t.Errorf("%v", err)
			}
			return
		}
		// What is taken can be opened, and its prefix keeps the house's keys well formed.
		s, err := Open(Config{Endpoint: c.Endpoint, Bucket: c.Bucket, Prefix: c.Prefix, Retention: c.Retention, PlainHTTP: c.PlainHTTP}, Credentials{"a", "b"}, time.Now)
		if err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		defer s.Close()
		if objects.CheckKey(s.prefix+objects.ContentKey(nil)) != nil && s.prefix != "" {
			t.Errorf("prefix %q", s.prefix)
		}
	})
}

func TestCredentials(t *testing.T) {
	folder := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(folder, name)
		must(t, os.WriteFile(path, []byte(text), mode))
		must(t, os.Chmod(path, mode))
		return path
	}
	both := "# of the store\n" + AccessKeyName + "=ours\n" + SecretKeyName + " = \"hunter2\"\n"
	good := write("good", both, 0o600)
	write(SystemdCredential, strings.ReplaceAll(both, "ours", "systemd's"), 0o440) // as systemd makes it for a user of its own
	set := func(pairs ...string) func(string) string {
		return func(name string) string {
			for n := 0; n < len(pairs); n += 2 {
				if pairs[n] == name {
					return pairs[n+1]
				}
			}
			return ""
		}
	}
	for _, is := range []struct {
		file        string
		environment func(string) string
		access      string
	}{
		{good, set(), "ours"},
		{good, set(AccessKeyName, "environment's", SecretKeyName, "x"), "environment's"},
		{"", set("CREDENTIALS_DIRECTORY", folder), "systemd's"},
		{good, set("CREDENTIALS_DIRECTORY", folder), "ours"},
	} {
		k, err := FindCredentials(Config{CredentialsFile: is.file}, is.environment)
		if err != nil || k.access != is.access {
			t.Errorf("%q, %v; want %q", k.access, err, is.access)
		}
		for _, s := range []string{fmt.Sprint(k), fmt.Sprintf("%v %+v %#v", k, k, k)} {
			if strings.Contains(s, "hunter2") || strings.Contains(s, k.access) {
				t.Errorf("printing shows %s", s)
			}
		}
	}
	for what, is := range map[string]struct {
		file        string
		environment func(string) string
	}{
		"neither":           {"", set()},
		"half":              {good, set(AccessKeyName, "a")},
		"readable by all":   {write("open", both, 0o644), set()},
		"absent":            {filepath.Join(folder, "absent"), set()},
		"half a file":       {write("half", AccessKeyName+"=hunter2\n", 0o600), set()},
		"another's file":    {write("other", "hunter2\n", 0o600), set()},
		"empty folder only": {"", set("CREDENTIALS_DIRECTORY", t.TempDir())},
	} {
		_, err := FindCredentials(Config{CredentialsFile: is.file}, is.environment)
		if !errors.Is(err, ErrCredentials) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestUnknownServer: a store that cannot prove who it is is told as such, at once, and gets neither bytes nor a second try.
func TestUnknownServer(t *testing.T) {
	asked := 0
	stranger := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	defer stranger.Close()
	stranger.Config.ErrorLog = nil
	c := settings()
	c.Endpoint = stranger.URL
	begun := time.Now()
	if err := open(t, c).Put(ctx, "tile/0/000", []byte("b")); !errors.Is(err, objects.ErrUntrusted) || asked != 0 {
		t.Errorf("%v, asked %d times", err, asked)
	}
	plain := httptest.NewServer(stranger.Config.Handler)
	defer plain.Close()
	c.Endpoint = strings.Replace(plain.URL, "http://", "https://", 1)
	if err := open(t, c).Put(ctx, "tile/0/000", []byte("b")); !errors.Is(err, objects.ErrUntrusted) || asked != 0 {
		t.Errorf("a store without TLS: %v, asked %d times", err, asked)
	}
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("that took %s", took)
	}
	for what, content := range map[string]string{"absent": "", "empty": "no certificate"} {
		c.CAFile = filepath.Join(t.TempDir(), "ca.pem")
		if content != "" {
			must(t, os.WriteFile(c.CAFile, []byte(content), 0o600))
		}
		if _, err := Open(c, Credentials{"a", "b"}, time.Now); !errors.Is(err, ErrConfig) {
			t.Errorf("%s caFile: %v", what, err)
		}
	}
}

// certificate makes one for 127.0.0.1 and writes it and its key as PEM.
func certificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "objects"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	certFile, keyFile = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	must(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	return certFile, keyFile
}

// TestOverTLS: the same promises over TLS, with an authority of one's own.
func TestOverTLS(t *testing.T) {
	certFile, keyFile := certificate(t)
	secured, err := server.Secured(certFile, keyFile)
	must(t, err)
	defer secured.Stop()
	c := settings()
	c.Endpoint, c.CAFile = secured.Endpoint(), certFile
	s := open(t, c)
	b := bytes.Repeat([]byte("part"), 20_000)
	for _, name := range sortsOfKeys {
		must(t, s.Put(ctx, name(b), b))
		got, err := s.Get(ctx, name(b))
		if err != nil || !bytes.Equal(got, b) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if n, _ := versionsOf(t, s, name(b)); n != 1 {
			t.Errorf("%d versions", n)
		}
	}
	c.CAFile = ""
	if err := open(t, c).Put(ctx, "tile/0/001", b); !errors.Is(err, objects.ErrUntrusted) {
		t.Errorf("without the authority: %v", err)
	}
}
