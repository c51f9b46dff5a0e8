// Package signer holds what the signed file is made of. This package itself declares only the port to the key: it knows
// no device and no network.
package signer

import (
	"context"

	"github.com/elicence/elicence/signer/purpose"
)

// Key signs messages of one purpose. It checks the form of the message, computes e = SM3(Z‖M) with the signer id
// "1234567812345678" (GB/T 32918.2-2016, 5.5) itself and returns r‖s, 64 bytes: no call accepts a digest, so nobody who
// reaches a key can have it sign something they do not show it. Implementations are safe for concurrent use and honour
// ctx while they wait for a device.
type Key interface {
	Sign(ctx context.Context, form purpose.Form, message []byte) (rs []byte, err error)
}
