package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// process is known by its id and by when it began: an id alone may be somebody else's by the time it is to be stopped.
type process struct {
	PID   int
	Began string
}

// alive tells whether that very process still runs.
func (p process) alive() bool { return p.PID != 0 && began(p.PID) == p.Began && p.Began != "" }

// began is the process's start time in the kernel's clock ticks, "" if it does not run.
func began(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(b), ") ") // the name before may contain anything
	fields := strings.Fields(rest)
	if len(fields) < 20 || fields[0] == "Z" {
		return ""
	}
	return fields[19]
}

// StartAs is Start of an organisation's chaincode process with another program, which gets the same arguments: an organisation
// that runs another version.
func (n *Network) StartAs(name, program string) error {
	if !strings.HasPrefix(name, "chaincode.") {
		return fmt.Errorf("network: %s is no chaincode process", name)
	}
	return n.start(name, func(c *exec.Cmd) { c.Path = program })
}

// Start starts a process of the network that does not run. It returns before the process listens.
func (n *Network) Start(name string) error { return n.start(name, func(*exec.Cmd) {}) }

func (n *Network) start(name string, change func(*exec.Cmd)) error {
	if !slices.Contains(n.Names(), name) {
		return fmt.Errorf("network: no process %q", name)
	}
	n.mu.Lock()
	running := n.layout.Running[name]
	n.mu.Unlock()
	if running.alive() {
		return fmt.Errorf("network: %s runs already", name)
	}
	if err := os.MkdirAll(n.at("logs"), 0o755); err != nil {
		return err
	}
	log, err := os.OpenFile(n.Log(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	c := n.command(name)
	change(c)
	c.Dir, c.Stdout, c.Stderr = n.folder, log, log
	c.Env = append([]string{"PATH=/usr/bin:/bin", "FABRIC_LOGGING_SPEC=warning"}, c.Env...)
	if n.layout.Options.Detached {
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	} else {
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	}
	if err := c.Start(); err != nil {
		return fmt.Errorf("network: %s: %w", name, err)
	}
	p := process{PID: c.Process.Pid, Began: began(c.Process.Pid)}
	ended := make(chan struct{})
	go func() {
		_ = c.Wait() // how it ended is in its log; that it ended is what matters here
		close(ended)
	}()
	n.mu.Lock()
	n.layout.Running[name], n.ended[name] = p, ended
	n.mu.Unlock()
	return n.save()
}

func (n *Network) command(name string) *exec.Cmd {
	tools := n.layout.Options.Tools
	n.mu.Lock()
	later, isLater := n.layout.Served[name]
	n.mu.Unlock()
	if isLater {
		return n.serve(later.Program, later.Organisation, later.ID, n.port(name).Listen)
	}
	switch organisation, is := strings.CutPrefix(name, "chaincode."); {
	case is:
		n.mu.Lock()
		id := n.layout.Packages[organisation]
		n.mu.Unlock()
		return n.serve(n.layout.Options.Chaincode, organisation, id, n.port("peer."+organisation).Served)
	case strings.HasPrefix(name, "peer."):
		c := exec.Command(filepath.Join(tools, "peer"), "node", "start")
		c.Env = n.environment(name)
		return c
	default:
		c := exec.Command(filepath.Join(tools, "orderer"))
		c.Env = n.environment(name)
		return c
	}
}

// Listening waits until a process accepts connections.
func (n *Network) Listening(ctx context.Context, name string) error {
	var wanted []int
	if organisation, is := strings.CutPrefix(name, "chaincode."); is {
		wanted = []int{n.port("peer." + organisation).Served}
	} else if wanted = []int{n.port(name).Listen}; slices.Contains(n.orderers(), name) {
		wanted = append(wanted, n.port(name).Admin)
	}
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for _, port := range wanted {
		for {
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address(port))
			if err == nil {
				_ = c.Close()
				break
			}
			n.mu.Lock()
			p := n.layout.Running[name]
			n.mu.Unlock()
			if !p.alive() {
				return fmt.Errorf("network: %s ended: %s", name, n.lastWords(name))
			}
			if !pause(ctx, 20*time.Millisecond) {
				return fmt.Errorf("network: %s does not listen: %s", name, n.lastWords(name))
			}
		}
	}
	return nil
}

// pause returns false when ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// lastWords are the end of a process's log.
func (n *Network) lastWords(name string) string {
	b, err := os.ReadFile(n.Log(name))
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-2000):])
}

