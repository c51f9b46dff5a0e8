package s3

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7/pkg/s3utils"

	"github.com/elicence/elicence/storage/objects"
)

// ErrConfig says that a setting is missing or does not fit; the text names it.
var ErrConfig = errors.New("s3: 对象存储设置有误 / a setting of the object store is wrong")

// Config says where the objects are and how long they are kept. It holds no secret; see Credentials.
type Config struct {
	Endpoint string `yaml:"endpoint"` // https://HOST[:PORT]; http:// for loopback only, unless PlainHTTP
	Bucket   string `yaml:"bucket"`
	Prefix   string `yaml:"prefix,omitempty"` // of all keys in the bucket, without slashes at its ends; "" for none
	Region   string `yaml:"region,omitempty"` // "" is us-east-1, which stores of one's own take
	// Retention is how long each object is kept from its writing on, as "30y" or "7d". Nobody can end it earlier.
	Retention string `yaml:"retention"`
	// CredentialsFile names a file for its owner alone; see Credentials.
	CredentialsFile string `yaml:"credentialsFile,omitempty"`
	// CAFile names PEM certificates that are trusted instead of the system's.
	CAFile string `yaml:"caFile,omitempty"`
	// PlainHTTP allows http:// to other machines: everybody on the way can then read and change what is sent. The
	// parts are encrypted; what is done to the requests is not noticed before reading.
	PlainHTTP bool `yaml:"plainHttp,omitempty"`
	// VirtualHost puts the bucket into the host name, as some public clouds demand.
	VirtualHost bool `yaml:"virtualHost,omitempty"`
}

// Scheme begins the address of an object store.
const Scheme = "s3"

// ParseURL reads an address: s3://BUCKET[/PREFIX]?endpoint=https://HOST&retention=30y, with region, credentials-file,
// ca-file, plain-http=true and virtual-host=true where needed. Errors wrap ErrConfig and repeat no user:password part.
func ParseURL(address string) (Config, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != Scheme || u.Opaque != "" {
		return Config{}, fmt.Errorf("%w: the address is not like s3://BUCKET/PREFIX?endpoint=https://HOST&retention=30y", ErrConfig)
	}
	if u.User != nil {
		return Config{}, fmt.Errorf("%w: no credentials in an address: others can read it; use the environment or a file", ErrConfig)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Config{}, fmt.Errorf("%w: what stands after the ? cannot be read", ErrConfig)
	}
	c := Config{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/")}
	texts := map[string]*string{
		"endpoint": &c.Endpoint, "region": &c.Region, "retention": &c.Retention, "credentials-file": &c.CredentialsFile, "ca-file": &c.CAFile,
	}
	switches := map[string]*bool{"plain-http": &c.PlainHTTP, "virtual-host": &c.VirtualHost}
	for name, values := range query {
		text, sw := texts[name], switches[name]
		switch {
		case len(values) != 1:
			return Config{}, fmt.Errorf("%w: %s is given more than once", ErrConfig, name)
		case text != nil:
			*text = values[0]
		case sw != nil:
			if *sw, err = strconv.ParseBool(values[0]); err != nil {
				return Config{}, fmt.Errorf("%w: %s must be true or false", ErrConfig, name)
			}
		default:
			return Config{}, fmt.Errorf("%w: %q is no setting of an address", ErrConfig, name)
		}
	}
	return c, c.Check()
}

// String is where the objects are, for people: no secret is in it.
func (c Config) String() string {
	return strings.TrimSuffix("s3://"+c.Bucket+"/"+c.Prefix, "/") + " at " + c.Endpoint
}

// Check returns nil if the settings fit together, else an error that wraps ErrConfig.
func (c Config) Check() error {
	if _, err := c.endpoint(); err != nil {
		return err
	}
	if err := s3utils.CheckValidBucketNameStrict(c.Bucket); err != nil {
		return fmt.Errorf("%w: bucket: %w", ErrConfig, err)
	}
	if c.Prefix != "" {
		// A prefix has the letters of keys, so that the keys of the house stay what they are behind it.
		if err := objects.CheckKey(c.Prefix + "/x"); err != nil || len(c.Prefix) > 200 || c.Prefix+"/" == objects.Content || c.Prefix+"/" == objects.Deletable {
			return fmt.Errorf("%w: prefix %q: lower-case letters, digits, '.', '-' and '_' between single slashes, at most 200 bytes", ErrConfig, c.Prefix)
		}
	}
	_, err := c.retention()
	return err
}

func (c Config) endpoint() (*url.URL, error) {
	if c.Endpoint == "" {
		return nil, fmt.Errorf("%w: endpoint is missing: the store's address, https://HOST[:PORT]", ErrConfig)
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("%w: endpoint: not like https://HOST[:PORT]", ErrConfig)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("%w: endpoint: only scheme, host and port belong into it", ErrConfig)
	}
	if host := u.Hostname(); !s3utils.IsValidIP(host) && !s3utils.IsValidDomain(host) {
		return nil, fmt.Errorf("%w: endpoint: neither a name nor an address of a machine", ErrConfig)
	}
	if u.Scheme == "http" && !c.PlainHTTP && !loopback(u.Hostname()) {
		return nil, fmt.Errorf("%w: endpoint %s is not encrypted and not this machine: use https, or say plainHttp: true", ErrConfig, u.Host)
	}
	return u, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// lasting is a length of time in the calendar.
type lasting struct{ years, days int }

func (l lasting) from(t time.Time) time.Time { return t.AddDate(l.years, 0, l.days) }

// retention reads "30y" and "7d": at least a day, at most 200 years.
func (c Config) retention() (lasting, error) {
	if c.Retention == "" {
		return lasting{}, fmt.Errorf("%w: retention is missing: how long each object is kept, as 30y; nobody can end it earlier", ErrConfig)
	}
	n, err := strconv.Atoi(c.Retention[:len(c.Retention)-1])
	switch unit := c.Retention[len(c.Retention)-1]; {
	case err == nil && unit == 'y' && n >= 1 && n <= 200:
		return lasting{years: n}, nil
	case err == nil && unit == 'd' && n >= 1 && n <= 200*366:
		return lasting{days: n}, nil
	}
	return lasting{}, fmt.Errorf("%w: retention %q: a number of years or days from 1d to 200y", ErrConfig, c.Retention)
}
