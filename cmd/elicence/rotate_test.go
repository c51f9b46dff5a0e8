package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/elicence/elicence/hsm/softkey"
	"github.com/elicence/elicence/signer/purpose"
	"github.com/elicence/elicence/storage/envelope"
	"github.com/elicence/elicence/storage/objects"
)

// changed is a condition: at least so many of the files below dir are not what they were at first.
func changed(t *testing.T, dir string, count int) func() bool {
	t.Helper()
	was := map[string]os.FileInfo{}
	found, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if i, err := os.Stat(f); err == nil {
			was[f] = i
		}
	}
	return func() bool {
		n := 0
		for f, old := range was {
			if now, err := os.Stat(f); err != nil || !os.SameFile(old, now) {
				n++
			}
		}
		return n >= count
	}
}

// onlyNewestOpens holds every keys/ object to being opened by the newest wrapping key alone.
func onlyNewestOpens(t *testing.T, data string, want int) {
	t.Helper()
	i, err := appAt(data, systemClock, io.Discard, io.Discard).openForReading(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer i.close()
	newest, err := i.wrapping.newest()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	err = i.objects.List(t.Context(), objects.Deletable, func(o objects.Info) error {
		b, err := i.objects.Get(t.Context(), o.Key)
		if err != nil {
			return err
		}
		r, err := envelope.ParseKeyRecord(b)
		if err != nil {
			return err
		}
		if o.Key != objects.Deletable+r.KeyID {
			t.Errorf("%s holds the key %s", o.Key, r.KeyID)
		}
		seen++
		_, err = envelope.UnwrapKey(t.Context(), newest, r.KeyID, r.Wrapped)
		return err
	})
	if err != nil || seen != want {
		t.Errorf("%d keys/ objects, want %d; %v", seen, want, err)
	}
}

// A rotation that is killed anywhere loses no key: in between everything is read and exported, and said again it is
// finished. A key whose licence the records do not know goes with it.
func TestKilledWhileRotating(t *testing.T) {
	t.Parallel()
	count, seed := kills(t)
	random := rand.New(rand.NewPCG(seed, 1<<34))
	data := copyOf(t, issued)
	keys := stored(t, data, "keys/")
	rotate := []string{"key", "rotate-data", "--data", data, "--former", "destroy"}
	hit := 0
	for range max(5, count/4) {
		when := changed(t, filepath.Join(data, "objects", "keys"), 1+random.IntN(keys))
		if random.IntN(3) == 0 {
			when = grown(walOf(data), int64(1+random.IntN(40<<10)))
		}
		if ended, said := killed(t, when, rotate...); !ended {
			hit++
		} else if !strings.Contains(said, "✓") {
			t.Fatalf("rotate-data: %s", said)
		}
		must(t, data, "show", "X000000003", "--fields", "--why", "between")
		must(t, data, "export", "--all", "--out", filepath.Join(t.TempDir(), "out"))
	}
	if hit == 0 {
		t.Fatal("no kill hit a living process: this shows nothing")
	}
	must(t, data, rotate[:2]...)
	must(t, data, append(rotate[:2:2], "--former", "destroy")...)
	onlyNewestOpens(t, data, keys)
	infos, err := softkey.Describe(filepath.Join(data, "keystores", storageName+".keystore"))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range infos {
		if k.Purpose == purpose.DataWrapping && k.State != softkey.Active {
			t.Errorf("the former key %s is still there, %s", k.Label, k.State)
		}
	}
	must(t, data, "issue", "--births", birthsOf(t, 13, 2))
	onlyNewestOpens(t, data, keys+2)
	must(t, data, "ledger", "audit")
	out := filepath.Join(t.TempDir(), "out")
	must(t, data, "export", "--all", "--out", out)
	verifies(t, data, out, 2*(issuedCount+2), true)
}

// Who was reading before the rotation began goes on reading after its end, the former key destroyed or not.
func TestReadersBesideARotation(t *testing.T) {
	t.Parallel()
	data := copyOf(t, issued)
	reader, err := appAt(data, systemClock, io.Discard, io.Discard).openForReading(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.close()
	read := func() {
		t.Helper()
		for n := range issuedCount {
			l, err := reader.db.ByNumber(t.Context(), fmt.Sprintf("X%09d", n+1))
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range l.Parts {
				if _, err := reader.service.Part(t.Context(), l, p); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	read()
	must(t, data, "key", "rotate-data")
	read()
	must(t, data, "key", "rotate-data", "--former", "destroy")
	read()
}

// A licence that an interrupted rotation left with two wrappings of its key is finished under its number.
func TestUnfinishedLicenceBetweenTwoWrappings(t *testing.T) {
	t.Parallel()
	data := copyOf(t, issued)
	i, err := appAt(data, systemClock, io.Discard, io.Discard).openForWriting(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer i.close()
	l, err := i.db.ByNumber(t.Context(), "X000000001")
	if err != nil {
		t.Fatal(err)
	}
	stood, err := i.objects.Get(t.Context(), objects.Deletable+l.DataKeyID)
	if err != nil {
		t.Fatal(err)
	}
	again, err := envelope.Rewrap(t.Context(), i.wrapping, i.wrapping, l.DataKeyID, l.DataKey)
	if err != nil {
		t.Fatal(err)
	}
	if written, err := i.replaceKey(t.Context(), l.ID, l.DataKeyID, again); !written || err != nil {
		t.Errorf("the same key in another wrapping: written %v, %v", written, err)
	}
	if now, err := i.objects.Get(t.Context(), objects.Deletable+l.DataKeyID); err != nil || bytes.Equal(now, stood) {
		t.Errorf("the object is still the old one, %v", err)
	}
	other, err := i.vault.NewKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Another key under this name would make the licence's parts unreadable: never.
	o, err := objects.Under(objects.Deletable+l.DataKeyID, mustEncode(t, envelope.KeyRecord{
		KeyID: l.DataKeyID, LicenceTag: i.vault.tag(l.ID), Wrapped: other.Wrapped}))
	if err != nil {
		t.Fatal(err)
	}
	if err := i.parts().Put(t.Context(), o); err == nil {
		t.Error("another key took the place of the licence's own")
	}
}

func mustEncode(t *testing.T, r envelope.KeyRecord) []byte {
	t.Helper()
	b, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}
