package records

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// cutter is a network between clients and a server that can end in the midst of a commit: the word has gone to the
// server, and the answer is lost.
type cutter struct {
	folder string // of its own socket
	server string
	listen net.Listener
	armed  atomic.Bool
	cut    atomic.Int64
	open   sync.WaitGroup
}

func newCutter(t *testing.T, server string) *cutter {
	t.Helper()
	folder, err := os.MkdirTemp("", "elicence-cut-")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{folder: folder, server: server}
	if c.listen, err = net.Listen("unix", filepath.Join(folder, ".s.PGSQL.5432")); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	c.open.Go(func() { c.accept(ctx) })
	t.Cleanup(func() {
		stop()
		err := c.listen.Close()
		c.open.Wait()
		if err := errors.Join(err, os.RemoveAll(folder)); err != nil {
			t.Error(err)
		}
	})
	return c
}

func (c *cutter) accept(ctx context.Context) {
	for {
		client, err := c.listen.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("unix", c.server)
		if err != nil {
			client.Close()
			continue
		}
		end := context.AfterFunc(ctx, func() { client.Close(); server.Close() })
		var deaf atomic.Bool // the answers are lost
		c.open.Go(func() {
			defer end()
			c.pass(client, server, &deaf, true)
		})
		c.open.Go(func() { c.pass(server, client, &deaf, false) })
	}
}

// pass carries bytes from one end to the other. A client that sends a commit while the cutter is armed never hears the
// answer.
func (c *cutter) pass(from, to net.Conn, deaf *atomic.Bool, toServer bool) {
	defer from.Close()
	defer to.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		if toServer && bytes.Contains(b[:n], []byte("COMMIT")) && c.armed.CompareAndSwap(true, false) {
			deaf.Store(true)
			c.cut.Add(1)
		}
		if !toServer && deaf.Load() {
			return
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

// nextCommit cuts the next one, and returns when it has.
func (c *cutter) nextCommit() error {
	before := c.cut.Load()
	c.armed.Store(true)
	for deadline := time.Now().Add(30 * time.Second); c.cut.Load() == before; {
		if time.Now().After(deadline) {
			return fmt.Errorf("nobody commits")
		}
		time.Sleep(time.Millisecond) // a condition of another process's doing
	}
	return nil
}
