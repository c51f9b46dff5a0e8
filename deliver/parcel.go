package deliver

import (
	"context"
	"errors"
	"time"

	"github.com/emmansun/gmsm/sm3"

	"github.com/elicence/elicence/audit"
	"github.com/elicence/elicence/due"
	"github.com/elicence/elicence/signer"
	"github.com/elicence/elicence/signer/pki"
)

// Document is what a job delivers, before it is signed.
type Document struct {
	Sender                      string // organisation code
	Number, Identifier, Licence string // of the licence: number, identifier, type
	Files                       []Attachment
}

// Attachment is one file with its bytes; Size and SM3 are filled when it is packed.
type Attachment struct {
	File
	Bytes []byte
}

// Source finds what a job delivers. It writes the audit entry of reading personal data itself, before it reads. It is safe
// for concurrent use; its errors are of kind *due.Failed where something better than "again" is known.
type Source interface {
	Document(ctx context.Context, j due.Job) (Document, error)
}

// Keys finds the event key of an organisation with its certificate. It is safe for concurrent use.
type Keys interface {
	EventKey(ctx context.Context, organisation string) (signer.Key, *pki.Certificate, error)
}

// Parcel is a delivery on its way.
type Parcel struct {
	Key      string // idempotency key
	Manifest []byte // signed
	Files    []Attachment
}

// Receiver takes parcels. It is safe for concurrent use; the same parcel again is harmless.
type Receiver interface {
	// Push returns once the receiver has the parcel, complete and durable by its own word; repeat tells that it had it
	// before. Errors are of kind *due.Failed and hold nothing of the parcel.
	Push(ctx context.Context, p Parcel) (repeat bool, err error)
}

// Pack signs a document for a job.
func Pack(ctx context.Context, keys Keys, j due.Job, d Document, now time.Time) (Parcel, error) {
	m := Manifest{Key: j.Key, Topic: j.Topic, Time: now, Sender: d.Sender, Receiver: j.Lane, Number: d.Number, Identifier: d.Identifier, Licence: d.Licence}
	p := Parcel{Key: j.Key, Files: d.Files}
	for i := range p.Files {
		f := &p.Files[i]
		f.Size, f.SM3 = int64(len(f.Bytes)), sm3.Sum(f.Bytes)
		m.Files = append(m.Files, f.File)
	}
	key, cert, err := keys.EventKey(ctx, d.Sender)
	if err != nil {
		return p, &due.Failed{Failure: due.Failure{Code: "key"}, Verdict: due.NotYet, Cause: err}
	}
	p.Manifest, err = Sign(ctx, key, cert, m)
	return p, err
}

// Worker delivers the jobs of one receiver. The entry of who stands for this program is who; each push that was
// acknowledged is recorded under it, in the transaction that completes its job.
func Worker(s Source, k Keys, r Receiver, who audit.Entry, now func() time.Time) due.Worker {
	return func(ctx context.Context, j due.Job) (due.Worked, error) {
		d, err := s.Document(ctx, j)
		if err != nil {
			return due.Worked{}, err
		}
		p, err := Pack(ctx, k, j, d, now())
		if errors.Is(err, ErrManifest) {
			return due.Worked{}, &due.Failed{Failure: due.Failure{Code: due.CodeInternal}, Verdict: due.Refused, Cause: err}
		}
		if err != nil {
			return due.Worked{}, err
		}
		repeat, err := r.Push(ctx, p)
		if err != nil {
			return due.Worked{}, err
		}
		entry := who
		entry.At, entry.Organisation, entry.Licence, entry.What = now(), d.Sender, j.Licence, "delivered"
		entry.Why = j.Topic + " → " + j.Lane
		if repeat {
			entry.Why += " (repeat)"
		}
		return due.Worked{Audit: &entry}, nil
	}
}
