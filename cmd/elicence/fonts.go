package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// fallbackFonts are the files that hold the rare characters which the embedded fonts lack.
var fallbackFonts = [...]string{"HanaMinA.ttf", "HanaMinB.ttf"}

const (
	systemFontDir = "/usr/share/fonts/truetype/hanazono"
	fontPackage   = "fonts-hanazono"
)

// shippedFontDir is where the archive has them: ../share/elicence/fonts, as seen from the program.
func shippedFontDir() string {
	program, err := os.Executable()
	if err != nil {
		return ""
	}
	return filepath.Join(filepath.Dir(program), "..", "share", "elicence", "fonts")
}

func hasFallbackFonts(dir string) bool {
	for _, name := range fallbackFonts {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

// fetchFonts finds the fallback fonts, or brings them without root: Debian's own package, unpacked into the
// installation's cache folder. It returns the folder.
func fetchFonts(ctx context.Context, cache string) (string, error) {
	for _, dir := range []string{systemFontDir, shippedFontDir(), cache} {
		if hasFallbackFonts(dir) {
			return dir, nil
		}
	}
	if err := unpackDebianFonts(ctx, cache); err != nil {
		return "", &failure{code: exitUnavailable, cause: fmt.Errorf("rare characters need the fonts HanaMinA and HanaMinB: %w", err),
			do: "install them with: apt-get install " + fontPackage + " — or put " + fallbackFonts[0] + " and " + fallbackFonts[1] + " into " + cache}
	}
	return cache, nil
}

func unpackDebianFonts(ctx context.Context, cache string) error {
	work, err := os.MkdirTemp("", "elicence-fonts-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	download := exec.CommandContext(ctx, "apt-get", "download", "-q", fontPackage)
	download.Dir = work
	if out, err := download.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get download %s: %w: %s", fontPackage, err, lastLine(out))
	}
	packages, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil || len(packages) != 1 {
		return errors.Join(errors.New("apt-get download brought no package"), err)
	}
	unpack := exec.CommandContext(ctx, "dpkg", "-x", packages[0], filepath.Join(work, "root"))
	if out, err := unpack.CombinedOutput(); err != nil {
		return fmt.Errorf("dpkg -x: %w: %s", err, lastLine(out))
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	for _, name := range fallbackFonts {
		b, err := os.ReadFile(filepath.Join(work, "root", systemFontDir, name))
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(cache, name), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func lastLine(b []byte) string {
	end := len(b)
	for end > 0 && (b[end-1] == '\n' || b[end-1] == ' ') {
		end--
	}
	start := end
	for start > 0 && b[start-1] != '\n' {
		start--
	}
	return string(b[start:end])
}
