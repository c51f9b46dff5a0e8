package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"

	"github.com/elicence/elicence/storage/objects"
	"github.com/elicence/elicence/storage/objects/dir"
	"github.com/elicence/elicence/storage/objects/s3"
)

// objectsConfig says where the objects are.
type objectsConfig struct {
	Driver string    `yaml:"driver"`         // dir or s3
	Path   string    `yaml:"path,omitempty"` // of dir; relative to the data folder
	S3     s3.Config `yaml:"s3,omitempty"`
}

// objectStore is what commands need of the objects.
type objectStore interface {
	Put(ctx context.Context, key string, b []byte) error
	PutObject(ctx context.Context, o objects.Object) error
	Get(ctx context.Context, key string) ([]byte, error)
	Stat(ctx context.Context, key string) (objects.Info, error)
	Delete(ctx context.Context, key string) error
	List(ctx context.Context, prefix string, each func(objects.Info) error) error
	Close() error
}

// Names of the drivers of the objects.
const (
	inFolder = "dir"
	inBucket = "s3"
)

func (c objectsConfig) check() error {
	switch {
	case c.Driver == inFolder && (c.Path == "" || c.S3 != (s3.Config{})):
		return errors.New("the driver dir takes path, and nothing below s3")
	case c.Driver == inBucket && (c.Path != "" || c.S3 == (s3.Config{})):
		return errors.New("the driver s3 takes its settings below s3, and no path")
	case c.Driver == inBucket:
		return c.S3.Check()
	}
	return nil
}

// objectsAt reads the address of an object store: s3://… or file:///FOLDER. Files that it names are made absolute, since
// the address is given where the command runs and the configuration is read elsewhere.
func objectsAt(address string) (objectsConfig, error) {
	u, err := url.Parse(address)
	if err == nil && u.Scheme == "file" && u.Host == "" && filepath.IsAbs(u.Path) {
		return objectsConfig{Driver: "dir", Path: filepath.Clean(u.Path)}, nil
	}
	if err == nil && u.Scheme == "file" {
		return objectsConfig{}, usage("a folder's address is file:///ABSOLUTE/PATH")
	}
	c, err := s3.ParseURL(address)
	if err != nil {
		return objectsConfig{}, err
	}
	for _, file := range []*string{&c.CredentialsFile, &c.CAFile} {
		if *file != "" {
			if *file, err = filepath.Abs(*file); err != nil {
				return objectsConfig{}, err
			}
		}
	}
	return objectsConfig{Driver: inBucket, S3: c}, nil
}

// openS3 opens a bucket with the credentials that this process finds; file names are relative to folder.
func (a *app) openS3(c s3.Config, folder string) (*s3.Store, error) {
	for _, file := range []*string{&c.CredentialsFile, &c.CAFile} {
		if *file != "" && !filepath.IsAbs(*file) {
			*file = filepath.Join(folder, *file)
		}
	}
	credentials, err := s3.FindCredentials(c, a.environment)
	if err != nil {
		return nil, err
	}
	return s3.Open(c, credentials, a.now)
}

// openObjects opens the store that the configuration names.
func (i *installation) openObjects() (objectStore, error) {
	if c := i.config.Objects; c.Driver == "s3" {
		s, err := i.app.openS3(c.S3, i.dir)
		if err != nil {
			return nil, err // not the nil of a pointer, which is no nil store
		}
		return s, nil
	}
	s, err := dir.Open(i.path(i.config.Objects.Path))
	if err != nil {
		return nil, err
	}
	return s, nil
}

var errSomethingThere = errors.New("对象存放处不是空的 / the place for the objects is not empty")

// newObjects makes sure, before anything is made, that a new installation's objects have a place that keeps them, and that
// nobody else's are there: two installations in one place would take each other's tiles for their own.
func (i *installation) newObjects(ctx context.Context) error {
	store, err := i.openObjects()
	if err != nil {
		return err
	}
	defer store.Close()
	if s, ok := store.(*s3.Store); ok {
		if err := s.Probe(ctx); err != nil {
			return err
		}
	}
	err = store.List(ctx, "", func(o objects.Info) error { return fmt.Errorf("%w: %s", errSomethingThere, o.Key) })
	if errors.Is(err, errSomethingThere) {
		return &failure{code: exitNo, cause: err, do: "用别的前缀，如 s3://BUCKET/另一前缀 · choose another prefix in the bucket"}
	}
	return err
}
