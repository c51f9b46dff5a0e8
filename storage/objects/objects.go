// Package objects says what every object store of the house promises: bytes are created once under a key and never
// changed, an object's address is the SM3 of its stored bytes, and only wrapped data keys can be deleted.
//
// There is no interface here: each user declares the one or two methods it needs. objectstest holds the suite that
// every driver passes.
package objects

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/emmansun/gmsm/sm3"
)

var (
	// ErrExists says that other bytes stand under this key already; they are untouched. The same bytes are adopted
	// without an error.
	ErrExists = errors.New("objects: other bytes stand under this key")
	// ErrNotFound says that nothing stands under this key.
	ErrNotFound = errors.New("objects: no such object")
	// ErrDamaged says that the stored bytes are not what the key promises. Nothing is repaired or overwritten.
	ErrDamaged = errors.New("objects: the stored bytes are damaged")
	// ErrKey says that the key is not well formed, or is not the address of the bytes put under it.
	ErrKey = errors.New("objects: not a usable key")
	// ErrTooLarge says that the bytes exceed MaxSize.
	ErrTooLarge = errors.New("objects: too large")
	// ErrRetained says that the object may never be deleted: only keys/ can be.
	ErrRetained = errors.New("objects: kept for ever")
	// ErrFull says that the store has no room left.
	ErrFull = errors.New("objects: 存储空间已满 / no space left in the store")
	// ErrReadOnly says that the store cannot be written to.
	ErrReadOnly = errors.New("objects: 存储目录不可写 / the store cannot be written to")
	// ErrUnavailable says that the store did not answer, or asked to come back later, until patience ended. What was
	// to be written may be there or not: put it again.
	ErrUnavailable = errors.New("objects: 对象存储暂时没有应答 / the store does not answer now")
	// ErrAccess says that the store does not accept the credentials, or does not allow them what is needed.
	ErrAccess = errors.New("objects: 对象存储拒绝此凭据 / the store refuses these credentials")
	// ErrUntrusted says that the store cannot prove who it is: nothing was sent to it.
	ErrUntrusted = errors.New("objects: 对象存储的身份无法确认 / the store cannot prove who it is")
	// ErrUnfit says that the store does not keep what the house promises: nothing may be entrusted to it.
	ErrUnfit = errors.New("objects: 对象存储不符合要求 / the store does not keep what it must")
)

// MaxSize bounds one object, in bytes. A signed part is about 60 KB; the bound only keeps a damaged store from
// filling memory.
const MaxSize = 64 << 20

// The folders of the key space.
const (
	// Content holds objects under their own address: "objects/ab/cdef…".
	Content = "objects/"
	// Deletable holds wrapped data keys, the only objects that erasure may remove.
	Deletable = "keys/"
)

const maxKey = 512 // bytes

// Object is bytes with the key that they belong under. One at its own address was hashed when it was made, so that a
// store need not hash it again. The bytes must not be changed any more.
type Object struct {
	key    string
	stored []byte
}

// AtAddress returns stored as the object at its own address.
func AtAddress(stored []byte) Object { return Object{key: ContentKey(stored), stored: stored} }

// Under returns stored as the object under a key that is no address: ErrKey for one that is.
func Under(key string, stored []byte) (Object, error) {
	if strings.HasPrefix(key, Content) {
		return Object{}, fmt.Errorf("%w: %s is an address", ErrKey, key)
	}
	return Object{key: key, stored: stored}, CheckKey(key)
}

// Key is what the object stands under.
func (o Object) Key() string { return o.key }

// Bytes are what is stored; they are not the caller's to change.
func (o Object) Bytes() []byte { return o.stored }

// Address is the SM3 of the stored bytes in lower-case hex, 64 characters.
func Address(stored []byte) string {
	sum := sm3.Sum(stored)
	return hex.EncodeToString(sum[:])
}

// ContentKey is the key that stored bytes stand under: "objects/" + two digits of the address + "/" + the other 62.
func ContentKey(stored []byte) string {
	a := Address(stored)
	return Content + a[:2] + "/" + a[2:]
}

// CheckKey returns nil if key is well formed, else ErrKey: two or more segments of a–z, 0–9, '.', '-', '_', none
// empty or beginning with a dot; "objects/" keys have the shape of an address. Capitals are refused because some file
// systems do not tell them apart.
func CheckKey(key string) error {
	if len(key) > maxKey {
		return fmt.Errorf("%w: longer than %d bytes", ErrKey, maxKey)
	}
	segments := strings.Split(key, "/")
	if len(segments) < 2 {
		return fmt.Errorf("%w: %q has no folder", ErrKey, key)
	}
	for _, s := range segments {
		if s == "" || s[0] == '.' || len(s) > 200 {
			return fmt.Errorf("%w: %q", ErrKey, key)
		}
		for i := 0; i < len(s); i++ {
			c := s[i]
			if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '.' || c == '-' || c == '_') {
				return fmt.Errorf("%w: %q", ErrKey, key)
			}
		}
	}
	if rest, ok := strings.CutPrefix(key, Content); ok && !isAddress(rest) {
		return fmt.Errorf("%w: %q is not an address", ErrKey, key)
	}
	if rest, ok := strings.CutPrefix(key, Deletable); ok && (len(segments) != 2 || len(rest) < 2) {
		return fmt.Errorf("%w: %q is not the name of a data key", ErrKey, key)
	}
	return nil
}

// isAddress reports whether s is "ab/" followed by 62 lower-case hex digits.
func isAddress(s string) bool {
	if len(s) != 65 || s[2] != '/' {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if i != 2 && !('0' <= c && c <= '9' || 'a' <= c && c <= 'f') {
			return false
		}
	}
	return true
}

// CheckPut returns nil if b may be put under key: ErrKey, ErrTooLarge, or ErrKey when key is an address but not b's.
func CheckPut(key string, b []byte) error {
	if err := (Object{key, b}).Check(); err != nil {
		return err
	}
	if strings.HasPrefix(key, Content) && ContentKey(b) != key {
		return fmt.Errorf("%w: the bytes belong under another address than %s", ErrKey, key)
	}
	return nil
}

// Check returns nil if the object may be put: ErrKey (of the zero Object, for one) or ErrTooLarge.
func (o Object) Check() error {
	if err := CheckKey(o.key); err != nil {
		return err
	}
	if len(o.stored) > MaxSize {
		return fmt.Errorf("%w: %d bytes under %s, at most %d", ErrTooLarge, len(o.stored), o.key, MaxSize)
	}
	return nil
}

// CheckGet returns nil if stored bytes are what key promises, else ErrDamaged.
func CheckGet(key string, stored []byte) error {
	if strings.HasPrefix(key, Content) && ContentKey(stored) != key {
		return fmt.Errorf("%w: %s", ErrDamaged, key)
	}
	return nil
}

// CheckDelete returns nil if key may be deleted: ErrKey or ErrRetained.
func CheckDelete(key string) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	if !strings.HasPrefix(key, Deletable) {
		return fmt.Errorf("%w: %s", ErrRetained, key)
	}
	return nil
}

// CheckPrefix returns nil if prefix may be listed: "" for all, else the beginning of a well-formed key.
func CheckPrefix(prefix string) error {
	for i := 0; i < len(prefix); i++ {
		c := prefix[i]
		ok := 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' ||
			(c == '.' || c == '/') && i > 0 && prefix[i-1] != '/'
		if !ok {
			return fmt.Errorf("%w: prefix %q", ErrKey, prefix)
		}
	}
	return nil
}

// Info is what a store knows of an object without reading it.
type Info struct {
	Key  string
	Size int64 // bytes
}
