package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"

	"github.com/elicence/elicence/storage/objects"
	"github.com/elicence/elicence/storage/objects/s3/versitygwtest"
)

// stored counts the objects of an installation, wherever they are.
func stored(t *testing.T, data, prefix string) int {
	t.Helper()
	a := appAt(data, systemClock, io.Discard, io.Discard)
	c, err := a.readConfig()
	if err != nil {
		t.Fatal(err)
	}
	i := installation{app: a, dir: data, config: c}
	store, err := i.openObjects()
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	count := 0
	if err := store.List(t.Context(), prefix, func(objects.Info) error { count++; return nil }); err != nil {
		t.Fatal(err)
	}
	return count
}

// onS3 is an installation whose objects are in a bucket of a real server, with a proxy in between.
type onS3 struct {
	data, address string
	server        *versitygwtest.Server
	proxy         *versitygwtest.Proxy
	bucket        string
}

func noFault(versitygwtest.Request) versitygwtest.Fault { return versitygwtest.None }

func installedOnS3(t *testing.T) onS3 {
	t.Helper()
	o := onS3{server: versitygwtest.Start(t), data: filepath.Join(t.TempDir(), "data")}
	var err error
	if o.bucket, err = o.server.Bucket(); err != nil {
		t.Fatal(err)
	}
	o.proxy = versitygwtest.Between(t, o.server, noFault)
	o.address = fmt.Sprintf("s3://%s/city?endpoint=%s&retention=1d&credentials-file=%s", o.bucket, o.proxy.Endpoint(), credentialsFile(t, o.server))
	where, err := objectsAt(o.address)
	if err != nil {
		t.Fatal(err)
	}
	a := appAt(o.data, aMinuteAgo, io.Discard, io.Discard)
	if err := a.initialise(t.Context(), smallScheme(), func(c *config) { c.Objects = where }); err != nil {
		t.Fatal(err)
	}
	return o
}

// once holds every name in the bucket to having one version, with a lock unless it is a data key.
func (o onS3) once(t *testing.T) {
	t.Helper()
	administrator, err := o.server.Administrator()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for v := range administrator.ListObjectsIter(t.Context(), o.bucket, minio.ListObjectsOptions{Prefix: "city/", Recursive: true, WithVersions: true}) {
		if v.Err != nil {
			t.Fatal(v.Err)
		}
		if seen[v.Key] || v.IsDeleteMarker {
			t.Errorf("%s is there more than once", v.Key)
		}
		seen[v.Key] = true
		info, err := administrator.StatObject(t.Context(), o.bucket, v.Key, minio.StatObjectOptions{VersionID: v.VersionID})
		if err != nil {
			t.Fatal(err)
		}
		if locked := info.Metadata.Get("X-Amz-Object-Lock-Mode") == "COMPLIANCE"; locked == strings.HasPrefix(v.Key, "city/keys/") {
			t.Errorf("%s locked: %v", v.Key, locked)
		}
	}
	if len(seen) == 0 {
		t.Error("there is nothing in the bucket")
	}
}

