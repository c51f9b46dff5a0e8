package api

import (
	"net"
	"syscall"
)

// peer is the user id at the other end of a local socket, as the system says it; false where it does not.
func peer(c net.Conn) (uid uint32, ok bool) {
	u, isUnix := c.(*net.UnixConn)
	if !isUnix {
		return 0, false
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0, false
	}
	err = raw.Control(func(fd uintptr) {
		if cred, cerr := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); cerr == nil {
			uid, ok = cred.Uid, true
		}
	})
	return uid, ok && err == nil
}