// Runs tells whether a process runs.
func (n *Network) Runs(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.layout.Running[name].alive()
}

// Kill ends a process at once, as a power cut would, and returns when it is gone.
func (n *Network) Kill(name string) error { return n.end(name, syscall.SIGKILL, 10*time.Second) }

// Freeze stops a process without ending it, as a machine that hangs; Thaw lets it go on.
func (n *Network) Freeze(name string) error { return n.signal(name, syscall.SIGSTOP) }

// Thaw lets a frozen process go on.
func (n *Network) Thaw(name string) error { return n.signal(name, syscall.SIGCONT) }

func (n *Network) signal(name string, s syscall.Signal) error {
	n.mu.Lock()
	p := n.layout.Running[name]
	n.mu.Unlock()
	if !p.alive() {
		return fmt.Errorf("network: %s does not run", name)
	}
	return syscall.Kill(p.PID, s)
}

func (n *Network) end(name string, s syscall.Signal, within time.Duration) error {
	n.mu.Lock()
	p, ended := n.layout.Running[name], n.ended[name]
	n.mu.Unlock()
	if !p.alive() {
		return nil
	}
	if err := syscall.Kill(p.PID, s); err != nil {
		return err
	}
	for deadline := time.Now().Add(within); ; {
		if ended != nil {
			select {
			case <-ended:
			case <-time.After(time.Until(deadline)):
			}
		}
		if !p.alive() {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("network: %s (process %d) does not end", name, p.PID)
		}
		time.Sleep(20 * time.Millisecond) // another process's child: there is nothing to wait on
	}
}

// Down stops every process, by its id. The folder with all logs stays.
func (n *Network) Down() error {
	n.mu.Lock()
	names := slices.Sorted(maps.Keys(n.layout.Running))
	n.mu.Unlock()
	var errs []error
	for _, name := range names {
		n.mu.Lock()
		p := n.layout.Running[name]
		n.mu.Unlock()
		if p.alive() {
			_ = syscall.Kill(p.PID, syscall.SIGTERM) // all at once; whoever does not end is dealt with below
			_ = syscall.Kill(p.PID, syscall.SIGCONT)
		}
	}
	for _, name := range names {
		if err := n.end(name, syscall.SIGTERM, 5*time.Second); err != nil {
			errs = append(errs, n.Kill(name))
		}
	}
	return errors.Join(errs...)
}

func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// Tools finds the folder with Fabric's programs: .tools/fabric of the checkout that the working folder lies in.
func Tools() (string, error) {
	root, err := checkout()
	if err != nil {
		return "", err
	}
	folder := filepath.Join(root, ".tools", "fabric")
	for _, name := range []string{"peer", "orderer", "configtxgen", "core.yaml", "orderer.yaml"} {
		if _, err := os.Stat(filepath.Join(folder, name)); err != nil {
			return "", fmt.Errorf("network: %s is not in .tools/fabric: make test-tools builds it", name)
		}
	}
	return folder, nil
}

func checkout() (string, error) {
	at, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; at != "/"; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return at, nil
		}
	}
	return "", errors.New("network: not in a checkout")
}

// BuildChaincode builds the program elicence-chaincode of this checkout into a folder and returns its path.
func BuildChaincode(ctx context.Context, folder string) (string, error) {
	return build(ctx, folder, "cmd/elicence-chaincode")
}

// BuildLenient builds a chaincode program that accepts whatever the contract refuses, for StartAs.
func BuildLenient(ctx context.Context, folder string) (string, error) {
	return build(ctx, folder, "ledger/fabric/network/lenient")
}

func build(ctx context.Context, folder, program string) (string, error) {
	root, err := checkout()
	if err != nil {
		return "", err
	}
	path, err := filepath.Abs(filepath.Join(folder, filepath.Base(program)))
	if err != nil {
		return "", err
	}
	c := exec.CommandContext(ctx, "go", "build", "-o", path, "./"+program)
	c.Dir, c.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("network: build %s: %w: %s", filepath.Base(program), err, out)
	}
	return path, nil
}
