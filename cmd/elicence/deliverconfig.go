package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/elicence/elicence/deliver"
	"github.com/elicence/elicence/issuing"
)

// deliverConfig is the part of elicence.yaml that says who is told of what.
type deliverConfig struct {
	Attempts  int              `yaml:"attempts,omitempty"` // before a delivery becomes a dead letter; 0: 50
	Keep      time.Duration    `yaml:"keep,omitempty"`     // due work that is done or cancelled
	Receivers []receiverConfig `yaml:"receivers,omitempty"`
}

// Bounds of deliver.keep. What ended yesterday somebody may still ask for.
const (
	keepEnded      = 90 * 24 * time.Hour
	keepEndedLeast = 24 * time.Hour
)

type receiverConfig struct {
	Organisation string        `yaml:"organisation"`
	Driver       string        `yaml:"driver"`           // folder or https
	Address      string        `yaml:"address"`          // a folder, relative to the data folder, or an https address
	Topics       []string      `yaml:"topics"`           // parts, hand-over
	AtOnce       int           `yaml:"atOnce,omitempty"` // 0: one after the other, in order
	Timeout      time.Duration `yaml:"timeout,omitempty"`
	TLS          tlsConfig     `yaml:"tls,omitempty"`
}

// tlsConfig names PEM files, relative to the data folder.
type tlsConfig struct {
	CA          string `yaml:"ca,omitempty"`
	Certificate string `yaml:"certificate,omitempty"`
	Key         string `yaml:"key,omitempty"`
}

// maxAtOnce bounds what one receiver costs in memory: a parcel is a fifth of a megabyte.
const maxAtOnce = 32

// check refuses what cannot be meant. Whether files and folders are there shows when something is delivered: a share that is
// not mounted must not keep a hospital from issuing.
func (c deliverConfig) check() error {
	if c.Attempts < 0 {
		return fmt.Errorf("attempts is %d", c.Attempts)
	}
	if c.Keep < keepEndedLeast {
		return fmt.Errorf("keep is %s; at least %s", c.Keep, keepEndedLeast)
	}
	seen := map[string]bool{}
	for n, r := range c.Receivers {
		where := fmt.Sprintf("receivers[%d]", n)
		if len(r.Organisation) != 18 || strings.Trim(r.Organisation, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			return fmt.Errorf("%s: organisation is a unified social credit code of 18 digits and capital letters", where)
		}
		if seen[r.Organisation] {
			return fmt.Errorf("%s: %s stands there twice: give one entry all its topics", where, r.Organisation)
		}
		seen[r.Organisation] = true
		if len(r.Topics) == 0 {
			return fmt.Errorf("%s: topics is empty; there are %s", where, strings.Join(deliver.Topics(), ", "))
		}
		for _, topic := range r.Topics {
			if !slices.Contains(deliver.Topics(), topic) {
				return fmt.Errorf("%s: there is no topic %q; there are %s", where, topic, strings.Join(deliver.Topics(), ", "))
			}
		}
		if r.Timeout < 0 || r.Timeout > time.Hour {
			return fmt.Errorf("%s: timeout is %s; at most an hour", where, r.Timeout)
		}
		if r.AtOnce < 0 || r.AtOnce > maxAtOnce {
			return fmt.Errorf("%s: atOnce is %d; at most %d", where, r.AtOnce, maxAtOnce)
		}
		switch r.Driver {
		case "folder":
			if r.Address == "" || r.TLS != (tlsConfig{}) || r.Timeout != 0 {
				return fmt.Errorf("%s: a folder has an address, neither tls nor timeout", where)
			}
		case "https":
			if err := deliver.CheckAddress(r.Address); err != nil {
				return fmt.Errorf("%s: address: %w", where, err)
			}
			if (r.TLS.Certificate == "") != (r.TLS.Key == "") {
				return fmt.Errorf("%s: tls.certificate and tls.key belong together", where)
			}
		default:
			return fmt.Errorf("%s: driver is %q; there are folder and https", where, r.Driver)
		}
	}
	return nil
}

// receivers is what issuing goes by.
func (c deliverConfig) receivers() []issuing.Receiver {
	var out []issuing.Receiver
	for _, r := range c.Receivers {
		out = append(out, issuing.Receiver{Organisation: r.Organisation, Topics: r.Topics})
	}
	return out
}

func (c deliverConfig) has(organisation string) bool {
	return slices.ContainsFunc(c.Receivers, func(r receiverConfig) bool { return r.Organisation == organisation })
}

// receiver opens the driver.
func (i *installation) receiver(c receiverConfig) (deliver.Receiver, error) {
	if c.Driver == "folder" {
		return deliver.NewFolder(i.path(c.Address)), nil
	}
	file := func(p string) string {
		if p == "" || filepath.IsAbs(p) {
			return p
		}
		return i.path(p)
	}
	return deliver.NewHTTPS(deliver.HTTPSOptions{
		Address: c.Address, CA: file(c.TLS.CA), Certificate: file(c.TLS.Certificate), Key: file(c.TLS.Key), Timeout: c.Timeout, Now: i.app.now,
	})
}
