package main

import (
	"fmt"
	"net"
	"strconv"
	"time"
)

// manager is the service manager that started this process, if it wants to be told (sd_notify(3)); the zero value is none.
type manager struct {
	socket   string
	watchdog time.Duration // by when it wants a sign of life; 0 for never
}

func managerOf(environment func(string) string, pid int) manager {
	m := manager{socket: environment("NOTIFY_SOCKET")}
	if of := environment("WATCHDOG_PID"); of != "" && of != strconv.Itoa(pid) {
		return m
	}
	if us, err := strconv.ParseInt(environment("WATCHDOG_USEC"), 10, 64); err == nil && us > 0 {
		m.watchdog = time.Duration(us) * time.Microsecond
	}
	return m
}

// tell says one state, such as READY=1.
func (m manager) tell(state string) error {
	if m.socket == "" {
		return nil
	}
	name := m.socket
	if name[0] == '@' {
		name = "\x00" + name[1:] // in the abstract name space
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(state)); err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	return nil
}
