package code

import "fmt"

// Status is the state of a licence as licence systems tell it to each other (GB/T 36903-2018 metadata, status code).
type Status string

// Status codes between licence systems.
const (
	StatusValid          Status = "01" // 有效
	StatusSuspended      Status = "02" // 暂停
	StatusRevoked        Status = "03" // 撤销: it was wrongly issued
	StatusCancelled      Status = "04" // 注销: it ended by its holder's or the law's course
	StatusExpired        Status = "05" // 过期
	StatusTransferredOut Status = "06" // 迁出
	StatusWithdrawn      Status = "07" // 吊销: as a penalty
	StatusOther          Status = "99" // 其他
)

var statusNames = map[Status][2]string{
	StatusValid: {"有效", "valid"}, StatusSuspended: {"暂停", "suspended"}, StatusRevoked: {"撤销", "revoked"},
	StatusCancelled: {"注销", "cancelled"}, StatusExpired: {"过期", "expired"},
	StatusTransferredOut: {"迁出", "transferred out"}, StatusWithdrawn: {"吊销", "withdrawn"}, StatusOther: {"其他", "other"},
}

// ParseStatus reads a status code.
func ParseStatus(s string) (Status, error) {
	if _, ok := statusNames[Status(s)]; !ok {
		return "", fmt.Errorf("%w: a status code is 01 to 07 or 99", ErrForm)
	}
	return Status(s), nil
}

// Names returns the Chinese and the English word.
func (s Status) Names() (zh, en string) { n := statusNames[s]; return n[0], n[1] }

// InForce reports whether a licence of this status may be relied on.
func (s Status) InForce() bool { return s == StatusValid }
