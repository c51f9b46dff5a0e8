package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/elicence/elicence/verify"
	"github.com/elicence/elicence/verify/status"
	"github.com/elicence/elicence/verify/trust"
)

// largestFile bounds what verify reads at all: no licence comes near, and a huge file must not fill the memory.
const largestFile = 16 << 20

func (a *app) verifyCommand() *cobra.Command {
	var trustFile, pin, statusFile, receiptFile, code string
	var maxAge time.Duration
	var fields bool
	c := &cobra.Command{
		Use:   "verify --trust FILE FILE.pdf…  |  --code TEXT",
		Short: "核验 · verify parts, or the text of a code, off line and without an account",
		Long: `Verify answers two questions and never merges them: is the signature good, and is the licence in force.

A receipt NUMBER.receipt beside the PDF is read by itself, as is status.json beside trust.json. The trust
file is only as good as your reason to believe it: pin the operator's key with --pin or $ELICENCE_TRUST_PIN.

Exit: 1 if any file failed or is superseded or revoked, else 2 if any is indeterminate or its status is
unknown, else 0.`,
		Example: `  elicence verify --trust trust.json X000000001-main.pdf
  elicence verify --trust trust.json --pin 3f0c… --json *.pdf
  elicence verify --trust trust.json --code 'ELC1:…'`,
		RunE: func(cmd *cobra.Command, files []string) error {
			if trustFile == "" {
				return usage("--trust FILE is needed: the scheme operator's trust file, got from the operator")
			}
			if (code == "") == (len(files) == 0) {
				return usage("give either PDF files or --code TEXT")
			}
			if receiptFile != "" && len(files) != 1 {
				return usage("--receipt belongs to one file")
			}
			if pin == "" {
				pin = a.environment("ELICENCE_TRUST_PIN")
			}
			v, err := a.offlineVerifier(trustFile, pin, statusFile, maxAge)
			if err != nil {
				return err
			}
			var reports []*verify.Report
			if code != "" {
				reports = append(reports, v.Code(cmd.Context(), code))
			}
			for _, f := range files {
				r, err := verifyFile(cmd.Context(), v, f, receiptFile)
				if err != nil {
					return err
				}
				reports = append(reports, r)
				if !a.json {
					if len(files) > 1 {
						fmt.Fprintf(a.stdout, "── %s\n", f)
					}
					if err := r.WriteText(a.stdout, fields); err != nil {
						return err
					}
				}
			}
			if err := a.tellReports(reports, files, code != "", fields); err != nil {
				return err
			}
			if exit := verify.ExitCode(reports...); exit != exitYes {
				return answer(exit)
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&trustFile, "trust", "", "trust.json of the scheme operator")
	f.StringVar(&pin, "pin", "", "SM3 of the scheme operator's public key (default $ELICENCE_TRUST_PIN)")
	f.StringVar(&statusFile, "status", "", "status.json (default: the one beside the trust file)")
	f.StringVar(&receiptFile, "receipt", "", "receipt of the part (default: NUMBER.receipt beside it)")
	f.DurationVar(&maxAge, "status-max-age", 7*24*time.Hour, "an older status list counts as unknown")
	f.StringVar(&code, "code", "", "the text of a QR code instead of a file")
	f.BoolVar(&fields, "fields", false, "show the certificate's personal fields too")
	return c
}

func (a *app) tellReports(reports []*verify.Report, files []string, isCode, fields bool) error {
	if a.json {
		fmt.Fprint(a.stdout, "[")
		for n, r := range reports {
			b, err := r.JSON(fields)
			if err != nil {
				return err
			}
			if n > 0 {
				fmt.Fprint(a.stdout, ",")
			}
			name := ""
			if !isCode {
				name = files[n]
			}
			quoted, err := json.Marshal(name)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "\n{\"file\":%s,\"report\":%s}", quoted, b)
		}
		fmt.Fprintln(a.stdout, "\n]")
		return nil
	}
	if isCode {
		return reports[0].WriteText(a.stdout, fields)
	}
	return nil
}

// trustFile reads a trust file and holds it to the operator's key, if a pin says which that is.
func (a *app) trustFile(path, pin string) (*trust.File, *trust.SM3, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("trust file: %w", err)
	}
	t, err := trust.Parse(b)
	if err != nil {
		return nil, nil, &failure{code: exitNo, cause: fmt.Errorf("trust file %s: %w", path, err), do: "get trust.json from the scheme operator again"}
	}
	if pin == "" {
		return t, nil, nil
	}
	want, err := trust.ParseSM3(strings.TrimSpace(pin))
	if err != nil {
		return nil, nil, usage("--pin: %w", err)
	}
	if err := t.CheckPin(want); err != nil {
		return nil, nil, &failure{code: exitNo, cause: fmt.Errorf("trust file %s: %w", path, err),
			do: "this trust file was made by somebody else: get trust.json from the scheme operator"}
	}
	return t, &want, nil
}

// offlineVerifier reads trust and status as a third party would: from files, with nothing of an installation.
func (a *app) offlineVerifier(trustFile, pin, statusFile string, maxAge time.Duration) (*verify.Verifier, error) {
	t, want, err := a.trustFile(trustFile, pin)
	if err != nil {
		return nil, err
	}
	o := verify.Options{Now: a.now, StatusMaxAge: maxAge, Pin: want}
	if statusFile == "" {
		beside := filepath.Join(filepath.Dir(trustFile), "status.json")
		if _, err := os.Stat(beside); err == nil {
			statusFile = beside
		}
	}
	if statusFile != "" {
		b, err := os.ReadFile(statusFile)
		if err != nil {
			return nil, fmt.Errorf("status file: %w", err)
		}
		if o.Status, err = status.Parse(b); err != nil {
			return nil, &failure{code: exitNo, cause: fmt.Errorf("status file %s: %w", statusFile, err), do: "get status.json from the issuer again, or leave it out: the status is unknown then"}
		}
	}
	return verify.New(t, o)
}

// verifyFile reads a part, and the receipt that lies beside it.
func verifyFile(ctx context.Context, v *verify.Verifier, path, receiptFile string) (*verify.Report, error) {
	b, err := readBounded(path)
	if err != nil {
		return nil, &failure{code: exitUsage, cause: err}
	}
	if receiptFile == "" {
		name := filepath.Base(path)
		if cut := strings.LastIndexByte(name, '-'); cut > 0 {
			beside := filepath.Join(filepath.Dir(path), name[:cut]+".receipt")
			if _, err := os.Stat(beside); err == nil {
				receiptFile = beside
			}
		}
	}
	var receipt []byte
	if receiptFile != "" {
		if receipt, err = readBounded(receiptFile); err != nil {
			return nil, &failure{code: exitUsage, cause: err}
		}
	}
	return v.File(ctx, b, receipt), nil
}

// readBounded reads at most one byte more than the largest file, so that a larger one gets a verdict and not memory.
func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, largestFile+1))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b, nil
}