// TestInstallationOnS3 is the whole way on an object store: the same commands, the same answers.
func TestInstallationOnS3(t *testing.T) {
	t.Parallel()
	o, s := installedOnS3(t), smallScheme()
	hospital := s.hospitals[0].Code
	if _, err := os.Stat(filepath.Join(o.data, "objects")); err == nil {
		t.Error("the data folder has objects, too")
	}
	files(t, o.data, func(path string, b []byte) {
		if strings.Contains(string(b), o.server.SecretKey) {
			t.Errorf("%s holds the secret key", path)
		}
	})
	says(t, "storage check", call(t.Context(), o.data, systemClock, "storage", "check"), exitYes, "合格 · fit", ".storage-check/", " until ")
	c := call(t.Context(), o.data, systemClock, "storage", "check", "--url", o.address, "--json")
	var report storageReport
	if err := decode(c.stdout, &report); err != nil || c.code != exitYes || !report.Fit || len(report.Findings) < 10 {
		t.Errorf("storage check --json: exit %d, %v: %s%s", c.code, err, c.stdout, c.stderr)
	}
	says(t, "init in the same place", call(t.Context(), filepath.Join(t.TempDir(), "second"), systemClock, "init", "--objects", o.address), exitNo,
		"not empty", "choose another prefix")

	says(t, "issue", call(t.Context(), o.data, systemClock, "issue", "--births", birthsOf(t, 1, 6)), exitYes, "issued 6")
	says(t, "handover", call(t.Context(), o.data, systemClock, "handover", "X000000001", "--as", hospital+"/stock-1", "--to", s.cityArchive.Code), exitYes)
	says(t, "audit", call(t.Context(), o.data, systemClock, "ledger", "audit"), exitYes)
	out := filepath.Join(t.TempDir(), "out")
	must(t, o.data, "export", "--all", "--out", out)
	verifies(t, o.data, out, 12, true)

	// The store goes away: the answer says so, and nothing is consumed.
	o.proxy.Decide(func(versitygwtest.Request) versitygwtest.Fault { return versitygwtest.Refused })
	next := birthsOf(t, 7, 2)
	for _, args := range [][]string{{"issue", "--births", next}, {"export", "X000000001", "--out", out}, {"storage", "check"}} {
		says(t, args[0]+" without the store", call(t.Context(), o.data, systemClock, args...), exitUnavailable, "does not answer now")
	}
	says(t, "show without the store", call(t.Context(), o.data, systemClock, "show", "X000000001"), exitYes, "in force")
	books := []string{"number", "reconcile", "--issuer", hospital, "--json"}
	o.proxy.Decide(noFault)
	says(t, "books", call(t.Context(), o.data, systemClock, books...), exitYes, `"first": 6`, `"balanced": true`)
	// It goes away in the middle: what has a number keeps it and is finished later.
	o.proxy.Decide(func(r versitygwtest.Request) versitygwtest.Fault {
		if r.Method == "PUT" {
			return versitygwtest.Broken
		}
		return versitygwtest.None
	})
	says(t, "issue while nothing can be put", call(t.Context(), o.data, systemClock, "issue", "--births", next), exitUnavailable, "does not answer now", "keeps its number")
	o.proxy.Decide(noFault)
	says(t, "issue again", call(t.Context(), o.data, systemClock, "issue", "--births", next), exitYes, "refused 0")
	says(t, "books", call(t.Context(), o.data, systemClock, books...), exitYes, `"first": 8`, `"balanced": true`)
	if parts, keys := stored(t, o.data, "objects/"), stored(t, o.data, "keys/"); parts != 16 || keys != 9 {
		t.Errorf("%d parts and %d keys for 8 births and the index", parts, keys)
	}
}

