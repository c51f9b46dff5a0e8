package main

import (
	"errors"
	"fmt"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestStories runs one script for each user story: real processes on real folders, judged by what the user sees.
func TestStories(t *testing.T) {
	t.Parallel()
	testscript.Run(t, storyParams(t))
}

// storyParams are how a story is told.
func storyParams(t *testing.T) testscript.Params {
	t.Helper()
	s := demonstrationScheme()
	where, err := filepath.Abs(birthsFile)
	if err != nil {
		t.Fatal(err)
	}
	return testscript.Params{
		Dir: "testdata", RequireExplicitExec: true, RequireUniqueNames: true, Condition: served(false),
		Setup: func(e *testscript.Env) error {
			e.Setenv("ELICENCE_DATA", filepath.Join(e.WorkDir, "data"))
			e.Setenv("BIRTHS", where)
			e.Setenv("HOSPITAL", s.hospitals[0].Code)
			e.Setenv("HOSPITAL2", s.hospitals[1].Code)
			e.Setenv("AGENCY", s.agencies[0].Code)
			e.Setenv("COMMISSION", s.commission.Code)
			e.Setenv("POLICE", s.police.Code)
			e.Setenv("CITY", s.cityArchive.Code)
			e.Setenv("DISTRICT", s.districtArchive.Code)
			e.Setenv("OPERATOR", s.operator.Code)
			e.Setenv("LONG", strings.Repeat("长", 120))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"installation": installationCommand, "births": birthsCommand, "exits": exitsCommand, "json": jsonCommand,
			"keep": keepCommand, "flip": flipCommand, "scan": scanCommand,
		},
	}
}

// exitsCommand runs "exits CODE elicence ARGUMENTS…" and holds it to the exit code; its output stays for stdout, stderr.
func exitsCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE program [argument…]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var ended *exec.ExitError
		if !errors.As(err, &ended) {
			ts.Fatalf("%v", err)
		}
		code = ended.ExitCode()
	}
	if code != want {
		ts.Fatalf("exit %d, want %d", code, want)
	}
}

// installationCommand puts a copy of a ready installation at $WORK/data: "fresh", "issued", which has twelve births, or
// "other", somebody else's.
func installationCommand(ts *testscript.TestScript, neg bool, args []string) {
	made := map[string]func() (string, error){"fresh": fresh, "issued": issued, "other": other}
	if neg || len(args) != 1 || made[args[0]] == nil {
		ts.Fatalf("usage: installation fresh|issued|other")
	}
	from, err := made[args[0]]()
	ts.Check(err)
	ts.Check(os.RemoveAll(ts.MkAbs("data")))
	ts.Check(os.CopyFS(ts.MkAbs("data"), os.DirFS(from)))
	pin, err := os.ReadFile(filepath.Join(from, "trust.pin"))
	ts.Check(err)
	ts.Setenv("PIN", strings.TrimSpace(string(pin)))
}

// birthsCommand writes births: "births FILE FROM COUNT [INSTITUTION]".
func birthsCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || len(args) > 4 {
		ts.Fatalf("usage: births FILE FROM COUNT [INSTITUTION]")
	}
	from, err := strconv.Atoi(args[1])
	ts.Check(err)
	count, err := strconv.Atoi(args[2])
	ts.Check(err)
	institution := ""
	if len(args) == 4 {
		institution = args[3]
	}
	ts.Check(writeBirths(ts.MkAbs(args[0]), from, count, institution))
}

// jsonCommand holds a stream or file to being one JSON value: "json stdout", or "json stdout PATH PATTERN" for a value
// in it, with a path like 0.status (length counts). "! json" says that the value is not there or does not match.
func jsonCommand(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 && len(args) != 3 {
		ts.Fatalf("usage: [!] json stdout|stderr|FILE [PATH PATTERN]")
	}
	var v any
	if err := decode(ts.ReadFile(args[0]), &v); err != nil {
		ts.Fatalf("%s: %v", args[0], err)
	}
	if len(args) == 1 {
		return
	}
	got, err := lookUp(v, args[1])
	matches := err == nil && regexp.MustCompile("^(?:"+args[2]+")$").MatchString(got)
	if matches == neg {
		ts.Fatalf("%s of %s is %q (%v), pattern %s", args[1], args[0], got, err, args[2])
	}
}

// keepCommand puts a value of the JSON on stdout into the environment: "keep NAME PATH".
func keepCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: keep NAME PATH")
	}
	var v any
	ts.Check(decode(ts.ReadFile("stdout"), &v))
	got, err := lookUp(v, args[1])
	ts.Check(err)
	ts.Setenv(args[0], got)
}

func lookUp(v any, path string) (string, error) {
	for _, step := range strings.Split(path, ".") {
		switch at := v.(type) {
		case map[string]any:
			next, ok := at[step]
			if !ok {
				return "", fmt.Errorf("no %q", step)
			}
			v = next
		case []any:
			if step == "length" {
				v = len(at)
				continue
			}
			n, err := strconv.Atoi(step)
			if n < 0 {
				n += len(at)
			}
			if err != nil || n < 0 || n >= len(at) {
				return "", fmt.Errorf("no element %q of %d", step, len(at))
			}
			v = at[n]
		default:
			return "", fmt.Errorf("nothing below %q", step)
		}
	}
	return fmt.Sprint(v), nil
}

// flipCommand changes one bit of a file: "flip FILE OFFSET"; a negative offset counts from the end.
func flipCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: flip FILE OFFSET")
	}
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	b, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	if at < 0 {
		at += len(b)
	}
	b[at] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o644))
}

// scanCommand reads the QR code in a picture of a page, as a phone would: "scan NAME FILE.png".
func scanCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: scan NAME FILE.png…")
	}
	var errs []error
	for _, file := range args[1:] {
		text, err := scanned(ts.MkAbs(file))
		if err == nil {
			ts.Setenv(args[0], text)
			return
		}
		errs = append(errs, err)
	}
	ts.Check(errors.Join(errs...))
}

// scanned reads the code in a picture of a whole page. The reader looks at the picture in two ways, as one that looks once
// takes a pattern of the page for a corner of the code now and then.
func scanned(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	picture, err := png.Decode(f)
	if err != nil {
		return "", err
	}
	light := gozxing.NewLuminanceSourceFromImage(picture)
	var errs []error
	for _, binarizer := range []gozxing.Binarizer{gozxing.NewHybridBinarizer(light), gozxing.NewGlobalHistgramBinarizer(light)} {
		bitmap, err := gozxing.NewBinaryBitmap(binarizer)
		if err != nil {
			return "", err
		}
		found, err := qrcode.NewQRCodeReader().Decode(bitmap, map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_TRY_HARDER: true})
		if err == nil {
			return found.GetText(), nil
		}
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}
