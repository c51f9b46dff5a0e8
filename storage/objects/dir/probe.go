package dir

import (
	"context"
	"syscall"
)

// Probe says whether an object could be put now: it writes a small file as Put would, and takes it away again. Errors are
// those of Put. It is safe for concurrent use.
func (s *Store) Probe(ctx context.Context) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	const mayWrite = 2 // W_OK
	if err := syscall.Access(s.root, mayWrite); err != nil {
		return say("probe", s.root, err)
	}
	beside, err := s.writeBeside([]byte("probe"))
	if err != nil {
		return say("probe", s.root, err)
	}
	if err := s.disk.Remove(beside); err != nil {
		return say("probe", s.root, err)
	}
	return nil
}