// An administrator of the store lays rubbish over every object and a delete marker over that: everything still reads,
// exports, audits and goes on.
func TestAdministratorLaysRubbishOverEverything(t *testing.T) {
	t.Parallel()
	o := installedOnS3(t)
	says(t, "issue", call(t.Context(), o.data, systemClock, "issue", "--births", birthsOf(t, 1, 3)), exitYes, "issued 3")
	administrator, err := o.server.Administrator()
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	var names []string
	for v := range administrator.ListObjectsIter(ctx, o.bucket, minio.ListObjectsOptions{Recursive: true}) {
		names = append(names, v.Key)
	}
	for n, name := range names {
		if _, err := administrator.Client.PutObject(ctx, o.bucket, name, strings.NewReader("rubbish"), 7, minio.PutObjectOptions{}); err != nil {
			t.Fatal(err)
		}
		if n%2 == 0 {
			if err := administrator.RemoveObject(ctx, o.bucket, name, minio.RemoveObjectOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	out := filepath.Join(t.TempDir(), "out")
	must(t, o.data, "export", "--all", "--out", out)
	verifies(t, o.data, out, 6, true)
	says(t, "audit", call(t.Context(), o.data, systemClock, "ledger", "audit"), exitYes)
	says(t, "issue", call(t.Context(), o.data, systemClock, "issue", "--births", birthsOf(t, 4, 2)), exitYes, "issued 2")
	says(t, "audit", call(t.Context(), o.data, systemClock, "ledger", "audit"), exitYes)
}

// The real process issues to S3 over a bad line and is killed again and again, at whatever request it is: in the end each
// birth has one number, two parts and a key, once each and with their locks.
func TestKilledWhileIssuingToS3(t *testing.T) {
	t.Parallel()
	count, seed := kills(t)
	count = max(6, count/4) // each begins with opening the keystores
	random := rand.New(rand.NewPCG(seed, 1<<33))
	o, s := installedOnS3(t), smallScheme()
	folder := t.TempDir()
	file, report := filepath.Join(folder, "births.jsonl"), filepath.Join(folder, "report.jsonl")
	const want = 40
	if err := writeBirths(file, 1, want, s.hospitals[0].Code); err != nil {
		t.Fatal(err)
	}
	bad := []versitygwtest.Fault{versitygwtest.Lost, versitygwtest.Busy, versitygwtest.CutAnswer, versitygwtest.CutRequest, versitygwtest.Broken}
	line := func(r versitygwtest.Request) versitygwtest.Fault {
		if r.Number%6 == 5 {
			return bad[r.Number/6%len(bad)]
		}
		return versitygwtest.None
	}
	issue := []string{"issue", "--data", o.data, "--births", file, "--report", report}
	numbers, hit := map[string]string{}, 0
	for done := false; hit < count && !done; {
		if err := os.RemoveAll(report); err != nil {
			t.Fatal(err)
		}
		o.proxy.Decide(line)
		at := 1 + random.IntN(6*want/count)
		ended, said := killed(t, func() bool { return o.proxy.Requests() >= at }, issue...)
		if done = ended; !ended {
			hit++
		} else if !strings.Contains(said, "refused 0") {
			t.Fatalf("issue: %s", said)
		}
		remember(t, numbers, report)
	}
	if hit == 0 {
		t.Fatal("no kill hit a living process: this shows nothing")
	}
	if err := os.RemoveAll(report); err != nil {
		t.Fatal(err)
	}
	o.proxy.Decide(noFault)
	says(t, "issue after the kills", call(t.Context(), o.data, systemClock, issue...), exitYes, "refused 0")
	remember(t, numbers, report)
	if len(numbers) != want {
		t.Fatalf("%d births were answered, want %d", len(numbers), want)
	}
	whole(t, o.data, numbers, s.agencies[0].Code)
	o.once(t)
}

// TestStorageCheckOfAFolderAndOfWrongSettings: what a person gets who has no bucket, or has mistyped it.
func TestStorageCheckOfAFolderAndOfWrongSettings(t *testing.T) {
	t.Parallel()
	data := copyOf(t, fresh)
	before := stored(t, data, "")
	says(t, "check of a folder", call(t.Context(), data, systemClock, "storage", "check"), exitYes, "没有 not here", "合格 · fit")
	if after := stored(t, data, ""); after != before {
		t.Errorf("%d objects before, %d after", before, after)
	}
	says(t, "check of a folder by its address", call(t.Context(), "nowhere", systemClock, "storage", "check", "--url", "file://"+data+"/objects", "--json"), exitYes, `"fit": true`)
	unfit := func(url string, code int, words ...string) {
		t.Helper()
		says(t, url, call(t.Context(), "nowhere", systemClock, "storage", "check", "--url", url), code, words...)
	}
	unfit("file:///nowhere/at/all", exitUnavailable, "nowhere")
	unfit("file://relative", exitUsage, "file:///ABSOLUTE/PATH")
	unfit("ftp://x", exitUsage, "s3://BUCKET")
	unfit("s3://licences?retention=30y", exitUsage, "endpoint is missing")
	unfit("s3://licences?endpoint=http://192.0.2.1&retention=30y", exitUsage, "not encrypted")
	unfit("s3://licences?endpoint=https://192.0.2.1&retention=30y", exitUnavailable, "ELICENCE_S3_ACCESS_KEY")
	// An installation whose store cannot be opened says so, whatever the command.
	config := filepath.Join(data, configFile)
	b, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	write := func(objects string) {
		t.Helper()
		changed := strings.Replace(string(b), "objects:\n    driver: dir\n    path: objects\n", objects, 1)
		if changed == string(b) {
			t.Fatal("the configuration has another form")
		}
		if err := os.WriteFile(config, []byte(changed), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for objects, want := range map[string]int{
		"objects:\n    driver: s3\n    s3: {endpoint: 'http://127.0.0.1:1', bucket: licences, retention: 30y}\n":                     exitUnavailable,
		"objects:\n    driver: s3\n    s3: {endpoint: 'http://127.0.0.1:1', bucket: licences}\n":                                     exitUsage,
		"objects:\n    driver: s3\n    s3: {endpoint: 'http://127.0.0.1:1', bucket: licences, retention: 30y, secretKey: hunter2}\n": exitUsage,
		"objects:\n    driver: s3\n    path: objects\n":                                                                              exitUsage,
		"objects:\n    driver: tape\n": exitUsage,
	} {
		write(objects)
		for _, args := range [][]string{{"issue", "--births", birthsOf(t, 1, 1)}, {"export", "X000000001", "--out", t.TempDir()}, {"storage", "check"}} {
			says(t, objects+args[0], call(t.Context(), data, systemClock, args...), want)
		}
	}
}
