package softkey_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/emmansun/gmsm/sm2"
	tjfoc "github.com/tjfoc/gmsm/sm2"

	"github.com/elicence/elicence/hsm/hsmtest"
	"github.com/elicence/elicence/hsm/softkey"
	"github.com/elicence/elicence/signer"
	"github.com/elicence/elicence/signer/purpose"
)

var _ signer.Key = (*softkey.Key)(nil)

// cheap is scrypt's N in these tests.
const cheap = 16

var now = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// place is a keystore file as hsmtest wants it.
type place struct {
	path    string
	created bool
}

func (p *place) Secret() []byte { return []byte("正确的口令 42") }

func (p *place) Open(ctx context.Context, secret []byte) (hsmtest.Store, error) {
	if !p.created {
		k, err := softkey.Create(p.path, secret, rand.Reader, softkey.WithTestCost(cheap))
		p.created = err == nil
		return store{k}, err
	}
	k, err := softkey.Open(ctx, p.path, secret)
	return store{k}, err
}

func (p *place) Damage(t *testing.T) {
	b, err := os.ReadFile(p.path)
	must(t, err)
	b[len(b)/2] ^= 0x20
	must(t, os.WriteFile(p.path, b, 0o600))
}

func (p *place) Lose(t *testing.T) { must(t, os.Remove(p.path)) }

type store struct{ *softkey.Keystore }

func (s store) Generate(label string, p purpose.Purpose) error {
	return s.Keystore.Generate(label, p, now, rand.Reader)
}

func (s store) Key(label string) (hsmtest.Key, error) { return s.Keystore.Key(label) }

func (s store) Wrapper(label string) (hsmtest.Wrapper, error) { return s.Keystore.Wrapper(label) }

func TestConformance(t *testing.T) {
	hsmtest.Run(t, hsmtest.Driver{
		New: func(t *testing.T) hsmtest.Place { return &place{path: filepath.Join(t.TempDir(), "x.keystore")} },
		Errors: hsmtest.Errors{Secret: softkey.ErrPassphrase, Missing: fs.ErrNotExist,
			Damaged: []error{softkey.ErrKeystore, softkey.ErrPassphrase}, Purpose: softkey.ErrPurpose, NoKey: softkey.ErrNoKey,
			Label: softkey.ErrLabel, State: softkey.ErrState, Unwrap: softkey.ErrUnwrap},
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
}

// The second opinion on our signatures: another implementation, which also computes e itself.
func TestASecondLibraryAgrees(t *testing.T) {
	k := create(t, filepath.Join(t.TempDir(), "x.keystore"))
	must(t, k.Generate("a", purpose.Events, now, rand.Reader))
	key, err := k.Key("a")
	must(t, err)
	point, err := sm2.PublicKeyToECDH(key.Public())
	must(t, err)
	b := point.Bytes()
	public := &tjfoc.PublicKey{Curve: tjfoc.P256Sm2(), X: new(big.Int).SetBytes(b[1:33]), Y: new(big.Int).SetBytes(b[33:])}
	for n := range 50 {
		m := hsmtest.Message(purpose.Event, n)
		rs, err := key.Sign(t.Context(), purpose.Event, m)
		must(t, err)
		r, s := new(big.Int).SetBytes(rs[:32]), new(big.Int).SetBytes(rs[32:])
		if !tjfoc.Sm2Verify(public, m, []byte("1234567812345678"), r, s) {
			t.Fatalf("message %d: tjfoc/gmsm does not accept our signature", n)
		}
		if tjfoc.Sm2Verify(public, m[1:], []byte("1234567812345678"), r, s) {
			t.Fatalf("message %d: accepted for another message", n)
		}
	}
}

func create(t testing.TB, path string) *softkey.Keystore {
	t.Helper()
	k, err := softkey.Create(path, []byte("one"), rand.Reader, softkey.WithTestCost(cheap))
	must(t, err)
	t.Cleanup(k.Close)
	return k
}

func TestCreateNeverOverwrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.keystore")
	create(t, path)
	before, err := os.ReadFile(path)
	must(t, err)
	_, err = softkey.Create(path, []byte("two"), rand.Reader, softkey.WithTestCost(cheap))
	wantError(t, err, softkey.ErrKeystore)
	wantError(t, err, fs.ErrExist)
	after, err := os.ReadFile(path)
	must(t, err)
	if string(before) != string(after) {
		t.Fatal("the old keystore was changed")
	}
}

func TestOnlyTheOwnerMayReadIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.keystore")
	k := create(t, path)
	for range 2 {
		info, err := os.Stat(path)
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Fatalf("mode %v", info.Mode())
		}
		must(t, k.Save())
	}
}

func TestNothingIsLeftBeside(t *testing.T) {
	folder := t.TempDir()
	k := create(t, filepath.Join(folder, "x.keystore"))
	must(t, k.Save())
	entries, err := os.ReadDir(folder)
	must(t, err)
	if len(entries) != 1 {
		t.Fatalf("%d files", len(entries))
	}
}

