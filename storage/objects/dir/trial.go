package dir

import (
	"context"
	"fmt"
	"os"

	"github.com/elicence/elicence/storage/objects/storecheck"
)

// Trial is a place for trials in a store's folder, gone when it is closed. It implements storecheck.Subject.
type Trial struct{ *Store }

// Trial makes a new place for trials; objects.ErrReadOnly where none can be made.
func (s *Store) Trial() (*Trial, error) {
	path, err := os.MkdirTemp(s.root, ".storage-check-*") // with a dot, so that it is never listed
	if err != nil {
		return nil, say("put", s.root, err)
	}
	t, err := Open(path)
	if err != nil {
		return nil, err
	}
	return &Trial{t}, nil
}

// Close removes everything that the trial has made.
func (t *Trial) Close() error {
	if err := t.Store.Close(); err != nil {
		return err
	}
	if err := os.RemoveAll(t.root); err != nil {
		return fmt.Errorf("objects: remove the trial: %w", err)
	}
	return nil
}

// Left implements storecheck.Subject.
func (t *Trial) Left() string { return "" }

// Attempts implements storecheck.Subject: whoever owns a folder may do anything in it.
func (t *Trial) Attempts() []storecheck.Attempt {
	return []storecheck.Attempt{{
		Name:  storecheck.Words{ZH: "连管理员也删不掉、改不了", EN: "not even an administrator can delete or change it"},
		Needs: storecheck.Words{ZH: "不可删除的保留期：文件夹做不到，请另存副本", EN: "retention that nobody can end: a folder has none, keep copies elsewhere"},
		Try:   func(context.Context, string, []byte) error { return storecheck.ErrNotOffered },
	}}
}

var _ storecheck.Subject = (*Trial)(nil)
