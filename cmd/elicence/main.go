// Command elicence issues, keeps, moves and verifies electronic licences.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
)

func main() {
	tuneMemory(os.Getenv)
	tuneThreads(os.Getenv)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// tuneMemory lets the collector run less often than Go's default: a batch throws whole pages away, and collecting them
// costs a tenth of its time. The limit keeps a batch of any length below 300 MB. GOGC and GOMEMLIMIT win.
func tuneMemory(environment func(string) string) {
	if environment("GOGC") == "" && environment("GOMEMLIMIT") == "" {
		debug.SetGCPercent(300)
		debug.SetMemoryLimit(240 << 20)
	}
}

// tuneThreads lets twice as many threads run Go code as there are cores. Whoever makes something durable waits for the
// disk inside the system, and keeps a slot busy until the scheduler notices; with a slot for each core the cores stand
// idle meanwhile: 175 births/s instead of 215. GOMAXPROCS wins.
func tuneThreads(environment func(string) string) {
	if environment("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(2 * runtime.GOMAXPROCS(0))
	}
}

// run is the whole program; it returns the exit code (see exit.go).
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, environment: os.Getenv, variables: os.Environ(), now: systemClock}
	root := a.command()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return a.exit(root.ExecuteContext(ctx))
}