func TestTwoProgramsDoNotLoseEachOthersKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.keystore")
	a := create(t, path)
	b, err := softkey.Open(t.Context(), path, []byte("one"))
	must(t, err)
	defer b.Close()
	must(t, a.Generate("a", purpose.Documents, now, rand.Reader))
	must(t, a.Save())
	must(t, b.Generate("b", purpose.Documents, now, rand.Reader))
	wantError(t, b.Save(), softkey.ErrChanged)
	c, err := softkey.Open(t.Context(), path, []byte("one"))
	must(t, err)
	defer c.Close()
	if _, err := c.Key("a"); err != nil {
		t.Fatal("the first program's key is gone")
	}
}

func TestWhatWasNotSavedIsNotThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.keystore")
	k := create(t, path)
	must(t, k.Generate("a", purpose.Documents, now, rand.Reader))
	k.Close()
	k, err := softkey.Open(t.Context(), path, []byte("one"))
	must(t, err)
	defer k.Close()
	if len(k.Labels()) != 0 {
		t.Fatal("a key was saved by itself")
	}
}

func TestAFailedSaveLeavesTheOldFile(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "x.keystore")
	k := create(t, path)
	must(t, k.Generate("a", purpose.Documents, now, rand.Reader))
	aside := folder + "-aside"
	must(t, os.Rename(folder, aside))
	wantError(t, k.Save(), softkey.ErrKeystore) // the folder is gone
	must(t, os.Rename(aside, folder))
	must(t, k.Save())
	again, err := softkey.Open(t.Context(), path, []byte("one"))
	must(t, err)
	again.Close()
}

func TestAnotherPassphrase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.keystore")
	k := create(t, path)
	must(t, k.Generate("a", purpose.Documents, now, rand.Reader))
	must(t, k.ChangePassphrase([]byte("two"), rand.Reader))
	wantError(t, k.ChangePassphrase(nil, rand.Reader), softkey.ErrPassphrase)
	if old, err := softkey.Open(t.Context(), path, []byte("one")); err != nil {
		t.Fatal("the old passphrase must serve until Save")
	} else {
		old.Close()
	}
	must(t, k.Save())
	_, err := softkey.Open(t.Context(), path, []byte("one"))
	wantError(t, err, softkey.ErrPassphrase)
	again, err := softkey.Open(t.Context(), path, []byte("two"))
	must(t, err)
	defer again.Close()
	if _, err := again.Key("a"); err != nil {
		t.Fatal(err)
	}
	k.Close()
	wantError(t, k.ChangePassphrase([]byte("three"), rand.Reader), softkey.ErrState)
}

func TestAnEmptyPassphraseProtectsNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.keystore")
	_, err := softkey.Create(path, nil, rand.Reader, softkey.WithTestCost(cheap))
	wantError(t, err, softkey.ErrPassphrase)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal("a file was made")
	}
}

func TestDescribeNeedsNoPassphrase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.keystore")
	k := create(t, path)
	for _, p := range purpose.All() {
		must(t, k.Generate(string(p)+"-1", p, now.In(time.FixedZone("", 8*3600)), rand.Reader))
	}
	must(t, k.Retire("events-1"))
	must(t, k.Disable("status-1"))
	must(t, k.Save())
	infos, err := softkey.Describe(path)
	must(t, err)
	opened := k.Labels()
	if len(infos) != len(purpose.All()) || len(opened) != len(infos) {
		t.Fatalf("%d and %d keys", len(infos), len(opened))
	}
	states := map[string]softkey.State{"events-1": softkey.Retired, "status-1": softkey.Disabled}
	for i, info := range infos {
		want := purpose.All()[i]
		state := states[info.Label]
		if state == "" {
			state = softkey.Active
		}
		if info.Label != string(want)+"-1" || info.Purpose != want || info.State != state || !info.Created.Equal(now) {
			t.Errorf("%+v", info)
		}
		if want == purpose.DataWrapping != (info.Public == nil) || info.Public != nil && !info.Public.Equal(opened[i].Public) {
			t.Errorf("%s: public half", info.Label)
		}
	}
	_, err = softkey.Describe(path + "-no")
	wantError(t, err, fs.ErrNotExist)
}

func TestAKeystoreIsFullAtAThousandKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.keystore")
	k := create(t, path)
	for i := range 1000 {
		must(t, k.Generate(fmt.Sprintf("key-%d", i), purpose.DataWrapping, now, rand.Reader))
	}
	wantError(t, k.Generate("one-more", purpose.DataWrapping, now, rand.Reader), softkey.ErrState)
	must(t, k.Save())
	again, err := softkey.Open(t.Context(), path, []byte("one"))
	must(t, err)
	defer again.Close()
	if len(again.Labels()) != 1000 {
		t.Fatal("keys were lost")
	}
}

func TestLabelsAreBounded(t *testing.T) {
	k := create(t, filepath.Join(t.TempDir(), "x.keystore"))
	must(t, k.Generate(strings.Repeat("a", 64), purpose.Events, now, rand.Reader))
	wantError(t, k.Generate(strings.Repeat("a", 65), purpose.Events, now, rand.Reader), softkey.ErrLabel)
}

