package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/elicence/elicence/hsm/softkey"
	"github.com/elicence/elicence/signer/purpose"
)

// wrappingLabel names the n-th key of the storage keystore that wraps the licences' data keys.
func wrappingLabel(n int) string { return string(purpose.DataWrapping) + "-" + strconv.Itoa(n) }

// wrapping is the key-encryption key of an installation: the newest active wrapping key of its storage keystore wraps;
// every one that is not disabled unwraps. While a rotation is under way there are two. A process that was started before
// the rotation meets what a key wrapped that it has never seen: the keystore is opened again then. Safe for concurrent use.
type wrapping struct {
	keyring *keyring

	mu    sync.Mutex
	store *softkey.Keystore
}

func openWrapping(ctx context.Context, k *keyring) (*wrapping, error) {
	store, err := k.keystore(ctx, storageName)
	if err != nil {
		return nil, err
	}
	w := &wrapping{keyring: k, store: store}
	_, err = w.newest()
	return w, err
}

func (w *wrapping) keystore() *softkey.Keystore {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.store
}

// labels of the wrapping keys in one of the states, in the order of their making.
func (w *wrapping) labels(states ...softkey.State) []string {
	var found []string
	for _, k := range w.keystore().Labels() {
		for _, s := range states {
			if k.Purpose == purpose.DataWrapping && k.State == s {
				found = append(found, k.Label)
			}
		}
	}
	return found
}

func (w *wrapping) newest() (*softkey.Wrapper, error) {
	active := w.labels(softkey.Active)
	if len(active) == 0 {
		return nil, fmt.Errorf("wrapping key: %w: the keystore %q has no active one", softkey.ErrNoKey, storageName)
	}
	key, err := w.keystore().Wrapper(active[len(active)-1])
	if err != nil {
		return nil, fmt.Errorf("wrapping key: %w", err)
	}
	return key, nil
}

// nextLabel is one that no key has had, as far as the keystore knows.
func (w *wrapping) nextLabel() string {
	last := 0
	for _, l := range w.labels(softkey.Active, softkey.Retired, softkey.Disabled) {
		if n, err := strconv.Atoi(strings.TrimPrefix(l, string(purpose.DataWrapping)+"-")); err == nil {
			last = max(last, n)
		}
	}
	return wrappingLabel(last + 1)
}

// Wrap implements envelope.KEK.
func (w *wrapping) Wrap(ctx context.Context, plain, aad []byte) ([]byte, error) {
	key, err := w.newest()
	if err != nil {
		return nil, err
	}
	return key.Wrap(ctx, plain, aad)
}

// Unwrap implements envelope.KEK.
func (w *wrapping) Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	plain, err := w.unwrap(ctx, wrapped, aad)
	if err == nil || ctx.Err() != nil {
		return plain, err
	}
	again, rerr := w.reopen(ctx)
	if rerr != nil {
		return nil, errors.Join(err, rerr)
	}
	if !again {
		return nil, err
	}
	return w.unwrap(ctx, wrapped, aad)
}

func (w *wrapping) unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	store := w.keystore()
	labels := w.labels(softkey.Active, softkey.Retired)
	err := fmt.Errorf("wrapping key: %w", softkey.ErrNoKey)
	for n := len(labels) - 1; n >= 0; n-- {
		var key *softkey.Wrapper
		if key, err = store.Wrapper(labels[n]); err != nil {
			continue // destroyed or disabled just now
		}
		var plain []byte
		if plain, err = key.Unwrap(ctx, wrapped, aad); err == nil {
			return plain, nil
		}
	}
	return nil, err
}

// reopen reports whether the keystore is another one now.
func (w *wrapping) reopen(ctx context.Context) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	store, _, err := w.keyring.reopened(ctx, storageName)
	if err != nil {
		return false, err
	}
	changed := store != w.store
	w.store = store
	return changed, nil
}
