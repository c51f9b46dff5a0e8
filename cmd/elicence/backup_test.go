package main

import (
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// restoredFrom restores the newest backup into a new folder and returns it, read-only as it is.
func restoredFrom(t *testing.T, from string, args ...string) string {
	t.Helper()
	data := filepath.Join(t.TempDir(), "restored")
	must(t, data, append([]string{"restore", "--from", from}, args...)...)
	return data
}

// A backup that is taken while births are issued is whole: restored and reconciled, all that it has is right, and the next
// births take numbers that nobody has.
func TestBackupBesideAWriter(t *testing.T) {
	t.Parallel()
	data, out := copyOf(t, issued), filepath.Join(t.TempDir(), "backups")
	writer := exec.CommandContext(t.Context(), "elicence", "issue", "--data", data, "--births", birthsOf(t, 13, 60))
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	var names []string
	for range 2 {
		var b backedUp
		if err := decode(must(t, data, "backup", "--out", out, "--json"), &b); err != nil {
			t.Fatal(err)
		}
		names = append(names, b.Backup)
	}
	if err := writer.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, from := range names {
		again := restoredFrom(t, from)
		says(t, "issue", call(t.Context(), again, systemClock, "issue", "--births", birthsOf(t, 100, 1)), exitUnavailable, "read-only until they are reconciled", "elicence reconcile --mend")
		must(t, again, "list")
		r := reconcileTo(t, again, exitYes, "--mend")
		if !r.Clean || !r.Writable || len(r.Burnt) == 0 {
			t.Errorf("%+v", r)
		}
		must(t, again, "issue", "--births", birthsOf(t, 100, 2))
		balanced(t, again)
		exported := filepath.Join(t.TempDir(), "out")
		must(t, again, "export", "--all", "--out", exported)
		verifies(t, again, exported, 2*len(listed(t, again)), true)
	}
}

// Of a log that is ahead of the records that were copied, a backup takes what these records have and nothing beyond: tiles of
// other entries would stand in the way for ever.
func TestBackupTakesNoTileAheadOfItsRecords(t *testing.T) {
	t.Parallel()
	i, err := appAt(copyOf(t, issued), systemClock, io.Discard, io.Discard).openForWriting(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer i.close()
	head, err := i.db.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	count := func(size uint64) (all, newest int) {
		t.Helper()
		err := i.eachCommonObject(t.Context(), size, func(key string) error {
			all++
			if logSize(key) > size {
				t.Errorf("%s is taken with records of %d entries", key, size)
			}
			if logSize(key) == head.Size {
				newest++
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return all, newest
	}
	all, newest := count(head.Size)
	fewer, none := count(head.Size - 1)
	if newest < 3 || none != 0 || fewer != all-newest { // tile, bundle, checkpoint
		t.Errorf("%d and %d of %d and %d objects are the newest", newest, none, all, fewer)
	}
}

// listed are the numbers of all licences.
func listed(t *testing.T, data string) (numbers []string) {
	t.Helper()
	var rows []struct{ Number string }
	if err := decode(must(t, data, "list", "--limit", "10000", "--json"), &rows); err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		numbers = append(numbers, r.Number)
	}
	return numbers
}

// What was erased after a backup does not come back with it: later backups in the same folder, the objects that outlived the
// loss, or a copy of their notes, each is enough.
func TestRestoreErasesAgain(t *testing.T) {
	t.Parallel()
	data, out := copyOf(t, issued), filepath.Join(t.TempDir(), "backups")
	must(t, data, "backup", "--out", out)
	first, err := filepath.Glob(filepath.Join(out, snapshotsDir, "*"))
	if err != nil || len(first) != 1 {
		t.Fatal(first, err)
	}
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.CopyFS(elsewhere, os.DirFS(out)); err != nil {
		t.Fatal(err)
	}
	must(t, data, eraseArgs("X000000002")...)
	must(t, data, "issue", "--births", birthsOf(t, 13, 2))
	must(t, data, "backup", "--out", out)
	for name, args := range map[string][]string{
		"a later backup":            {first[0]},
		"objects that outlived it":  {elsewhere, "--objects", filepath.Join(data, "objects")},
		"a copy of the notes":       {elsewhere, "--erasures", filepath.Join(data, "objects")},
		"nothing but the old state": {elsewhere},
	} {
		again := restoredFrom(t, args[0], args[1:]...)
		r := reconcileTo(t, again, exitYes, "--mend")
		if !r.Clean || !r.Writable {
			t.Errorf("%s: %+v", name, r)
		}
		said := must(t, again, "show", "X000000002", "--fields")
		if name == "nothing but the old state" {
			if strings.Contains(said, "erased") {
				t.Error("nobody could know of the erasure: the test shows nothing")
			}
		} else if !strings.Contains(said, "已销毁 erased") {
			t.Errorf("%s: the erased licence is back: %s", name, said)
		}
		have := listed(t, again)
		if later := slices.Contains(have, "X000000014"); later != strings.HasPrefix(name, "objects") {
			t.Errorf("%s: the licences are %v", name, have)
		}
		report := filepath.Join(t.TempDir(), "report")
		must(t, again, "issue", "--births", birthsOf(t, 20, 2), "--report", report)
		for _, l := range numbersIn(t, report) {
			if l.Number <= "X000000014" {
				t.Errorf("%s: number %s was given out a second time", name, l.Number)
			}
		}
		balanced(t, again)
	}
}

// Whatever was changed in a backup is named, and nothing is restored from it; into a folder that holds anything, neither.
func TestDamagedBackupIsRefused(t *testing.T) {
	t.Parallel()
	data, out := copyOf(t, issued), filepath.Join(t.TempDir(), "backups")
	must(t, data, "backup", "--out", out)
	says(t, "into the installation", call(t.Context(), data, systemClock, "backup", "--out", filepath.Join(data, "b")), exitUsage, "inside the installation")
	says(t, "no backup", call(t.Context(), filepath.Join(t.TempDir(), "new"), systemClock, "restore", "--from", t.TempDir()), exitNo, "no complete backup")
	says(t, "over something", call(t.Context(), data, systemClock, "restore", "--from", out), exitNo, "there is an installation already")
	snapshot, err := filepath.Glob(filepath.Join(out, snapshotsDir, "*"))
	if err != nil || len(snapshot) != 1 {
		t.Fatal(snapshot, err)
	}
	var paths []string
	files(t, out, func(path string, b []byte) {
		if len(b) > 0 && filepath.Base(path) != manifestFile {
			paths = append(paths, path)
		}
	})
	random := rand.New(rand.NewPCG(1, 2))
	for _, n := range random.Perm(len(paths))[:12] {
		b, err := os.ReadFile(paths[n])
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(paths[n])
		if err != nil {
			t.Fatal(err)
		}
		bad := slices.Clone(b)
		bad[random.IntN(len(bad))] ^= 1
		for what, content := range map[string][]byte{"changed": bad, "cut": b[:len(b)-1]} {
			if err := os.WriteFile(paths[n], content, info.Mode()); err != nil {
				t.Fatal(err)
			}
			target := filepath.Join(t.TempDir(), "new")
			if c := call(t.Context(), target, systemClock, "restore", "--from", out); c.code == exitYes {
				t.Errorf("%s %s: restored all the same", paths[n], what)
			}
			if _, err := os.Stat(target); err == nil {
				t.Errorf("%s %s: something was left behind", paths[n], what)
			}
		}
		if err := os.WriteFile(paths[n], b, info.Mode()); err != nil {
			t.Fatal(err)
		}
	}
	restoredFrom(t, out)
}

// A backup and a restore that are killed leave nothing that looks whole; said again, they are.
func TestKilledWhileBackingUpAndRestoring(t *testing.T) {
	t.Parallel()
	count, seed := kills(t)
	random := rand.New(rand.NewPCG(seed, 1<<37))
	data, out := copyOf(t, issued), filepath.Join(t.TempDir(), "backups")
	list := must(t, data, "list", "--json")
	below := func(dir string, enough int) func() bool {
		return func() bool {
			found, _ := filepath.Glob(filepath.Join(dir, "*"))
			deeper, _ := filepath.Glob(filepath.Join(dir, "*", "*"))
			return len(found)+len(deeper) >= enough
		}
	}
	hit := 0
	for range max(4, count/4) {
		when := below(filepath.Join(out, snapshotsDir, ".new-*"), 1+random.IntN(40))
		if random.IntN(2) == 0 {
			when = below(filepath.Join(out, backupObjects, "objects"), random.IntN(40))
		}
		if ended, said := killed(t, when, "backup", "--data", data, "--out", out); !ended {
			hit++
		} else if !strings.Contains(said, "✓") {
			t.Fatalf("backup: %s", said)
		}
		// Whatever has a name by now is whole.
		if _, _, err := findBackup(out); err == nil {
			restoredFrom(t, out)
		}
	}
	must(t, data, "backup", "--out", out)
	parent := t.TempDir()
	target := filepath.Join(parent, "restored")
	for range max(4, count/4) {
		when := below(filepath.Join(parent, ".elicence-restore-*"), 1+random.IntN(60))
		if ended, said := killed(t, when, "restore", "--data", target, "--from", out); !ended {
			hit++
		} else if !strings.Contains(said, "✓") {
			t.Fatalf("restore: %s", said)
		}
		if _, err := os.Stat(target); err == nil {
			must(t, target, "list")
			if err := os.RemoveAll(target); err != nil {
				t.Fatal(err)
			}
		}
	}
	if hit < 2 {
		t.Fatal("hardly a kill hit a living process: this shows nothing")
	}
	must(t, target, "restore", "--from", out)
	// Killed while it is reconciled, too.
	for range 3 {
		killed(t, grown(walOf(target), int64(random.IntN(100<<10))), "reconcile", "--mend", "--data", target)
	}
	if r := reconcileTo(t, target, exitYes, "--mend"); !r.Clean || !r.Writable {
		t.Errorf("%+v", r)
	}
	if diff := cmp.Diff(list, must(t, target, "list", "--json")); diff != "" {
		t.Errorf("list (-before +after):\n%s", diff)
	}
	must(t, target, "issue", "--births", birthsOf(t, 13, 2))
	balanced(t, target)
}

// What a backup holds in clear is what its manifest says, and nothing personal.
func TestNothingPersonalInABackup(t *testing.T) {
	t.Parallel()
	data, out := lived(t), filepath.Join(t.TempDir(), "backups")
	must(t, data, "backup", "--out", out)
	lines, err := births(1, issuedCount, demonstrationScheme().hospitals[0].Code)
	if err != nil {
		t.Fatal(err)
	}
	values := personal(t, lines)
	values.add("缺少首次签发登记表", "a note")
	read := 0
	files(t, out, func(path string, b []byte) {
		read += len(b)
		if found := values.in(b); found != "" {
			t.Errorf("%s is in %s", found, path)
		}
	})
	manifests, err := filepath.Glob(filepath.Join(out, snapshotsDir, "*", manifestFile))
	if err != nil || len(manifests) != 1 || read < 1<<20 {
		t.Fatal(manifests, err, read)
	}
	b, err := os.ReadFile(manifests[0])
	if err != nil {
		t.Fatal(err)
	}
	var m manifest
	if err := json.Unmarshal(b, &m); err != nil || len(m.InClear) < 3 || m.Counts["issued"] != issuedCount+1 {
		t.Errorf("%+v, %v", m, err)
	}
}