// The price of a guess is what the file promises, and nobody can make a cheaper one but tests.
func TestTheCostIsThatOfTheArchitecture(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.keystore")
	k, err := softkey.Create(path, []byte("one"), rand.Reader)
	must(t, err)
	k.Close()
	b, err := os.ReadFile(path)
	must(t, err)
	if !strings.HasPrefix(string(b), `{"format":"elicence/keystore/1","kdf":"scrypt","n":131072,"r":8,"p":1,`) {
		t.Fatalf("%.120s", b)
	}
	for _, n := range []int{0, 1, 3, 1 << 18, -2} {
		_, err := softkey.Create(path+"-other", []byte("one"), rand.Reader, softkey.WithTestCost(n))
		wantError(t, err, softkey.ErrKeystore)
	}
}

// Forty organisations have forty keystores, which workers open side by side.
func TestOpeningManyKeystoresStaysSmall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.keystore")
	k, err := softkey.Create(path, []byte("one"), rand.Reader)
	must(t, err)
	k.Close()
	errs := make(chan error, 3)
	for range cap(errs) {
		go func() {
			k, err := softkey.Open(context.Background(), path, []byte("one"))
			if err == nil {
				k.Close()
			}
			errs <- err
		}()
	}
	for range cap(errs) {
		must(t, <-errs)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapSys > 200<<20 {
		t.Errorf("the heap grew to %d MB", m.HeapSys>>20)
	}
	if m.HeapReleased < 100<<20 {
		t.Errorf("only %d of %d MB went back to the system", m.HeapReleased>>20, m.HeapSys>>20)
	}
}

func BenchmarkSign(b *testing.B) {
	k := create(b, filepath.Join(b.TempDir(), "x.keystore"))
	must(b, k.Generate("a", purpose.Documents, now, rand.Reader))
	key, err := k.Key("a")
	must(b, err)
	message := hsmtest.Message(purpose.Credential, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := key.Sign(b.Context(), purpose.Credential, message); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSignParallel(b *testing.B) {
	k := create(b, filepath.Join(b.TempDir(), "x.keystore"))
	must(b, k.Generate("a", purpose.Documents, now, rand.Reader))
	key, err := k.Key("a")
	must(b, err)
	message := hsmtest.Message(purpose.Credential, 1)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := key.Sign(context.Background(), purpose.Credential, message); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkWrap(b *testing.B) {
	k := create(b, filepath.Join(b.TempDir(), "x.keystore"))
	must(b, k.Generate("a", purpose.DataWrapping, now, rand.Reader))
	w, err := k.Wrapper("a")
	must(b, err)
	plain, associated := make([]byte, 16), []byte("licence 42")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Wrap(b.Context(), plain, associated); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen is one guess at the passphrase: the cost is the point.
func BenchmarkOpen(b *testing.B) {
	path := filepath.Join(b.TempDir(), "x.keystore")
	k, err := softkey.Create(path, []byte("one"), rand.Reader)
	must(b, err)
	k.Close()
	for b.Loop() {
		k, err := softkey.Open(b.Context(), path, []byte("one"))
		must(b, err)
		k.Close()
	}
}

// A wrapping key that was destroyed is out of the file; signing keys and active ones cannot be destroyed. A second
// process sees that the file is another one.
func TestDestroy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k.keystore")
	store, err := softkey.Create(path, []byte("secret"), rand.Reader, softkey.WithTestCost(2))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for label, p := range map[string]purpose.Purpose{"w-1": purpose.DataWrapping, "w-2": purpose.DataWrapping, "s-1": purpose.Events} {
		if err := store.Generate(label, p, time.Now(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Save(); err != nil {
		t.Fatal(err)
	}
	beside, err := softkey.Open(t.Context(), path, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	defer beside.Close()
	old, err := store.Wrapper("w-1")
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := old.Wrap(t.Context(), []byte("data key"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for label, want := range map[string]error{"w-1": softkey.ErrState, "s-1": softkey.ErrPurpose, "w-9": softkey.ErrNoKey} {
		if err := store.Destroy(label); !errors.Is(err, want) {
			t.Errorf("destroy %s: %v, want %v", label, err, want)
		}
	}
	if err := errors.Join(store.Retire("w-1"), store.Destroy("w-1"), store.Save()); err != nil {
		t.Fatal(err)
	}
	if _, err := old.Unwrap(t.Context(), wrapped, nil); err == nil {
		t.Error("a destroyed key unwraps in the process that destroyed it")
	}
	for s, want := range map[*softkey.Keystore]bool{beside: true, store: false} {
		if changed, err := s.Changed(); changed != want || err != nil {
			t.Errorf("changed: %v, %v, want %v", changed, err, want)
		}
	}
	infos, err := softkey.Describe(path)
	if err != nil || len(infos) != 2 {
		t.Fatalf("%d keys left, %v", len(infos), err)
	}
	again, err := softkey.Open(t.Context(), path, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if _, err := again.Wrapper("w-1"); !errors.Is(err, softkey.ErrNoKey) {
		t.Errorf("the destroyed key: %v", err)
	}
	if _, err := again.Wrapper("w-2"); err != nil {
		t.Error(err)
	}
}
