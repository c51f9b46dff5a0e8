package main

import (
	"fmt"
	"os"
	"syscall"
)

// forgetPages asks the kernel to forget what it has of a file in memory, so that the next read comes from the disk. Pages that
// are not written yet stay.
func forgetPages(path string) error {
	const dontNeed = 4 // POSIX_FADV_DONTNEED
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	defer f.Close()
	if _, _, no := syscall.Syscall6(syscall.SYS_FADVISE64, f.Fd(), 0, 0, dontNeed, 0, 0); no != 0 {
		return fmt.Errorf("bench: %s: %w", path, no)
	}
	return nil
}
